/* SPDX-License-Identifier: BSD-3-Clause */
/* Windows of time open and close where the clock on the wall says, over midnight, weekdays, a change of the clocks and one of the zone; times
 * are read as RFC 3339 has them. */
#include "base/instant.h"
#include "session/window.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static time_t at(const char *text)
{
	time_t t;
	if (dray_instant_parse(text, &t))
		fail_msg("%s is refused", text);
	return t;
}

/* Windows with a bar between them. */
static struct dray_windows read_all(const char *windows, struct dray_window list[4])
{
	char text[120];
	struct dray_windows all = { list, 0 };
	snprintf(text, sizeof text, "%s", windows);
	for (char *w = strtok(text, "|"); w; w = strtok(NULL, "|"))
		if (dray_window_parse(w, &list[all.n++]))
			fail_msg("%s is refused", w);
	return all;
}

/* The next opening of the windows, from a moment on. */
static void opens(const char *windows, const char *from, const char *expected)
{
	char got[40];
	struct dray_window list[4];
	struct dray_windows all = read_all(windows, list);
	dray_instant_format(dray_windows_opening(&all, at(from)), got, sizeof got);
	if (strcmp(got, expected))
		fail_msg("%s from %s: %s, not %s", windows, from, got, expected);
	assert_int_equal(dray_windows_open(&all, at(from)), !strcmp(from, expected));
}

static void zone(const char *tz)
{
	setenv("TZ", tz, 1);
	tzset();
}

/* All the moments at which the windows open and close in that time, as "open-close open-close ..." in UTC. */
static void turns(const char *windows, const char *from, const char *to, const char *expected)
{
	char got[400] = "", one[40];
	struct dray_window list[4];
	struct dray_windows all = read_all(windows, list);
	time_t t = at(from);
	assert_false(dray_windows_open(&all, t));
	for (t = dray_windows_change(&all, t); t && t < at(to); t = dray_windows_change(&all, t)) {
		bool open = dray_windows_open(&all, t);
		assert_true(dray_windows_open(&all, t - 1) != open);
		dray_instant_format(t, one, sizeof one);
		snprintf(got + strlen(got), sizeof got - strlen(got), "%s%.11s", !*got ? "" : open ? " " : "-", one + 5);
	}
	if (strcmp(got, expected))
		fail_msg("%s: %s, not %s", windows, got, expected);
}

/* Minute by minute, with nothing but the C library's clock: when is it open, and where does it change? */
static void against_the_clock(const char *tz, const char *from, const char *window, unsigned days, int begin, int end)
{
	struct dray_window w;
	struct dray_windows all = { &w, 1 };
	zone(tz);
	assert_int_equal(dray_window_parse(window, &w), 0);
	time_t first = at(from), last = first + 16 * 86400, change = dray_windows_change(&all, first);
	bool was = dray_windows_open(&all, first);
	for (time_t t = first + 60; t < last; t += 60) {
		struct tm tm;
		localtime_r(&t, &tm);
		int m = tm.tm_hour * 60 + tm.tm_min;
		bool today = days >> tm.tm_wday & 1, yesterday = days >> (tm.tm_wday + 6) % 7 & 1;
		bool open = begin < end ? today && m >= begin && m < end : (today && m >= begin) || (yesterday && m < end);
		if (open != dray_windows_open(&all, t))
			fail_msg("%s in %s at %lld: %d", window, tz, (long long)t, !open);
		if (open != was && change != t)
			fail_msg("%s in %s changes at %lld, not at %lld", window, tz, (long long)t, (long long)change);
		if (open == was && change == t)
			fail_msg("%s in %s does not change at %lld", window, tz, (long long)t);
		if (open != was)
			change = dray_windows_change(&all, t);
		was = open;
	}
}

static void in_utc(void **state)
{
	zone("UTC");
	/* 2027-01-01 is a Friday. */
	opens("02:00-04:00", "2027-01-01T01:59:59Z", "2027-01-01T02:00:00Z");
	opens("02:00-04:00", "2027-01-01T03:59:59Z", "2027-01-01T03:59:59Z");
	opens("02:00-04:00", "2027-01-01T04:00:00Z", "2027-01-02T02:00:00Z");
	opens("22:00-06:00", "2027-01-01T05:00:00Z", "2027-01-01T05:00:00Z");
	opens("22:00-06:00", "2027-01-01T12:00:00Z", "2027-01-01T22:00:00Z");
	opens("Sat,Sun 00:00-24:00", "2027-01-01T12:00:00Z", "2027-01-02T00:00:00Z");
	opens("Sat,Sun 00:00-24:00", "2027-01-03T23:59:59Z", "2027-01-03T23:59:59Z");
	opens("Sat,Sun 00:00-24:00", "2027-01-04T00:00:00Z", "2027-01-09T00:00:00Z");
	opens("fri 22:00-06:00", "2027-01-02T05:00:00Z", "2027-01-02T05:00:00Z"); /* Friday's, still */
	opens("Fri 22:00-06:00", "2027-01-01T05:00:00Z", "2027-01-01T22:00:00Z"); /* not Thursday's */
	opens("Fri-Mon 02:00-03:00", "2027-01-04T02:30:00Z", "2027-01-04T02:30:00Z");
	opens("Fri-Mon 02:00-03:00", "2027-01-04T03:00:00Z", "2027-01-08T02:00:00Z");
	opens("Fri 02:00-03:00", "2027-01-01T03:00:00Z", "2027-01-08T02:00:00Z");
	opens("12:00-13:00|02:00-03:00", "2027-01-01T03:00:00Z", "2027-01-01T12:00:00Z");
	struct dray_windows none = { NULL, 0 };
	assert_true(dray_windows_open(&none, at("2027-01-01T00:00:00Z")));
}

#define CET      "CET-1CEST,M3.5.0,M10.5.0/3"
#define NEW_YORK "EST5EDT,M3.2.0,M11.1.0"
#define LORD_HOWE "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0" /* half an hour */

static void where_clocks_change(void **state)
{
	zone(CET);
	opens("04:00-05:00", "2027-03-27T03:30:00Z", "2027-03-27T03:30:00Z"); /* 04:30 in winter */
	opens("04:00-05:00", "2027-03-28T00:30:00Z", "2027-03-28T02:00:00Z"); /* 04:00 in summer, an hour earlier */
	opens("04:00-05:00", "2027-10-31T00:30:00Z", "2027-10-31T03:00:00Z");
	/* The night of 23 hours: 02:00 to 03:00 is never shown. */
	const char *from = "2027-03-27T12:00:00Z", *to = "2027-03-28T12:00:00Z";
	turns("01:00-04:00", from, to, "03-28T00:00-03-28T02:00");
	turns("02:00-04:00", from, to, "03-28T01:00-03-28T02:00");
	turns("02:30-04:00", from, to, "03-28T01:00-03-28T02:00");
	turns("01:00-02:30", from, to, "03-28T00:00-03-28T01:00");
	turns("02:15-02:45", from, to, "");
	opens("02:15-02:45", "2027-03-28T00:00:00Z", "2027-03-29T00:15:00Z");
	opens("Sun 02:15-02:45", "2027-03-28T00:00:00Z", "2027-04-04T00:15:00Z"); /* a week later */
	turns("Sat 22:00-06:00", from, to, "03-27T21:00-03-28T04:00");
	turns("Sun 00:00-24:00", from, "2027-03-29T12:00:00Z", "03-27T23:00-03-28T22:00");
	/* The night of 25: 02:00 to 03:00 is shown twice, and is what it is both times. */
	from = "2027-10-30T12:00:00Z", to = "2027-10-31T12:00:00Z";
	turns("01:00-04:00", from, to, "10-30T23:00-10-31T03:00");
	turns("02:00-03:00", from, to, "10-31T00:00-10-31T02:00");
	turns("02:15-02:45", from, to, "10-31T00:15-10-31T00:45 10-31T01:15-10-31T01:45");
	turns("01:00-02:30", from, to, "10-30T23:00-10-31T00:30 10-31T01:00-10-31T01:30");
	turns("02:30-04:00", from, to, "10-31T00:30-10-31T01:00 10-31T01:30-10-31T03:00");
	turns("01:00-02:30|02:30-04:00", from, to, "10-30T23:00-10-31T03:00");
	turns("Sat 22:00-06:00", from, to, "10-30T20:00-10-31T05:00");
	/* Always is always. */
	struct dray_window w;
	struct dray_windows all = { &w, 1 };
	assert_int_equal(dray_window_parse("00:00-24:00", &w), 0);
	assert_true(dray_windows_open(&all, at(from)));
	assert_int_equal(dray_windows_change(&all, at(from)), 0);
	zone("UTC");
}

static void as_the_clock_shows(void **state)
{
	static const struct {
		const char *tz, *spring, *autumn;
	} zones[] = {
		{ CET, "2027-03-20T00:00:00Z", "2027-10-24T00:00:00Z" },
		{ NEW_YORK, "2027-03-07T00:00:00Z", "2027-10-31T00:00:00Z" },
		{ LORD_HOWE, "2027-09-26T00:00:00Z", "2027-03-28T00:00:00Z" },
		{ "UTC", "2027-02-24T00:00:00Z", "2028-02-24T00:00:00Z" },
	};
	for (size_t i = 0; i < sizeof zones / sizeof zones[0]; i++)
		for (int autumn = 0; autumn < 2; autumn++) {
			const char *from = autumn ? zones[i].autumn : zones[i].spring;
			against_the_clock(zones[i].tz, from, "19:00-07:00", 0x7f, 1140, 420);
			against_the_clock(zones[i].tz, from, "01:45-02:15", 0x7f, 105, 135);
			against_the_clock(zones[i].tz, from, "Sat,Sun 00:00-24:00", 0x41, 0, 1440);
			against_the_clock(zones[i].tz, from, "Sun 02:00-03:00", 1, 120, 180);
			against_the_clock(zones[i].tz, from, "Fri-Sun 23:00-02:10", 0x61, 1380, 130);
		}
	zone("UTC");
}

static void where_the_zone_changes(void **state)
{
	zone("UTC");
	opens("19:00-07:00", "2027-06-01T18:00:00Z", "2027-06-01T19:00:00Z");
	zone("JST-9");
	opens("19:00-07:00", "2027-06-01T18:00:00Z", "2027-06-01T18:00:00Z"); /* 03:00 there */
	opens("Tue 19:00-20:00", "2027-06-01T18:00:00Z", "2027-06-08T10:00:00Z"); /* it is Wednesday there */
	zone("UTC");
}

static void closed(const char *windows, const char *from, const char *expected)
{
	char got[40] = "";
	struct dray_window list[4];
	struct dray_windows all = read_all(windows, list);
	time_t t = dray_windows_closed(&all, at(from));
	if (t)
		dray_instant_format(t, got, sizeof got);
	if (strcmp(got, expected))
		fail_msg("%s from %s: closed at %s, not %s", windows, from, got, expected);
}

static void since_when_closed(void **state)
{
	zone(CET);
	closed("19:00-07:00", "2027-06-01T05:00:00Z", "2027-06-01T05:00:00Z");
	closed("19:00-07:00", "2027-06-01T10:00:00Z", "2027-06-01T05:00:00Z");
	closed("Mon 10:00-11:00|Mon 10:30-12:00", "2027-06-06T10:00:00Z", "2027-05-31T10:00:00Z");
	closed("Sun 02:15-02:45", "2027-03-28T10:00:00Z", "2027-03-21T01:45:00Z"); /* it did not open that day */
	closed("22:00-02:30", "2027-03-28T10:00:00Z", "2027-03-28T01:00:00Z");     /* ended by what was left out */
	closed("01:00-02:30", "2027-10-31T10:00:00Z", "2027-10-31T01:30:00Z");     /* the second time */
	zone("UTC");
}

static void refused(void **state)
{
	static const char *const windows[] = { "", "02:00", "2:00-4:00", "02:00-04:0", "02:00-04:000", "24:00-02:00", "02:60-03:00",
		"25:00-26:00", "02:00-02:00", "Sat", "Sat,02:00-03:00", "Sat-02:00-03:00", "Sat, Sun 02:00-03:00", " 02:00-03:00",
		"02:00-03:00 ", "24:01-03:00" };
	static const char *const instants[] = { "", "2027-01-01", "2027-01-01T00:00:00", "2027-13-01T00:00:00Z", "2027-02-29T00:00:00Z",
		"2027-01-01T24:00:00Z", "2027-01-01T00:60:00Z", "2027-01-01T00:00:00+1:00", "2027-01-01T00:00:00+01", "2027-01-01T00:00:00.Z",
		"2027-01-01T00:00:00ZZ", "1969-01-01T00:00:00Z", "27-01-01T00:00:00Z" };
	struct dray_window w;
	time_t t;
	for (size_t i = 0; i < sizeof windows / sizeof windows[0]; i++)
		if (!dray_window_parse(windows[i], &w))
			fail_msg("%s is no window", windows[i]);
	for (size_t i = 0; i < sizeof instants / sizeof instants[0]; i++)
		if (!dray_instant_parse(instants[i], &t))
			fail_msg("%s is no time", instants[i]);
	assert_int_equal(at("1970-01-01T00:00:00z"), 0);
	assert_int_equal(at("2024-02-29t23:59:59.999+23:59"), at("2024-02-29T00:00:59Z"));
	assert_int_equal(at("1970-01-02 00:00:00-00:30"), 86400 + 1800);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(in_utc),
		cmocka_unit_test(where_clocks_change),
		cmocka_unit_test(as_the_clock_shows),
		cmocka_unit_test(where_the_zone_changes),
		cmocka_unit_test(since_when_closed),
		cmocka_unit_test(refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
