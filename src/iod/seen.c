/* SPDX-License-Identifier: BSD-3-Clause */
#include "iod/seen.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

int iod_seen_check(const char *path, bool copy, const struct iod_volume_def *def, uint64_t epoch, struct dray_error *err)
{
	char line[400], name[IOD_NAME_MAX + 1], uuid[64], own[37];
	uint64_t seen;
	int rc = 0;
	FILE *f = path ? fopen(path, "re") : NULL;
	iod_uuid_format(def->uuid, own);
	while (f && !rc && fgets(line, sizeof line, f)) {
		if (sscanf(line, "%128s %63s %" SCNu64, name, uuid, &seen) != 3 || strcmp(name, def->name) != 0)
			continue;
		if (strcmp(uuid, own) != 0 && copy)
			continue;
		if (strcmp(uuid, own) != 0)
			rc = dray_error_kind(err, -ESTALE, "not_served",
				"volume %s: it is not the one that the agent knows by that name: the state directory was replaced; "
				"`dray volume accept %s` takes it as it is",
				name, name);
		else if (epoch < seen)
			rc = dray_error_kind(err, -ESTALE, "not_served",
				"volume %s: it is at epoch %" PRIu64 ", the agent saw epoch %" PRIu64 ": the state directory is an older one, and its primary "
				"may be a storage that was left; put the newer one back, or `dray volume accept %s` takes it as it is",
				name, epoch, seen, name);
	}
	if (f)
		fclose(f);
	return rc;
}
