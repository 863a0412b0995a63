/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How long a session would take: what is to be moved, how fast it can be read, and all that holds it up played through from now on. The
 * essay is in estimate.c.
 */
#ifndef DRAY_AGENT_ESTIMATE_H
#define DRAY_AGENT_ESTIMATE_H

#include "agent/agent.h"
#include "agent/probe.h"

struct estimate_pair {
	uint64_t bytes;       /* to be moved */
	uint64_t speed;       /* bytes a second, if it were alone */
	const char *disk;     /* pairs of one disk share its speed; NULL: its own */
	const struct dray_limits *limits; /* its own rate or timetable */
	/* out, in seconds from `from`; negative: never, by the limits as they are */
	double begins, ends;
};

struct estimate_rules {
	time_t from;
	uint64_t active_pairs;             /* DRAY_UNKNOWN: all at once */
	uint64_t rate;                     /* the agent's; DRAY_UNKNOWN: none */
	const struct dray_limits *limits;  /* the session's */
	const struct dray_windows *window;
};

/* A pure function of the local time's rules. Returns when the last pair ends, in seconds from `from`; negative: never. */
double estimate_play(const struct estimate_rules *rules, struct estimate_pair *pairs, size_t n);

/* `job` is validated, its sources' speeds are measured, and it is none of the agent's own. docs/API.md has the members. New reference. */
json_t *estimate_make(struct agent *a, const struct job *job, const struct probe_set *probes);

#endif
