/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the copy waits for, as it is told: which of the limits somebody would have to raise to make it faster, or none of them.
 *
 * Often several hold a step back at once, one after the other: with one step allowed and a low rate, the next step first waits for the one under
 * way, then for its time. The one that counts is the last, for without the others nothing would be faster. So it is asked at the moment a step
 * begins: what did it wait for until now? That is what was noted when the pump last came to rest. Every half a second the answer of most steps becomes
 * what is told; where no step began in it, what holds the next one back now is.
 *
 * Where the number of steps under way is what holds up the next, it is the storages unless that number is somebody's: a limit, or the
 * window that follows the application. More than the engine's own number brings no speed.
 */
#include "engine/internal.h"

#define PERIOD_NS UINT64_C(500000000)

static void judge(struct bound *b)
{
	unsigned most = 0;
	b->any = false;
	for (unsigned i = 0; i < DRAY_BOUND_COUNT; i++) {
		if (b->n[i] > most) {
			most = b->n[i];
			b->lately = (enum dray_bound)i;
			b->any = true;
		}
		b->n[i] = 0;
	}
}

/* When another answer may be due although nothing happens: a step may be minutes away, and what is told is not to be of before. */
static uint64_t changes_at(const struct bound *b)
{
	bool counts = b->any;
	for (unsigned i = 0; i < DRAY_BOUND_COUNT; i++)
		counts |= b->n[i] > 0;
	return counts ? b->began_ns + PERIOD_NS : DRAY_TIME_NEVER;
}

uint64_t dray_bound_tick(struct dray_vol *v)
{
	struct bound *b = &v->bound;
	if (v->now_ns - b->began_ns < PERIOD_NS)
		return changes_at(b);
	/* Nobody looked for a while: what was counted may be of long ago. */
	bool old = v->now_ns - b->began_ns >= 4 * PERIOD_NS;
	judge(b);
	b->any &= !old;
	b->began_ns = v->now_ns;
	return changes_at(b);
}

void dray_bound_step(struct dray_vol *v)
{
	/* One that waited for nothing has just found a place that a storage made. */
	enum dray_bound was = v->bound.now;
	v->bound.n[was == DRAY_BOUND_IDLE ? DRAY_BOUND_STORAGE : was]++;
}

void dray_bound_rests(struct dray_vol *v, enum dray_bound waits)
{
	v->bound.now = waits;
	if (waits == DRAY_BOUND_IDLE)
		v->bound.any = false;
}

enum dray_bound dray_vol_bound(const struct dray_vol *v)
{
	return v->bound.any ? v->bound.lately : v->bound.now;
}
