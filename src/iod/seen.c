/* SPDX-License-Identifier: BSD-3-Clause */
#include "iod/seen.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct line {
	char name[DRAY_VOLUME_NAME_MAX + 1], uuid[64];
	uint64_t epoch;
};

struct iod_seen {
	struct line *lines; /* by name */
	size_t n;
};

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct line *)a)->name, ((const struct line *)b)->name);
}

static bool add(struct iod_seen *seen, const struct line *l)
{
	if (!(seen->n & (seen->n - 1))) { /* as many as there is room for */
		struct line *more = realloc(seen->lines, (seen->n ? seen->n * 2 : 1) * sizeof *more);
		if (!more)
			return false;
		seen->lines = more;
	}
	seen->lines[seen->n++] = *l;
	return true;
}

struct iod_seen *iod_seen_read(const char *path)
{
	struct iod_seen *seen = calloc(1, sizeof *seen);
	FILE *f = path ? fopen(path, "re") : NULL;
	char text[400];
	struct line l;
	bool good = seen;
	while (f && good && fgets(text, sizeof text, f))
		if (sscanf(text, "%128s %63s %" SCNu64, l.name, l.uuid, &l.epoch) == 3)
			good = add(seen, &l);
	if (f)
		fclose(f);
	if (!good) {
		iod_seen_free(seen);
		return NULL;
	}
	if (seen->n)
		qsort(seen->lines, seen->n, sizeof *seen->lines, by_name);
	return seen;
}

void iod_seen_free(struct iod_seen *seen)
{
	if (seen)
		free(seen->lines);
	free(seen);
}

int iod_seen_check(const struct iod_seen *seen, bool copy, const struct iod_volume_def *def, uint64_t epoch, struct dray_error *err)
{
	char own[37];
	struct line key;
	snprintf(key.name, sizeof key.name, "%s", def->name);
	iod_uuid_format(def->uuid, own);
	const struct line *l = seen->n ? bsearch(&key, seen->lines, seen->n, sizeof key, by_name) : NULL;
	bool other = l && strcmp(l->uuid, own) != 0;
	if (!l || (other && copy))
		return 0;
	if (other)
		return dray_error_kind(err, -ESTALE, "not_served",
			"volume %s: it is not the one that the agent knows by that name: the state directory was replaced; "
			"`dray volume accept %s` takes it as it is",
			def->name, def->name);
	if (epoch < l->epoch)
		return dray_error_kind(err, -ESTALE, "not_served",
			"volume %s: it is at epoch %" PRIu64 ", the agent saw epoch %" PRIu64 ": the state directory is an older one, and its primary "
			"may be a storage that was left; put the newer one back, or `dray volume accept %s` takes it as it is",
			def->name, epoch, l->epoch, def->name);
	return 0;
}
