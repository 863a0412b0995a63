/* SPDX-License-Identifier: BSD-3-Clause */
/* A timetable's entries hold from their time of day to the next one's, whichever night it is. */
#include "base/instant.h"
#include "session/timetable.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define MiB UINT64_C(1048576)

static time_t at(const char *text)
{
	time_t t;
	if (dray_instant_parse(text, &t))
		fail_msg("%s is refused", text);
	return t;
}

static void zone(const char *tz)
{
	setenv("TZ", tz, 1);
	tzset();
}

static struct dray_timetable table_of(const char *text)
{
	struct dray_timetable table;
	if (dray_timetable_parse(text, &table))
		fail_msg("%s is refused", text);
	return table;
}

static void changes(const char *text, const char *from, const char *expected, uint64_t rate)
{
	struct dray_timetable table = table_of(text);
	char got[40];
	time_t t = dray_timetable_change(&table, at(from));
	dray_instant_format(t, got, sizeof got);
	if (strcmp(got, expected))
		fail_msg("%s from %s changes at %s, not %s", text, from, got, expected);
	assert_int_equal(dray_timetable_at(&table, t), rate);
	assert_true(dray_timetable_at(&table, t - 1) != rate);
}

static void holds(void **state)
{
	struct dray_timetable table = table_of("08:00,20M 19:00,off");
	zone("UTC");
	assert_int_equal(dray_timetable_at(&table, at("2027-01-01T08:00:00Z")), 20 * MiB);
	assert_int_equal(dray_timetable_at(&table, at("2027-01-01T18:59:59Z")), 20 * MiB);
	assert_int_equal(dray_timetable_at(&table, at("2027-01-01T19:00:00Z")), UINT64_MAX);
	assert_int_equal(dray_timetable_at(&table, at("2027-01-02T07:59:59Z")), UINT64_MAX); /* of the day before */
	changes("08:00,20M 19:00,off", "2027-01-01T12:00:00Z", "2027-01-01T19:00:00Z", UINT64_MAX);
	changes("08:00,20M 19:00,off", "2027-01-01T19:00:00Z", "2027-01-02T08:00:00Z", 20 * MiB);
	changes("19:00,off  08:00,0", "2027-01-01T19:00:00Z", "2027-01-02T08:00:00Z", 0); /* in any order; 0 stops */
	table = table_of("08:00,512");
	assert_int_equal(dray_timetable_at(&table, at("2027-01-01T00:00:00Z")), 512);
	assert_int_equal(dray_timetable_change(&table, at("2027-01-01T00:00:00Z")), 0);
}

static void over_the_odd_nights(void **state)
{
	zone("CET-1CEST,M3.5.0,M10.5.0/3");
	/* 02:30 is never shown: from three on it has passed. */
	changes("01:00,1M 02:30,2M 06:00,3M", "2027-03-28T00:30:00Z", "2027-03-28T01:00:00Z", 2 * MiB);
	changes("01:00,1M 02:30,2M 06:00,3M", "2027-03-28T01:00:00Z", "2027-03-28T04:00:00Z", 3 * MiB);
	/* It is shown twice, and two o'clock after it. */
	changes("01:00,1M 02:30,2M 06:00,3M", "2027-10-31T00:00:00Z", "2027-10-31T00:30:00Z", 2 * MiB);
	changes("01:00,1M 02:30,2M 06:00,3M", "2027-10-31T00:30:00Z", "2027-10-31T01:00:00Z", 1 * MiB);
	changes("01:00,1M 02:30,2M 06:00,3M", "2027-10-31T01:00:00Z", "2027-10-31T01:30:00Z", 2 * MiB);
	changes("01:00,1M 02:30,2M 06:00,3M", "2027-10-31T01:30:00Z", "2027-10-31T05:00:00Z", 3 * MiB);
	zone("UTC");
}

static void refused(void **state)
{
	static const char *const texts[] = { "", " ", "20M", "off", "08:00", "08:00,", "08:00 20M", "8:00,20M", "08:00,20M,19:00,off", "24:00,20M",
		"08:60,1M", "08:00,-1", "08:00,1.5M", "08:00,none", "08:00,1M 08:00,2M", "08:00,OFF", "08:00,1Mx" };
	struct dray_timetable table;
	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
		if (dray_timetable_parse(texts[i], &table) != -EINVAL)
			fail_msg("\"%s\" is no timetable", texts[i]);
	assert_int_equal(dray_timetable_parse("08:00,99999999P", &table), -ERANGE);
	char many[1000] = "";
	for (int i = 0; i < 65; i++)
		sprintf(many + strlen(many), "%02d:%02d,1 ", i / 60, i % 60);
	assert_int_equal(dray_timetable_parse(many, &table), -E2BIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(holds),
		cmocka_unit_test(over_the_odd_nights),
		cmocka_unit_test(refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
