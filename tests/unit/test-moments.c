/* SPDX-License-Identifier: BSD-3-Clause */
/* The moments of a periodic session: even rows, times of the day, the odd nights of daylight saving. */
#include "base/instant.h"
#include "session/moments.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static time_t instant(const char *text)
{
	time_t t;
	if (dray_instant_parse(text, &t))
		fail_msg("%s is refused", text);
	return t;
}

/* The moments after `from`, in UTC, with a blank between them. */
static void row(uint64_t every_s, int at, const char *anchor, const char *from, const char *expected)
{
	struct dray_moments m = { every_s, at };
	char got[400] = "", one[40];
	time_t t = instant(from);
	size_t n = 1;
	for (const char *p = expected; *p; p++)
		n += *p == ' ';
	assert_true(dray_moments_good(&m));
	while (n--) {
		time_t next = dray_moment_after(&m, instant(anchor), t);
		assert_true(next > t);
		t = next;
		snprintf(got + strlen(got), sizeof got - strlen(got), "%s%s", *got ? " " : "", dray_instant_format(t, one, sizeof one));
	}
	assert_string_equal(got, expected);
}

static void zone(const char *tz)
{
	setenv("TZ", tz, 1);
	tzset();
}

static void even_rows(void **state)
{
	zone("UTC");
	row(3600, -1, "2026-11-23T14:20:05Z", "2026-11-23T14:20:04Z", "2026-11-23T14:20:05Z 2026-11-23T15:20:05Z");
	row(3600, -1, "2026-11-23T14:20:05Z", "2026-11-23T14:20:05Z", "2026-11-23T15:20:05Z 2026-11-23T16:20:05Z");
	row(1, -1, "2026-11-23T14:20:05Z", "2026-11-24T00:00:00Z", "2026-11-24T00:00:01Z 2026-11-24T00:00:02Z");
}

static void times_of_the_day(void **state)
{
	zone("UTC");
	row(86400, 120, "2026-11-23T14:00:00Z", "2026-11-23T14:00:00Z", "2026-11-24T02:00:00Z 2026-11-25T02:00:00Z");
	row(86400, 120, "2026-11-23T01:00:00Z", "2026-11-23T01:00:00Z", "2026-11-23T02:00:00Z 2026-11-24T02:00:00Z");
	row(86400, 120, "2026-11-23T02:00:00Z", "2026-11-23T02:00:00Z", "2026-11-24T02:00:00Z");
	row(3 * 86400, 0, "2026-11-23T14:00:00Z", "2026-11-23T14:00:00Z", "2026-11-24T00:00:00Z 2026-11-27T00:00:00Z 2026-11-30T00:00:00Z");
	row(3 * 86400, 0, "2026-11-23T14:00:00Z", "2027-01-01T12:00:00Z", "2027-01-02T00:00:00Z 2027-01-05T00:00:00Z");
	row(6 * 3600, 120, "2026-11-23T14:00:00Z", "2026-11-23T14:00:00Z", "2026-11-23T20:00:00Z 2026-11-24T02:00:00Z 2026-11-24T08:00:00Z");
	row(60, 120, "2026-11-23T23:58:30Z", "2026-11-23T23:58:30Z", "2026-11-23T23:59:00Z 2026-11-24T00:00:00Z 2026-11-24T00:01:00Z");
	struct dray_moments bad[] = { { 5 * 3600, 0 }, { 86401, 0 }, { 30, 0 } };
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_false(dray_moments_good(&bad[i]));
}

static void odd_nights(void **state)
{
	zone("Europe/Berlin");
	/* 02:00 to 03:00 is left out on 2027-03-28, and comes twice on 2027-10-31. */
	row(86400, 150, "2027-03-26T12:00:00Z", "2027-03-26T12:00:00Z", "2027-03-27T01:30:00Z 2027-03-28T01:00:00Z 2027-03-29T00:30:00Z");
	row(86400, 150, "2027-03-26T12:00:00Z", "2027-10-29T12:00:00Z", "2027-10-30T00:30:00Z 2027-10-31T00:30:00Z 2027-11-01T01:30:00Z");
	row(3600, 30, "2027-03-26T12:00:00Z", "2027-03-28T00:00:00Z", "2027-03-28T00:30:00Z 2027-03-28T01:00:00Z 2027-03-28T01:30:00Z");
	row(3600, 30, "2027-03-26T12:00:00Z", "2027-10-31T00:00:00Z", "2027-10-31T00:30:00Z 2027-10-31T02:30:00Z 2027-10-31T03:30:00Z");
	zone("America/New_York");
	row(86400, 120, "2026-11-23T14:00:00Z", "2026-11-23T14:00:00Z", "2026-11-24T07:00:00Z");
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(even_rows), cmocka_unit_test(times_of_the_day), cmocka_unit_test(odd_nights) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
