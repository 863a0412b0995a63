/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/instant.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

/* Exactly n digits. */
static bool digits(const char **s, int n, int *v)
{
	*v = 0;
	for (int i = 0; i < n; i++, (*s)++) {
		if (!isdigit((unsigned char)**s))
			return false;
		*v = *v * 10 + (**s - '0');
	}
	return true;
}

static bool one(const char **s, const char *of)
{
	if (!**s || !strchr(of, **s))
		return false;
	(*s)++;
	return true;
}

static int days_in(int year, int month)
{
	static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
	return month == 2 && leap ? 29 : days[month - 1];
}

int dray_instant_parse(const char *s, time_t *seconds)
{
	int year, month, day, hour, minute, second, off_hour = 0, off_minute = 0;
	bool good = digits(&s, 4, &year) && one(&s, "-") && digits(&s, 2, &month) && one(&s, "-") && digits(&s, 2, &day) &&
		    one(&s, "Tt ") && digits(&s, 2, &hour) && one(&s, ":") && digits(&s, 2, &minute) && one(&s, ":") &&
		    digits(&s, 2, &second);
	if (!good)
		return -EINVAL;
	if (*s == '.') {
		s++;
		if (!isdigit((unsigned char)*s))
			return -EINVAL;
		while (isdigit((unsigned char)*s))
			s++;
	}
	int sign = *s == '-' ? -1 : 1;
	if (one(&s, "+-")) {
		if (!digits(&s, 2, &off_hour) || !one(&s, ":") || !digits(&s, 2, &off_minute))
			return -EINVAL;
	} else if (!one(&s, "Zz")) {
		return -EINVAL;
	}
	/* 60 is a leap second. */
	if (*s || year < 1970 || month < 1 || month > 12 || day < 1 || day > days_in(year, month) || hour > 23 || minute > 59 ||
		second > 60 || off_hour > 23 || off_minute > 59)
		return -EINVAL;
	struct tm tm = { .tm_year = year - 1900, .tm_mon = month - 1, .tm_mday = day, .tm_hour = hour, .tm_min = minute,
		.tm_sec = second };
	*seconds = timegm(&tm) - sign * (off_hour * 3600 + off_minute * 60);
	return 0;
}

char *dray_instant_format(time_t seconds, char *buf, size_t size)
{
	struct tm tm;
	if (!gmtime_r(&seconds, &tm) || !strftime(buf, size, "%Y-%m-%dT%H:%M:%SZ", &tm))
		buf[0] = 0;
	return buf;
}
