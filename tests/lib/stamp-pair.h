/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef TESTS_LIB_STAMP_PAIR_H
#define TESTS_LIB_STAMP_PAIR_H

#include <signal.h>
#include <stdint.h>

struct pair_options {
	const char *uri[2];
	const char *status;
	uint64_t block_bytes, size_bytes, rate, writes, seconds, flush_every, reconnect_wait;
	volatile sig_atomic_t *stop;
};

/* Status 0 or 1, a summary on stdout. */
int pair_run(const struct pair_options *o);
int pair_verify(const struct pair_options *o, const char *a, const char *b);

#endif
