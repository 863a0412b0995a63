/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How long a session would take: what is to be moved, how fast it can be read, and all that holds it up played through from now on. The
 * essay is in estimate.c.
 */
#ifndef DRAY_AGENT_ESTIMATE_H
#define DRAY_AGENT_ESTIMATE_H

#include "agent/agent.h"
#include "agent/ahead.h"
#include "agent/probe.h"
#include "agent/speeds.h"

struct estimate_pair {
	uint64_t bytes;       /* to be moved */
	double fixed;         /* seconds that it takes beside that; those of all pairs that are active at a time take turns */
	uint64_t speed;       /* bytes a second, if it were alone */
	unsigned targets;     /* to each of which they are written: limits count all of that; 0: one */
	unsigned disk;        /* pairs of one disk share its speed; 0: its own */
	const struct dray_limits *limits; /* its own rate or timetable */
	/* out, in seconds from `from`; negative: never, by the limits as they are */
	double begins, ends;
};

struct estimate_rules {
	time_t from;
	uint64_t active_pairs;             /* DRAY_UNKNOWN: all at once */
	/* Of `places` that all share, others have some: until then each, in seconds from `from`, the soonest first. None: nobody is in the way. */
	uint64_t places;
	const double *taken;
	size_t n_taken;
	uint64_t rate;                     /* the agent's; DRAY_UNKNOWN: none */
	const struct dray_limits *limits;  /* the session's */
	const struct dray_windows *window;
	double run_most;                   /* seconds outside of closed windows (max_duration); 0: no limit */
};

/* A pure function of the local time's rules. Returns when the last pair ends, in seconds from `from`; negative: never. */
double estimate_play(const struct estimate_rules *rules, struct estimate_pair *pairs, size_t n);

/* What the core knows. */
struct estimate_facts {
	time_t now, from;                  /* when it would begin; an event comes now */
	uint64_t rate, active_pairs;
	struct ahead ahead;                /* ahead.h; owned */
	json_t *speeds;                    /* speeds.h; owned */
	struct speeds_fixed fixed;
};

/* The core's. `s` is validated, and its start set (schedule_start_anew). */
void estimate_take(struct agent *a, const struct dray_session *s, struct estimate_facts *facts);
/* Any thread; may take seconds. The sources' speeds are measured. docs/API.md has the members. New reference. */
json_t *estimate_make(const struct dray_session *s, const struct probe_set *probes, const struct estimate_facts *facts);

#endif
