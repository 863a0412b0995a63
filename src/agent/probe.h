/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Looking at the resources of a document before anything is touched. May block for long (a dead NBD server), so it is done on the
 * request's own thread and gives plain data to the core.
 */
#ifndef DRAY_AGENT_PROBE_H
#define DRAY_AGENT_PROBE_H

#include "base/error.h"
#include "session/session.h"
#include "storage/storage.h"

#include <stdbool.h>

struct probe {
	bool looked;      /* false: nothing to look at (a volume) */
	bool missing;     /* it does not exist, and may be created */
	int rc;           /* of dray_storage_probe */
	struct dray_error err;
	struct dray_storage_info info;
	char signature[128]; /* "ext4 file system", or "" */
	char path_key[4200]; /* "path:/srv/a.img": the canonical name of a path, or "" */
};

struct probe_pair {
	struct probe source;
	struct probe *targets;
	size_t n_targets;
};

struct probe_set {
	struct probe_pair *pairs;
	size_t n;
};

/* NULL: no memory. Problems are found later, by the core. */
struct probe_set *probe_session(const struct dray_session *s, bool allow_faults);
void probe_free(struct probe_set *set);

#endif
