/* SPDX-License-Identifier: BSD-3-Clause */
#include "agent/places.h"

#include "base/min.h"

#include <errno.h>
#include <stdio.h>

#define of_waiting(n) dray_container(n, struct places_session, waiting_node)
#define of_running(n) dray_container(n, struct places_session, running_node)

void places_init(struct places *q, uint64_t limit)
{
	*q = (struct places){ .limit = limit };
	for (size_t i = 0; i < PLACES_PRIORITIES; i++) {
		dray_list_init(&q->waiting[i]);
		dray_list_init(&q->running[i]);
	}
}

int places_session_init(struct places_session *s, size_t n)
{
	*s = (struct places_session){ .limit = UINT64_MAX, .priority = 5 };
	dray_list_init(&s->waiting_node);
	dray_list_init(&s->running_node);
	if (dray_bitmap_new(&s->active, n) || dray_bitmap_new(&s->waiting, n) || dray_bitmap_new(&s->resuming, n)) {
		dray_bitmap_free(&s->active);
		dray_bitmap_free(&s->waiting);
		return -ENOMEM;
	}
	return 0;
}

void places_session_free(struct places *q, struct places_session *s)
{
	q->active -= s->active.nset;
	q->changes += s->active.nset;
	dray_list_del(&s->waiting_node);
	dray_list_del(&s->running_node);
	dray_bitmap_free(&s->active);
	dray_bitmap_free(&s->waiting);
	dray_bitmap_free(&s->resuming);
}

/* From the end: a session that is new to a list is mostly the youngest. */
static void insert_waiting(struct dray_list *list, struct places_session *s)
{
	struct dray_list *at = list->prev;
	while (at != list && of_waiting(at)->seq > s->seq)
		at = at->prev;
	dray_list_add_tail(at->next, &s->waiting_node);
}

static void insert_running(struct dray_list *list, struct places_session *s)
{
	struct dray_list *at = list->prev;
	while (at != list && of_running(at)->seq > s->seq)
		at = at->prev;
	dray_list_add_tail(at->next, &s->running_node);
}

static void place(struct places *q, struct places_session *s)
{
	if (!s->waiting.nset)
		dray_list_del(&s->waiting_node);
	else if (dray_list_empty(&s->waiting_node))
		insert_waiting(&q->waiting[s->priority], s);
	if (!s->active.nset)
		dray_list_del(&s->running_node);
	else if (dray_list_empty(&s->running_node))
		insert_running(&q->running[s->priority], s);
}

void places_session_set(struct places *q, struct places_session *s, uint64_t seq, unsigned priority, uint64_t limit)
{
	s->limit = limit;
	q->changes += s->priority != priority;
	if (s->seq == seq && s->priority == priority)
		return;
	dray_list_del(&s->waiting_node);
	dray_list_del(&s->running_node);
	s->seq = seq;
	s->priority = priority < PLACES_PRIORITIES ? priority : PLACES_PRIORITIES - 1;
	place(q, s);
}

static void set(struct dray_bitmap *b, size_t i, bool on)
{
	if (on)
		dray_bitmap_set(b, i);
	else
		dray_bitmap_clear(b, i);
}

void places_pair_set(struct places *q, struct places_session *s, size_t i, enum places_kind kind)
{
	q->active -= s->active.nset;
	q->changes += dray_bitmap_test(&s->active, i) != (kind == PLACES_ACTIVE);
	set(&s->active, i, kind == PLACES_ACTIVE);
	set(&s->waiting, i, kind == PLACES_WAITING || kind == PLACES_RESUMING);
	set(&s->resuming, i, kind == PLACES_RESUMING);
	q->active += s->active.nset;
	place(q, s);
}

static uint64_t room(uint64_t limit, uint64_t used)
{
	return limit > used ? limit - used : 0;
}

bool places_next(const struct places *q, struct places_session **found, size_t *pair)
{
	uint64_t left = room(q->limit, q->active);
	for (int priority = PLACES_PRIORITIES - 1; priority >= 0 && left; priority--)
		for (struct dray_list *n = q->waiting[priority].next; n != &q->waiting[priority] && left; n = n->next) {
			struct places_session *s = of_waiting(n);
			uint64_t own = room(s->limit, s->active.nset);
			for (uint64_t i = 0; own && left; i++, own--, left--) {
				i = dray_bitmap_next_set(&s->waiting, i);
				if (i == DRAY_BITMAP_NONE)
					break;
				if (dray_bitmap_test(&s->resuming, i))
					continue; /* its place is kept */
				*found = s;
				*pair = (size_t)i;
				return true;
			}
		}
	return false;
}

static size_t last_set(const struct dray_bitmap *b)
{
	uint64_t w = dray_bitmap_nwords(b);
	while (w-- > 0)
		if (b->words[w])
			return (size_t)(w * 64 + 63 - (uint64_t)__builtin_clzll(b->words[w]));
	assert(false);
	return 0;
}

bool places_surplus(const struct places *q, struct places_session **found, size_t *pair)
{
	struct places_session *youngest = NULL;
	for (int priority = PLACES_PRIORITIES - 1; priority >= 0; priority--)
		dray_list_for_each (n, &q->running[priority]) {
			youngest = of_running(n);
			if (youngest->active.nset <= youngest->limit)
				continue;
			*found = youngest;
			*pair = last_set(&youngest->active);
			return true;
		}
	if (q->active <= q->limit)
		return false;
	*found = youngest;
	*pair = last_set(&youngest->active);
	return true;
}

static uint64_t set_before(const struct dray_bitmap *b, size_t i)
{
	uint64_t n = 0;
	for (size_t w = 0; w < i / 64; w++)
		n += (uint64_t)__builtin_popcountll(b->words[w]);
	if (i % 64)
		n += (uint64_t)__builtin_popcountll(b->words[i / 64] & ((UINT64_C(1) << (i % 64)) - 1));
	return n;
}

static const char *pairs_word(uint64_t n)
{
	return n == 1 ? "pair" : "pairs";
}

bool places_waits(const struct places *q, const struct places_session *s, size_t pair, struct places_wait *wait)
{
	/* What is admitted of the sessions before it, and what of those goes on waiting. */
	uint64_t left = room(q->limit, q->active), waiting = 0;
	bool reached = false;
	for (int priority = PLACES_PRIORITIES - 1; priority >= 0 && !reached; priority--)
		dray_list_for_each (n, &q->waiting[priority]) {
			const struct places_session *o = of_waiting(n);
			reached = o == s;
			if (reached)
				break;
			uint64_t admitted = min_u64(left, min_u64(o->waiting.nset, room(o->limit, o->active.nset)));
			left -= admitted;
			waiting += o->waiting.nset - admitted;
		}
	/* And of its own. */
	uint64_t before = set_before(&s->waiting, pair), own = room(s->limit, s->active.nset);
	uint64_t admitted = min_u64(left, min_u64(before, own));
	before -= admitted;
	if (admitted == own)
		*wait = (struct places_wait){ true, s->limit, before };
	else if (admitted == left)
		*wait = (struct places_wait){ false, q->limit, waiting + before };
	else
		return false;
	return true;
}

bool places_reason(const struct places *q, const struct places_session *s, size_t pair, char *text, size_t size)
{
	struct places_wait w;
	if (!places_waits(q, s, pair, &w))
		return false;
	if (w.of_session)
		snprintf(text, size, "waits for 1 of %llu active pairs of this session (%s); %llu %s before it", (unsigned long long)w.limit,
			s->limit_key ? s->limit_key : "limits.active_pairs", (unsigned long long)w.before, pairs_word(w.before));
	else
		snprintf(text, size, "waits for 1 of %llu active pairs of the agent (%s of its configuration); %llu %s before it",
			(unsigned long long)w.limit, q->limit_key ? q->limit_key : "active_pairs", (unsigned long long)w.before,
			pairs_word(w.before));
	return true;
}
