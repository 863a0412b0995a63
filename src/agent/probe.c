/* SPDX-License-Identifier: BSD-3-Clause */
#include "agent/probe.h"

#include "storage/signature.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The name that a missing file will have: its directory's real path and its last part. */
static void path_key(const char *resource, char *key, size_t size)
{
	const char *path = strncmp(resource, "file:", 5) ? resource : resource + 5;
	char copy[PATH_MAX], real[PATH_MAX];
	key[0] = 0;
	if (path[0] != '/' || strlen(path) >= sizeof copy)
		return;
	if (realpath(path, real)) {
		snprintf(key, size, "path:%.4000s", real);
		return;
	}
	strcpy(copy, path);
	char *slash = strrchr(copy, '/');
	*slash = 0;
	if (slash[1] && realpath(copy[0] ? copy : "/", real))
		snprintf(key, size, "path:%.3900s/%.255s", strcmp(real, "/") ? real : "", slash + 1);
}

/* A file in the directory that path_key names? */
static int may_make(struct probe *p)
{
	char directory[sizeof p->path_key];
	snprintf(directory, sizeof directory, "%s", p->path_key + strlen("path:"));
	char *slash = strrchr(directory, '/');
	slash[slash == directory] = 0;
	if (!faccessat(AT_FDCWD, directory, W_OK | X_OK, AT_EACCESS))
		return 0;
	int e = errno;
	return dray_error_kind(&p->err, -e, "not_accessible", "no file can be made in %s: %s", directory, strerror(e));
}

static void look(const struct dray_resource *r, bool target, bool may_create, bool allow_faults, struct probe *p)
{
	struct dray_storage_options o = { .read_only = !target, .no_lock = !target, .allow_faults = allow_faults,
		.offset = r->offset, .length = r->length };
	p->looked = true;
	path_key(r->resource, p->path_key, sizeof p->path_key);
	p->rc = dray_storage_probe(r->resource, &o, &p->info, &p->err);
	if (p->rc == -ENOENT && target && may_create && p->path_key[0]) {
		p->missing = true;
		p->rc = may_make(p);
		return;
	}
	/* Held by someone (perhaps a session that the core can name): what it is can be told all the same. */
	if (p->rc == -EBUSY && target) {
		struct dray_error ignored;
		o.no_lock = o.read_only = true;
		if (dray_storage_probe(r->resource, &o, &p->info, &ignored))
			p->info.identity[0] = 0;
	}
	if (!p->rc && target && dray_storage_signature(r->resource, p->signature, sizeof p->signature, &p->err) < 0)
		snprintf(p->signature, sizeof p->signature, "something that can't be read");
}

struct probe_set *probe_session(const struct dray_session *s, bool allow_faults)
{
	struct probe_set *set = calloc(1, sizeof *set);
	if (!set || !(set->pairs = calloc(s->n_pairs ? s->n_pairs : 1, sizeof *set->pairs))) {
		free(set);
		return NULL;
	}
	set->n = s->n_pairs;
	for (size_t i = 0; i < s->n_pairs; i++) {
		const struct dray_pair *p = &s->pairs[i];
		set->pairs[i].targets = calloc(p->n_targets ? p->n_targets : 1, sizeof(struct probe));
		if (!set->pairs[i].targets) {
			probe_free(set);
			return NULL;
		}
		set->pairs[i].n_targets = p->n_targets;
		if (p->source.resource[0] && strncmp(p->source.resource, "volume:", 7))
			look(&p->source, false, false, allow_faults, &set->pairs[i].source);
		for (size_t t = 0; t < p->n_targets; t++)
			if (p->targets[t].at.resource[0])
				look(&p->targets[t].at, true, p->create != DRAY_CREATE_NONE, allow_faults,
					&set->pairs[i].targets[t]);
	}
	return set;
}

void probe_free(struct probe_set *set)
{
	if (!set)
		return;
	for (size_t i = 0; i < set->n; i++)
		free(set->pairs[i].targets);
	free(set->pairs);
	free(set);
}
