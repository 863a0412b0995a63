/* SPDX-License-Identifier: BSD-3-Clause */
#include "session/timetable.h"

#include "base/units.h"
#include "session/local.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int by_time(const void *x, const void *y)
{
	const struct dray_timetable_entry *a = x, *b = y;
	return a->from - b->from;
}

/* "08:00,20M", up to the blank behind it. */
static int read_entry(const char **s, struct dray_timetable_entry *e)
{
	char rate[32];
	e->from = dray_local_time_read(s);
	if (e->from < 0 || e->from == DRAY_DAY_MINUTES || *(*s)++ != ',')
		return -EINVAL;
	size_t n = strcspn(*s, " ");
	if (!n || n >= sizeof rate)
		return -EINVAL;
	memcpy(rate, *s, n);
	rate[n] = 0;
	*s += n;
	e->rate = UINT64_MAX;
	if (!strcmp(rate, "off"))
		return 0;
	int rc = dray_size_parse(rate, &e->rate);
	return rc ? rc : e->rate > INT64_MAX ? -ERANGE : 0;
}

int dray_timetable_parse(const char *text, struct dray_timetable *table)
{
	*table = (struct dray_timetable){ 0 };
	for (text += strspn(text, " "); *text; text += strspn(text, " ")) {
		if (table->n == DRAY_TIMETABLE_MOST)
			return -E2BIG;
		int rc = read_entry(&text, &table->entries[table->n++]);
		if (rc)
			return rc;
	}
	if (!table->n)
		return -EINVAL;
	qsort(table->entries, table->n, sizeof table->entries[0], by_time);
	for (size_t i = 1; i < table->n; i++)
		if (table->entries[i].from == table->entries[i - 1].from)
			return -EINVAL;
	return 0;
}

static int entry_at(const void *ctx, int second)
{
	const struct dray_timetable *table = ctx;
	int minute = second % DRAY_DAY_SECONDS / 60, at = (int)table->n - 1;
	for (int i = 0; i < (int)table->n && table->entries[i].from <= minute; i++)
		at = i;
	return at;
}

static int until_entry(const void *ctx, int second)
{
	const struct dray_timetable *table = ctx;
	int least = DRAY_DAY_SECONDS;
	for (size_t i = 0; i < table->n; i++) {
		int left = (table->entries[i].from * 60 - second % DRAY_DAY_SECONDS + DRAY_DAY_SECONDS) % DRAY_DAY_SECONDS;
		if (left && left < least)
			least = left;
	}
	return least;
}

static struct dray_local_rule rule_of(const struct dray_timetable *table)
{
	return (struct dray_local_rule){ table, entry_at, until_entry };
}

uint64_t dray_timetable_at(const struct dray_timetable *table, time_t now)
{
	struct dray_local_rule rule = rule_of(table);
	return table->entries[dray_local_says(&rule, now)].rate;
}

time_t dray_timetable_change(const struct dray_timetable *table, time_t now)
{
	struct dray_local_rule rule = rule_of(table);
	return table->n > 1 ? dray_local_change(&rule, now) : 0;
}
