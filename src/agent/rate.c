/* SPDX-License-Identifier: BSD-3-Clause */
#include "agent/rate.h"

#include <string.h>

#define WINDOW_NS UINT64_C(10000000000)
#define LEAST_NS  UINT64_C(400000000) /* less says nothing */

static unsigned last_of(const struct rate_window *w)
{
	return (w->next + RATE_SAMPLES - 1) % RATE_SAMPLES;
}

void rate_reset(struct rate_window *w)
{
	memset(w, 0, sizeof *w);
}

void rate_sample(struct rate_window *w, uint64_t now_ns, uint64_t bytes)
{
	if (w->n && bytes < w->samples[last_of(w)].bytes)
		rate_reset(w);
	w->samples[w->next].at_ns = now_ns;
	w->samples[w->next].bytes = bytes;
	w->next = (w->next + 1) % RATE_SAMPLES;
	if (w->n < RATE_SAMPLES)
		w->n++;
}

static unsigned first_of(const struct rate_window *w, uint64_t now_ns, unsigned last)
{
	unsigned first = last;
	for (unsigned i = 1; i < w->n; i++) {
		unsigned at = (last + RATE_SAMPLES - i) % RATE_SAMPLES;
		if (w->samples[at].at_ns + WINDOW_NS < now_ns)
			break;
		first = at;
	}
	return first;
}

uint64_t rate_last_ns(const struct rate_window *w)
{
	return w->samples[last_of(w)].at_ns; /* which are zeroed */
}

uint64_t rate_span_ns(const struct rate_window *w)
{
	unsigned last = last_of(w);
	return w->n < 2 ? 0 : w->samples[last].at_ns - w->samples[first_of(w, w->samples[last].at_ns, last)].at_ns;
}

uint64_t rate_get(const struct rate_window *w, uint64_t now_ns)
{
	if (w->n < 2)
		return UINT64_MAX;
	unsigned last = last_of(w), first = first_of(w, now_ns, last);
	uint64_t ns = w->samples[last].at_ns - w->samples[first].at_ns;
	if (ns < LEAST_NS)
		return UINT64_MAX;
	return (uint64_t)((double)(w->samples[last].bytes - w->samples[first].bytes) * 1e9 / (double)ns);
}
