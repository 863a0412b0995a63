/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The record of who is primary: two checksummed slots in the host's state directory (H8).
 *
 * One record covers all volumes of the host, so that it is the one commit point of a group. A record is written over the
 * slot that does not hold the current one, with a higher epoch; the valid slot with the highest epoch is what a
 * recovery believes. A write that failed may or may not be there: it is superseded in the same slot, with a higher epoch
 * still. Only one write is under way at a time.
 */
#ifndef DRAY_SIM_META_H
#define DRAY_SIM_META_H

#include "sim/sim.h"

struct sim_slot {
	bool valid;
	uint64_t epoch;
	unsigned primary[SIM_VOLS]; /* disk number */
	uint32_t forget[SIM_VOLS];  /* disks that are legs no more (copies left behind by the switch) */
};

struct sim_record {
	struct sim_slot cached[2], durable[2];
	unsigned current;   /* slot of the last record known to be durable */
	uint64_t epoch;     /* the highest ever used */
	bool busy, to_new;
	struct sim_slot pending;
	uint64_t new_epoch; /* of the last record that names new primaries; 0: none is open */
};

void record_init(struct sim *s);
/* Starts the write; `done(s, error)` later. */
void record_write(struct sim *s, const struct sim_slot *slot, bool to_new, void (*done)(struct sim *s, int error));
/* Could a crash at this moment find the new side? Or: will it for sure? */
bool record_may_be_new(const struct sim *s);
bool record_is_new(const struct sim *s);
/* The process or the power died: the write under way ends somehow. */
void record_crash(struct sim *s, bool power);
/* What a recovery believes. */
const struct sim_slot *record_winner(const struct sim *s);
/* Both slots say what is true now, durably: at the start, after a recovery, after a switch is over. */
void record_normalise(struct sim *s);

#endif
