/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How much of the copy may be under way, from what the application's requests take. A pure function of what it is told: no clock, no
 * allocation, nothing of the engine. The essay is in pacer.c.
 */
#ifndef DRAY_ENGINE_PACER_H
#define DRAY_ENGINE_PACER_H

#include <stdbool.h>
#include <stdint.h>

/* A window is counted in 1/16 of a step. */
#define DRAY_PACER_STEP 16U
/* Never less than this of a step: a copy has to end. */
#define DRAY_PACER_LEAST 4U
/* The application counts as idle when nothing was asked of it for so long and nothing is under way. */
#define DRAY_PACER_IDLE_NS UINT64_C(500000000)

enum { DRAY_PACER_BUCKETS = 112 };

struct dray_pacer {
	uint64_t goal_ns;   /* set by whoever owns it: the p99 to stay under; 0: near what it was before the copy */
	unsigned most;      /* ... steps, however well the application fares */
	unsigned window;    /* while the application works */
	uint64_t base_ns;   /* what its requests took (nine of ten) without a copy, as far as that is known; 0: it is not */
	uint64_t seen_ns;   /* ... and in the last period */
	uint64_t allowed_ns;/* ... and may take, now */
	/* the period under way */
	uint64_t began_ns, last_ns; /* last_ns: the last request came or was answered */
	uint32_t n, hist[DRAY_PACER_BUCKETS];
	bool copied;        /* a step was under way in it */
	bool looking;       /* it is a look at the base */
	bool woke;          /* ... the first after a sleep */
	uint64_t look_ns, look_every_ns; /* when there is to be a look; and the next after it */
	uint64_t still_ns;  /* in a look: until then no step begins; 0: steps do */
	uint64_t still_again_ns, others_still_ns; /* not again before; since when another's look has it so (0: none has) */
};

/* Nothing is known yet. The owner sets `most` and `goal_ns`, now and later. */
void dray_pacer_init(struct dray_pacer *p);
/* A request of the application came. */
void dray_pacer_asked(struct dray_pacer *p, uint64_t now_ns);
/* One was answered. `copying`: a step of the copy is under way, or was at any time since the request came. Times may not go back. */
void dray_pacer_answered(struct dray_pacer *p, uint64_t now_ns, uint64_t took_ns, bool copying);
/* What may be under way now, in 1/16 of a step. 0: no step may begin, for a moment. `running`: requests of the application are under way. */
unsigned dray_pacer_window(const struct dray_pacer *p, uint64_t now_ns, bool running);
/* Whether another's look has the copies on the same disk stand still now. It is told before a batch of the others. */
void dray_pacer_others_still(struct dray_pacer *p, uint64_t now_ns, bool still);
/* When that is over, which nothing else tells; UINT64_MAX: it is. */
uint64_t dray_pacer_still_until(const struct dray_pacer *p, uint64_t now_ns);

#endif
