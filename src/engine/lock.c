/* SPDX-License-Identifier: BSD-3-Clause */
#include "engine/lock.h"
#include "engine/plant.h"

#include <assert.h>

void dray_lock_queue_init(struct dray_lock_queue *q)
{
	dray_list_init(&q->queue);
	dray_list_init(&q->granted);
}

static bool overlap(const struct dray_lock *a, const struct dray_lock *b)
{
	return a->start < b->end && b->start < a->end;
}

static bool may_pass(const struct dray_lock *earlier, const struct dray_lock *lock)
{
	if (PLANT(OVERLAP_NOT_ORDERED) && !earlier->is_step && !lock->is_step)
		return true;
	if (PLANT(H3_CLAIM_OVER_WRITE) && !earlier->is_step && lock->is_step)
		return true;
	return !overlap(earlier, lock);
}

static bool grantable(const struct dray_lock_queue *q, const struct dray_lock *lock)
{
	for (const struct dray_list *n = lock->node.prev; n != &q->queue; n = n->prev) {
		if (!may_pass(dray_container(n, struct dray_lock, node), lock))
			return false;
	}
	return true;
}

bool dray_lock_enter(struct dray_lock_queue *q, struct dray_lock *lock, uint64_t start, uint64_t end, bool is_step)
{
	assert(!lock->queued && start < end);
	lock->start = start;
	lock->end = end;
	lock->is_step = is_step;
	lock->queued = true;
	dray_list_init(&lock->granted_node);
	dray_list_add_tail(&q->queue, &lock->node);
	lock->granted = grantable(q, lock);
	return lock->granted;
}

void dray_lock_leave(struct dray_lock_queue *q, struct dray_lock *lock)
{
	assert(lock->queued);
	struct dray_list *n = lock->node.next;
	dray_list_del(&lock->node);
	dray_list_del(&lock->granted_node);
	lock->queued = lock->granted = false;
	/* Only those behind it that overlap it can have waited for it. */
	for (; n != &q->queue; n = n->next) {
		struct dray_lock *other = dray_container(n, struct dray_lock, node);
		if (other->granted || !overlap(lock, other) || !grantable(q, other))
			continue;
		other->granted = true;
		dray_list_add_tail(&q->granted, &other->granted_node);
	}
}

struct dray_lock *dray_lock_next_granted(struct dray_lock_queue *q)
{
	struct dray_list *n = dray_list_pop(&q->granted);
	return n ? dray_container(n, struct dray_lock, granted_node) : NULL;
}
