/* SPDX-License-Identifier: BSD-3-Clause */
/* The rate over a sliding window, from samples of a counter. Plain data, zero-initialised. */
#ifndef DRAY_AGENT_RATE_H
#define DRAY_AGENT_RATE_H

#include <stdint.h>

#define RATE_SAMPLES 24

struct rate_window {
	struct {
		uint64_t at_ns, bytes;
	} samples[RATE_SAMPLES];
	unsigned n, next;
};

/* A counter that went back (dray-iod restarted) begins a new window. */
void rate_sample(struct rate_window *w, uint64_t now_ns, uint64_t bytes);
void rate_reset(struct rate_window *w);
/* Bytes per second over the last 10 s or what there is of it; UINT64_MAX: not known yet. */
uint64_t rate_get(const struct rate_window *w, uint64_t now_ns);

/* When the last sample was taken; 0: none was. */
uint64_t rate_last_ns(const struct rate_window *w);

/* The time between the first and the last sample of those. */
uint64_t rate_span_ns(const struct rate_window *w);

#endif
