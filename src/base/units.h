/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sizes and durations as people write them.
 *
 * Sizes: a whole number of bytes, or with K M G T P (also KiB, MiB ...), powers of two. Durations: a whole number with
 * ms, s, m, h or d; a bare number means seconds. Both refuse negative numbers, fractions, overflow and
 * anything left over.
 */
#ifndef DRAY_BASE_UNITS_H
#define DRAY_BASE_UNITS_H

#include <stddef.h>
#include <stdint.h>

/* 0, or -EINVAL (not a size), or -ERANGE (does not fit). `*bytes` is set only on success. */
int dray_size_parse(const char *s, uint64_t *bytes);
/* 0, or -EINVAL, or -ERANGE. */
int dray_duration_parse(const char *s, uint64_t *ns);
/* "512 B", "1.5 MiB": for people, never for programs. Returns buf. */
char *dray_size_format(uint64_t bytes, char *buf, size_t size);
/* "350 ms", "4 s", "2 min 5 s", "3 h 10 min": for people. Returns buf. */
char *dray_duration_format(uint64_t ns, char *buf, size_t size);

#endif
