/* SPDX-License-Identifier: BSD-3-Clause */
/* A session played through: speeds, disks that pairs share, limits, windows and timetables, by the clock on the wall. */
#include "agent/estimate.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#define MIB UINT64_C(1048576)

static const struct dray_limits none = { DRAY_UNKNOWN, DRAY_UNKNOWN, DRAY_UNKNOWN, DRAY_UNKNOWN, DRAY_UNKNOWN, DRAY_UNKNOWN, DRAY_UNKNOWN, DRAY_UNKNOWN, NULL };
static const struct dray_windows always;

static time_t at(int day, int hour, int minute)
{
	struct tm tm = { .tm_year = 126, .tm_mon = 10, .tm_mday = day, .tm_hour = hour, .tm_min = minute, .tm_isdst = -1 };
	return mktime(&tm);
}

static struct estimate_rules rules(void)
{
	return (struct estimate_rules){ .from = at(2, 12, 0), .active_pairs = DRAY_UNKNOWN, .rate = DRAY_UNKNOWN, .limits = &none, .window = &always };
}

static struct estimate_pair pair(uint64_t mib, uint64_t mib_s, unsigned disk)
{
	return (struct estimate_pair){ .bytes = mib * MIB, .speed = mib_s * MIB, .disk = disk, .limits = &none };
}

static void about(double is, double should)
{
	if (fabs(is - should) > 0.01)
		fail_msg("%f, not %f", is, should);
}

static void speeds(void **state)
{
	struct estimate_rules r = rules();
	struct estimate_pair p[] = { pair(100, 10, 0), pair(100, 50, 0), pair(0, 50, 0) };
	about(estimate_play(&r, p, 3), 10);
	about(p[0].ends, 10);
	about(p[1].ends, 2);
	about(p[2].ends, 0);
	about(estimate_play(&r, p, 0), 0);
}

/* Others have places: each is free when its pair is through, and until then fewer are active at a time; none that is free helps who has a limit of one. */
static void places_taken(void **state)
{
	struct estimate_rules r = rules();
	double taken[] = { 10, 20, 20, 400 };
	struct estimate_pair p[] = { pair(100, 10, 0), pair(100, 10, 0), pair(100, 10, 0) };
	r.places = 3;
	r.taken = taken;
	r.n_taken = 2;
	about(estimate_play(&r, p, 3), 20); /* one at once, one after 10, and one when these are through or the other is */
	about(p[0].begins, 0);
	about(p[1].begins, 10);
	about(p[2].begins, 10);
	r.n_taken = 3;
	about(estimate_play(&r, p, 3), 30);
	about(p[0].begins, 10);
	about(p[2].begins, 20);
	r.n_taken = 4; /* as where a limit was lowered */
	about(estimate_play(&r, p, 3), 40);
	r.active_pairs = 1;
	about(estimate_play(&r, p, 3), 50);
	r.run_most = 5;
	assert_true(estimate_play(&r, p, 3) < 0);
}

/* Two on one disk have half of it each, and the second all of it when the first is through. */
static void one_disk(void **state)
{
	struct estimate_rules r = rules();
	struct estimate_pair p[] = { pair(100, 100, 1), pair(200, 100, 1), pair(100, 100, 2) };
	about(estimate_play(&r, p, 3), 3);
	about(p[0].ends, 2);
	about(p[1].ends, 3);
	about(p[2].ends, 1);
}

static void active_pairs(void **state)
{
	struct estimate_rules r = rules();
	r.active_pairs = 2;
	struct estimate_pair p[] = { pair(100, 100, 0), pair(300, 100, 0), pair(100, 100, 0), pair(100, 100, 0) };
	about(estimate_play(&r, p, 4), 3);
	about(p[2].begins, 1);
	about(p[3].begins, 2);
	about(p[3].ends, 3);
}

static void limits(void **state)
{
	struct estimate_rules r = rules();
	struct dray_limits session = none, own = none;
	session.rate = 30 * MIB;
	own.rate = 5 * MIB;
	r.limits = &session;
	struct estimate_pair p[] = { pair(100, 100, 0), pair(100, 100, 0) };
	p[0].limits = &own;
	/* 5 and 15: the session's in equal parts. */
	about(estimate_play(&r, p, 2), 20);
	about(p[1].ends, 100 / 15.0);
	r.rate = 10 * MIB; /* the agent's, which is less */
	about(estimate_play(&r, p, 2), 20);
	about(p[1].ends, 20);
	own.rate = 0;
	about(estimate_play(&r, p, 2), -1);
	assert_true(p[0].ends < 0 && p[1].ends > 0);
}

/* A limit counts what goes to each target; the disk's speed is that of its reading. */
static void targets(void **state)
{
	struct estimate_rules r = rules();
	struct estimate_pair p[] = { pair(100, 100, 0), pair(100, 25, 0) };
	p[0].targets = 2;
	r.rate = 20 * MIB;
	about(estimate_play(&r, p, 1), 10);
	p[1].targets = 1;
	r.rate = 40 * MIB; /* 20 each: 10 of the first's source */
	about(estimate_play(&r, p, 2), 7.5);
	about(p[1].ends, 5);
}

/* What each takes beside its bytes is done in turn, by those that are active; bytes come after that. */
static void fixed(void **state)
{
	struct estimate_rules r = rules();
	struct estimate_pair p[] = { pair(100, 100, 0), pair(0, 100, 0), pair(0, 100, 0) };
	for (size_t i = 0; i < 3; i++)
		p[i].fixed = 2;
	about(estimate_play(&r, p, 3), 7);
	about(p[1].ends, 6);
	r.active_pairs = 1;
	about(estimate_play(&r, p, 3), 7);
	about(p[0].ends, 3);
	about(p[2].begins, 5);
}

static void windows(void **state)
{
	struct dray_window w;
	assert_int_equal(dray_window_parse("19:00-20:00", &w), 0);
	struct dray_windows list = { &w, 1 };
	struct estimate_rules r = rules();
	r.window = &list;
	struct estimate_pair p = pair(100 * 3600 + 100, 100, 0); /* an hour and a second */
	about(estimate_play(&r, &p, 1), 31 * 3600 + 1);
	about(p.begins, 7 * 3600);
	r.from = at(2, 19, 30);
	about(estimate_play(&r, &p, 1), 24 * 3600 + 1);
	p = pair(100, 100, 0);
	about(estimate_play(&r, &p, 1), 1);
}

static void timetables(void **state)
{
	struct dray_timetable table;
	assert_int_equal(dray_timetable_parse("08:00,10MiB 13:00,0 19:00,off", &table), 0);
	struct dray_limits session = none;
	session.rate_table = &table;
	struct estimate_rules r = rules(); /* noon */
	r.limits = &session;
	struct estimate_pair p = pair(10 * 3600 + 100, 100, 0);
	about(estimate_play(&r, &p, 1), 7 * 3600 + 1);
	p = pair(10 * 1800, 100, 0);
	about(estimate_play(&r, &p, 1), 1800);
	/* One that lets nothing through, ever, is no endless loop. */
	assert_int_equal(dray_timetable_parse("08:00,0", &table), 0);
	about(estimate_play(&r, &p, 1), -1);
}

/* The night in which the clocks go back has an hour more. */
static void odd_night(void **state)
{
	struct dray_window w;
	assert_int_equal(dray_window_parse("22:00-06:00", &w), 0);
	struct dray_windows list = { &w, 1 };
	struct estimate_rules r = rules();
	r.window = &list;
	r.from = 1792872000; /* 2026-10-24 22:00 in Berlin */
	struct estimate_pair p = pair(100 * 3600 * 9, 100, 0);
	about(estimate_play(&r, &p, 1), 9 * 3600);
}

/* As many as a document may well have, all at once, and no two of one size; what was worked out for each pair and moment took for ever. */
static void many(void **state)
{
	enum { N = 10000 };
	struct dray_timetable tables[2];
	struct dray_limits own[2] = { none, none };
	struct estimate_pair *p = calloc(N, sizeof *p);
	struct estimate_rules r = rules();
	assert_non_null(p);
	for (unsigned i = 0; i < N; i++)
		p[i] = pair(i + 1, 1, 0);
	about(estimate_play(&r, p, N), N);
	about(p[N / 2].ends, N / 2 + 1);
	/* On one disk: when the k-th ends, k of each were moved, and the smaller ones in whole. */
	for (unsigned i = 0; i < N; i++)
		p[i] = pair(i + 1, N, 1);
	double moved = 0;
	for (unsigned k = 1; k <= N; k++)
		moved += k;
	estimate_play(&r, p, N);
	if (fabs(p[N - 1].ends - moved / N) > 1)
		fail_msg("%f, not %f", p[N - 1].ends, moved / N);
	/* Each with a timetable of its own, though the same. */
	assert_int_equal(dray_timetable_parse("00:00,1MiB 12:30,off", &tables[0]), 0);
	tables[1] = tables[0];
	for (unsigned i = 0; i < N; i++) {
		own[i % 2].rate_table = &tables[i % 2];
		p[i] = pair(i + 1, 2, 0);
		p[i].limits = &own[i % 2];
	}
	about(estimate_play(&r, p, N), 1800 + (N - 1800) / 2.0);
	about(p[999].ends, 1000);
	free(p);
}

/* max_duration is time outside of closed windows. */
static void max_duration(void **state)
{
	struct dray_window w;
	assert_int_equal(dray_window_parse("19:00-20:00", &w), 0);
	struct dray_windows list = { &w, 1 };
	struct estimate_rules r = rules();
	r.window = &list;
	r.run_most = 5400;
	struct estimate_pair p = pair(5400, 1, 0);
	about(estimate_play(&r, &p, 1), 31 * 3600 + 1800);
	p = pair(5401, 1, 0);
	about(estimate_play(&r, &p, 1), -1);
	/* So many that a double of seconds since 1970 can't tell what is left from nothing. */
	r.window = &always;
	r.from = 1798786802;
	r.run_most = 118.87315893500001;
	about(estimate_play(&r, &p, 1), -1);
}

int main(void)
{
	setenv("TZ", "Europe/Berlin", 1);
	tzset();
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(speeds), cmocka_unit_test(places_taken), cmocka_unit_test(one_disk), cmocka_unit_test(active_pairs), cmocka_unit_test(limits),
		cmocka_unit_test(targets), cmocka_unit_test(fixed), cmocka_unit_test(windows), cmocka_unit_test(timetables), cmocka_unit_test(odd_night), cmocka_unit_test(many),
		cmocka_unit_test(max_duration),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
