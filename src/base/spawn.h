/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Running a system's program and reading what it says: for what can only be done by a command.
 *
 * The program is looked for by its plain name in /usr/sbin, /usr/bin, /sbin and /bin and nowhere else. It is started without a shell,
 * with nothing but standard input (empty), output and error open, in a process group of its own, with no signal blocked,
 * and with an environment of its own: PATH as above, LC_ALL=C, and what stands in `keep`.
 */
#ifndef DRAY_BASE_SPAWN_H
#define DRAY_BASE_SPAWN_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

struct dray_spawn {
	const char *const *argv; /* ended by NULL; argv[0] is the plain name */
	const char *const *keep; /* names of variables that are handed on; NULL: none */
	uint64_t timeout_ns;     /* then SIGTERM, and after 5 s SIGKILL */
	char *out;               /* standard output, cut where it is too long, always terminated; or NULL */
	size_t out_size;
};

/* Blocks. 0: it ended with status 0. -ENOENT: it is not installed. -EIO: another status, with the first line it wrote
 * to standard error. -ETIMEDOUT. Any thread. */
int dray_spawn(const struct dray_spawn *s, struct dray_error *err);

/* Where the program is (static text into buf), or -ENOENT. */
int dray_spawn_find(const char *name, char *buf, size_t size);

#endif
