/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A group switch or split under way: group.c drives it, verbs-switch.c makes it from a call and answers.
 */
#ifndef DRAY_IOD_GROUP_H
#define DRAY_IOD_GROUP_H

#include "engine/switch.h"
#include "iod/volume.h"

struct iod_member {
	struct iod_volume *v; /* the verb right is ours */
	json_t *param;        /* what the call says of it; the call's */
	struct iod_leg *leg;  /* the new primary; NULL: a split */
	unsigned old_primary; /* leg id */
	uint64_t epoch;       /* before the switch */
	uint64_t accept_bad_bytes;
	bool force; /* the leg may lack something, the old primary is given up */
	/* found */
	bool suspended, resumed;
	uint64_t lost_bytes;   /* of a forced one: what the leg lacked; the first of the ranges */
	struct { uint64_t offset, length; } lost[64];
	unsigned n_lost;
	uint64_t bad_behind_bytes; /* when it was prepared */
	uint64_t blackout_ns, suspended_ns;
	/* group.c's */
	struct iod_group *group;
	unsigned number;
	uint64_t deadline_ns;
	struct dray_loop_msg message[5];
};

struct iod_group {
	struct iod *iod;
	const char *token;
	bool split;
	bool keep;   /* a split: the legs stay, set aside at its instant */
	bool commit; /* the old primaries are let go at the switch */
	uint64_t deadline_ns; /* how long a volume may be suspended */
	unsigned n;
	struct iod_member *members;
	void (*in_doubt)(struct iod_group *group); /* called on an I/O thread */
	/* found */
	enum dray_switch_outcome outcome;
	int culprit, error;
	struct dray_error record_error;
	/* group.c's */
	struct iod_inbox *inbox;
	struct dray_switch *sw;
	uint64_t engine_token;
	unsigned sealed;
	bool done, record, record_new, back_off;
	bool split_recorded; /* there is a record of the split, iod_split_remove takes it away */
};

/* Runs it to its end, however long that takes. The pen is held. -ENOMEM: nothing was begun. Else 0, with the outcome. For a split
 * that happened its record is durable, and its legs are still to be forgotten (iod_group_forgotten); for a switch the epoch record, the registry and the legs' links are as the outcome says. */
int iod_group_run(struct iod_group *group);
/* After a split: every volume's file says by itself which legs it has, and which are set aside. */
void iod_group_forgotten(struct iod_group *group);

#endif
