/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * First come, first served on ranges.
 *
 * Everything that changes a range, or must not see it change, stands in one queue in order of arrival: writes of the
 * application (zeroes and discards too) and steps of a copy or a verification. One is granted when nothing before it in
 * the queue, granted or waiting, overlaps it. Hence:
 *  - two overlapping writes are never in flight together, so that all legs apply them in one order;
 *  - a claim of the copy is granted only with no write in flight to its range (H3), and a write that comes later waits
 *    for that one step;
 *  - neither starves the other: who waits is overtaken by nobody.
 * Ranges are multiples of the export's block size, which every leg's block size divides (H14).
 */
#ifndef DRAY_ENGINE_LOCK_H
#define DRAY_ENGINE_LOCK_H

#include "engine/engine.h"

struct dray_lock_queue {
	struct dray_list queue;   /* all, in order of arrival */
	struct dray_list granted; /* granted by a leave, not yet taken notice of: see dray_lock_next_granted */
};

void dray_lock_queue_init(struct dray_lock_queue *q);
/* Joins the queue. Returns whether it was granted at once; otherwise it turns up in dray_lock_next_granted. */
bool dray_lock_enter(struct dray_lock_queue *q, struct dray_lock *lock, uint64_t start, uint64_t end, bool is_step);
/* Leaves it (granted or not); others may become granted. */
void dray_lock_leave(struct dray_lock_queue *q, struct dray_lock *lock);
/* One that was granted since the last call, or NULL. */
struct dray_lock *dray_lock_next_granted(struct dray_lock_queue *q);

#endif
