/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The host's part of a group switch: carries the messages between dray_switch and the volumes, and writes the record.
 */
#ifndef DRAY_SIM_GROUP_H
#define DRAY_SIM_GROUP_H

#include "sim/sim.h"

struct sim_group {
	struct sim *s;
	struct dray_switch *sw;
	bool split, keep, done, recording; /* keep: a split that keeps its legs */
	unsigned n, applied, aborted, pending;
	struct sim_vol *vols[SIM_VOLS];
	struct sim_disk *target[SIM_VOLS];
	uint64_t last_to[SIM_VOLS], last_from[SIM_VOLS];
	enum dray_switch_outcome outcome;
	uint64_t deadline_in, started_ns;
};

/* Starts a switch (split: target is unused) of some volumes; the caller knows that none is under way. */
void group_start(struct sim *s, struct sim_vol **vols, struct sim_disk **targets, unsigned n, bool split, uint64_t deadline_in);
void group_event(struct sim_vol *v, const struct dray_event *ev);
/* The process died. */
void group_crash(struct sim *s);

#endif
