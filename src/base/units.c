/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/units.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Reads the leading digits; 0, -EINVAL if there are none, -ERANGE on overflow. `*end` is what follows them. */
static int parse_digits(const char *s, uint64_t *v, const char **end)
{
	if (!isdigit((unsigned char)*s))
		return -EINVAL;
	uint64_t n = 0;
	for (; isdigit((unsigned char)*s); s++) {
		if (__builtin_mul_overflow(n, UINT64_C(10), &n) ||
			__builtin_add_overflow(n, (uint64_t)(*s - '0'), &n))
			return -ERANGE;
	}
	*v = n;
	*end = s;
	return 0;
}

int dray_size_parse(const char *s, uint64_t *bytes)
{
	static const char letters[] = "KMGTP";
	uint64_t n;
	int rc = parse_digits(s, &n, &s);
	if (rc)
		return rc;
	unsigned shift = 0;
	if (*s) {
		const char *l = strchr(letters, toupper((unsigned char)*s));
		if (!l)
			return -EINVAL;
		shift = 10 * (unsigned)(l - letters + 1);
		s++;
		if (!strcmp(s, "iB"))
			s += 2;
		if (*s)
			return -EINVAL;
	}
	if (shift && n > UINT64_MAX >> shift)
		return -ERANGE;
	*bytes = n << shift;
	return 0;
}

int dray_duration_parse(const char *s, uint64_t *ns)
{
	static const struct {
		const char *unit;
		uint64_t ns;
	} units[] = {
		{ "", 1000000000 },
		{ "s", 1000000000 },
		{ "ms", 1000000 },
		{ "m", UINT64_C(60) * 1000000000 },
		{ "h", UINT64_C(3600) * 1000000000 },
		{ "d", UINT64_C(86400) * 1000000000 },
	};
	uint64_t n;
	int rc = parse_digits(s, &n, &s);
	if (rc)
		return rc;
	for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
		if (strcmp(s, units[i].unit))
			continue;
		if (__builtin_mul_overflow(n, units[i].ns, &n))
			return -ERANGE;
		*ns = n;
		return 0;
	}
	return -EINVAL;
}

char *dray_size_format(uint64_t bytes, char *buf, size_t size)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	unsigned u = 0;
	double v = (double)bytes;
	while (v >= 1024 && u + 1 < sizeof units / sizeof units[0]) {
		v /= 1024;
		u++;
	}
	snprintf(buf, size, u && v < 100 ? "%.1f %s" : "%.0f %s", v, units[u]);
	return buf;
}

char *dray_duration_format(uint64_t ns, char *buf, size_t size)
{
	uint64_t ms = ns / 1000000, s = ms / 1000;
	if (ns < 10000000)
		snprintf(buf, size, "%.2f ms", (double)ns / 1e6);
	else if (s < 10)
		snprintf(buf, size, s ? "%.1f s" : "%.0f ms", s ? (double)ms / 1000 : (double)ms);
	else if (s < 60)
		snprintf(buf, size, "%llu s", (unsigned long long)s);
	else if (s < 3600)
		snprintf(buf, size, "%llu min %llu s", (unsigned long long)(s / 60), (unsigned long long)(s % 60));
	else
		snprintf(buf, size, "%llu h %llu min", (unsigned long long)(s / 3600),
			(unsigned long long)(s / 60 % 60));
	return buf;
}
