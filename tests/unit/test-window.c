/* SPDX-License-Identifier: BSD-3-Clause */
/* Windows of time open and close where the clock on the wall says, over midnight, weekdays and a change of the clocks; times are read
 * as RFC 3339 has them. */
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

/* The next opening of the windows, from a moment on. */
static void opens(const char *windows, const char *from, const char *expected)
{
	char text[120], got[40];
	struct dray_window list[4];
	struct dray_windows all = { list, 0 };
	snprintf(text, sizeof text, "%s", windows);
	for (char *w = strtok(text, "|"); w; w = strtok(NULL, "|"))
		if (dray_window_parse(w, &list[all.n++]))
			fail_msg("%s is refused", w);
	dray_instant_format(dray_windows_opening(&all, at(from)), got, sizeof got);
	if (strcmp(got, expected))
		fail_msg("%s from %s: %s, not %s", windows, from, got, expected);
	assert_int_equal(dray_windows_open(&all, at(from)), !strcmp(from, expected));
}

static void in_utc(void **state)
{
	setenv("TZ", "UTC", 1);
	tzset();
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

static void where_clocks_change(void **state)
{
	setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1);
	tzset();
	opens("04:00-05:00", "2027-03-27T03:30:00Z", "2027-03-27T03:30:00Z"); /* 04:30 in winter */
	opens("04:00-05:00", "2027-03-28T00:30:00Z", "2027-03-28T02:00:00Z"); /* 04:00 in summer, an hour earlier */
	opens("04:00-05:00", "2027-10-31T00:30:00Z", "2027-10-31T03:00:00Z");
	setenv("TZ", "UTC", 1);
	tzset();
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
		cmocka_unit_test(refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
