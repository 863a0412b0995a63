/* SPDX-License-Identifier: BSD-3-Clause */
/* Who may transfer: limits of session and agent, priority, age, and what the others are told; and that it is what a walk over
 * everything would say, whatever came before. */
#include "agent/places.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define NO_LIMIT UINT64_MAX
#define SESSIONS 6
#define PAIRS    70

static struct places q;
static struct places_session sessions[SESSIONS];

static int setup(void **state)
{
	places_init(&q, 4);
	for (size_t i = 0; i < SESSIONS; i++) {
		if (places_session_init(&sessions[i], PAIRS))
			return -1;
		places_session_set(&q, &sessions[i], i + 1, 5, NO_LIMIT);
	}
	return 0;
}

static int teardown(void **state)
{
	for (size_t i = 0; i < SESSIONS; i++)
		places_session_free(&q, &sessions[i]);
	return q.active != 0;
}

/* Session and pair count from 1 here. */
static void session(unsigned seq, unsigned priority, uint64_t limit)
{
	places_session_set(&q, &sessions[seq - 1], seq, priority, limit);
}

static void pair(unsigned seq, unsigned number, enum places_kind kind)
{
	places_pair_set(&q, &sessions[seq - 1], number - 1, kind);
}

/* Does what is to be done: "-2/1" goes back to the queue, "2/1" is admitted. */
static const char *turn(void)
{
	static char text[4096];
	struct places_session *s;
	size_t i;
	text[0] = 0;
	while (places_surplus(&q, &s, &i)) {
		places_pair_set(&q, s, i, PLACES_WAITING);
		sprintf(text + strlen(text), "%s-%llu/%zu", text[0] ? " " : "", (unsigned long long)s->seq, i + 1);
	}
	while (places_next(&q, &s, &i)) {
		places_pair_set(&q, s, i, PLACES_ACTIVE);
		sprintf(text + strlen(text), "%s%llu/%zu", text[0] ? " " : "", (unsigned long long)s->seq, i + 1);
	}
	return text;
}

static const char *reason(unsigned seq, unsigned number)
{
	static char text[200];
	return places_reason(&q, &sessions[seq - 1], number - 1, text, sizeof text) ? text : "";
}

static void within_the_session(void **state)
{
	session(1, 5, 1);
	pair(1, 3, PLACES_WAITING);
	pair(1, 1, PLACES_WAITING);
	pair(1, 2, PLACES_WAITING);
	assert_string_equal(reason(1, 1), "");
	assert_string_equal(turn(), "1/1");
	assert_string_equal(reason(1, 2), "waits for 1 of 1 active pairs of this session (limits.active_pairs); 0 pairs before it");
	assert_string_equal(reason(1, 3), "waits for 1 of 1 active pairs of this session (limits.active_pairs); 1 pair before it");
}

static void within_the_agent(void **state)
{
	q.limit = 2;
	for (unsigned s = 1; s <= 4; s++)
		pair(s, 1, PLACES_WAITING);
	assert_string_equal(turn(), "1/1 2/1");
	assert_string_equal(reason(4, 1), "waits for 1 of 2 active pairs of the agent (active_pairs of its configuration); 1 pair before it");
}

static void priority_then_age(void **state)
{
	q.limit = 2;
	session(1, 2, NO_LIMIT);
	session(2, 8, NO_LIMIT);
	session(3, 8, NO_LIMIT);
	for (unsigned s = 4; s >= 1; s--)
		pair(s, 1, PLACES_WAITING);
	assert_string_equal(turn(), "2/1 3/1");
	q.limit = 3;
	session(1, 6, NO_LIMIT);
	assert_string_equal(turn(), "1/1");
}

static void running_ones_are_not_displaced(void **state)
{
	q.limit = 1;
	session(1, 1, NO_LIMIT);
	session(2, 9, NO_LIMIT);
	pair(1, 1, PLACES_ACTIVE);
	pair(2, 1, PLACES_WAITING);
	assert_string_equal(turn(), "");
}

static void surplus_goes_back_youngest_first(void **state)
{
	session(1, 5, 2);
	session(2, 9, 2);
	for (unsigned i = 1; i <= 3; i++)
		pair(1, i, PLACES_ACTIVE);
	pair(2, 1, PLACES_WAITING);
	assert_string_equal(turn(), "-1/3 2/1");
	q.limit = 1;
	assert_string_equal(turn(), "-1/2 -1/1");
}

static void a_full_session_holds_up_nobody_else(void **state)
{
	session(1, 9, 1);
	session(2, 1, 1);
	q.limit = 2;
	pair(1, 1, PLACES_ACTIVE);
	pair(1, 2, PLACES_WAITING);
	pair(2, 1, PLACES_WAITING);
	assert_string_equal(turn(), "2/1");
}

static void a_place_is_kept_for_one_that_resumes(void **state)
{
	q.limit = 2;
	pair(1, 1, PLACES_RESUMING);
	pair(2, 1, PLACES_WAITING);
	pair(3, 1, PLACES_WAITING);
	assert_string_equal(turn(), "2/1");
	pair(1, 1, PLACES_WAITING);
	assert_string_equal(turn(), "1/1");
}

/* ---- the same by a walk over everything ---- */

struct one {
	unsigned seq, priority, number;
	uint64_t limit;
	bool active, resuming, run;
	char reason[200];
};

static int order(const void *x, const void *y)
{
	const struct one *a = x, *b = y;
	if (a->active != b->active)
		return a->active ? -1 : 1;
	if (a->priority != b->priority)
		return a->priority > b->priority ? -1 : 1;
	return a->seq != b->seq ? (a->seq < b->seq ? -1 : 1) : a->number < b->number ? -1 : 1;
}

static void walk(struct one *all, size_t n)
{
	uint64_t used = 0, waiting = 0;
	qsort(all, n, sizeof *all, order);
	for (size_t i = 0; i < n; i++) {
		struct one *p = &all[i];
		uint64_t in_session = 0, before = 0;
		for (size_t k = 0; k < i; k++)
			if (all[k].seq == p->seq) {
				in_session += all[k].run;
				before += !all[k].run;
			}
		p->reason[0] = 0;
		p->run = used < q.limit && in_session < p->limit;
		used += p->run;
		if (p->run)
			continue;
		bool own = in_session >= p->limit;
		uint64_t ahead = own ? before : waiting;
		snprintf(p->reason, sizeof p->reason, "waits for 1 of %llu active pairs of %s; %llu pair%s before it",
			(unsigned long long)(own ? p->limit : q.limit),
			own ? "this session (limits.active_pairs)" : "the agent (active_pairs of its configuration)",
			(unsigned long long)ahead, ahead == 1 ? "" : "s");
		waiting++;
	}
}

static size_t collect(struct one *all)
{
	size_t n = 0;
	for (unsigned s = 0; s < SESSIONS; s++)
		for (unsigned i = 0; i < PAIRS; i++)
			if (dray_bitmap_test(&sessions[s].active, i) || dray_bitmap_test(&sessions[s].waiting, i))
				all[n++] = (struct one){ .seq = s + 1, .priority = sessions[s].priority, .number = i + 1,
					.limit = sessions[s].limit, .active = dray_bitmap_test(&sessions[s].active, i),
					.resuming = dray_bitmap_test(&sessions[s].resuming, i) };
	return n;
}

static void compare(void)
{
	static struct one all[SESSIONS * PAIRS];
	size_t n = collect(all);
	walk(all, n);
	struct places_session *found;
	size_t at;
	bool over = false;
	for (size_t i = 0; i < n; i++)
		over |= all[i].active && !all[i].run;
	assert_int_equal(places_surplus(&q, &found, &at), over);
	if (over) {
		/* It goes back, whichever of them comes first. */
		for (size_t i = 0; i < n; i++)
			if (all[i].seq == found->seq && all[i].number == at + 1)
				assert_true(all[i].active && !all[i].run);
		return;
	}
	const struct one *next = NULL;
	for (size_t i = 0; i < n && !next; i++)
		if (!all[i].active && !all[i].resuming && all[i].run)
			next = &all[i];
	assert_int_equal(places_next(&q, &found, &at), next != NULL);
	if (next) {
		assert_int_equal(found->seq, next->seq);
		assert_int_equal(at + 1, next->number);
	}
	for (size_t i = 0; i < n; i++)
		if (!all[i].active)
			assert_string_equal(reason(all[i].seq, all[i].number), all[i].reason);
}

static void as_a_walk_over_everything(void **state)
{
	srand(7);
	for (unsigned step = 0; step < 3000; step++) {
		unsigned s = (unsigned)rand() % SESSIONS + 1, i = (unsigned)rand() % PAIRS + 1;
		switch (rand() % 12) {
		case 0: session(s, (unsigned)rand() % 9 + 1, rand() % 3 ? NO_LIMIT : (uint64_t)rand() % 6 + 1); break;
		case 1: q.limit = (uint64_t)rand() % 20 + 1; break;
		case 2: case 3: turn(); break;
		case 4: pair(s, i, PLACES_RESUMING); break;
		case 5: case 6: case 7: pair(s, i, PLACES_OUT); break;
		default: pair(s, i, PLACES_WAITING); break;
		}
		compare();
	}
}

static void none(void **state)
{
	assert_string_equal(turn(), "");
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = { T(within_the_session), T(within_the_agent), T(priority_then_age),
		T(running_ones_are_not_displaced), T(surplus_goes_back_youngest_first), T(a_full_session_holds_up_nobody_else),
		T(a_place_is_kept_for_one_that_resumes), T(as_a_walk_over_everything), T(none) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
