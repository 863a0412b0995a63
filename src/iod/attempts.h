/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is tried until it works: bringing up a volume, opening a leg's storage. Thousands may have to be after a restart, and one attempt may take
 * a minute; so they stand in a queue, by when they are due, and a bounded number of threads take them from there. One that failed
 * stands in it again, with a pause that grows, and keeps no thread.
 */
#ifndef DRAY_IOD_ATTEMPTS_H
#define DRAY_IOD_ATTEMPTS_H

#include "base/list.h"

#include <stdbool.h>
#include <stdint.h>

struct iod;

/* Embedded in what is tried. */
struct iod_attempt {
	bool (*run)(struct iod_attempt *at);  /* once; a job's thread. true: no other is needed */
	void (*over)(struct iod_attempt *at); /* after that, or when the process is to stop: the last that is heard of it */
	uint64_t pause_ns, pause_most_ns;     /* to the second attempt; at most */
	/* the queue's */
	struct dray_list node;
	uint64_t due_ns;
};

/* All zero but for `most` and `waiting`, which is initialized. iod->lock. */
struct iod_attempts {
	struct dray_list waiting; /* by due_ns */
	unsigned most;            /* threads */
	unsigned workers, sleepers;
};

/* The first attempt is due at once. iod->lock is not held. */
void iod_attempt_begin(struct iod *iod, struct iod_attempts *queue, struct iod_attempt *at);
/* iod->stopping is set: ends those that wait. */
void iod_attempts_stop(struct iod *iod, struct iod_attempts *queue);

#endif
