/* SPDX-License-Identifier: BSD-3-Clause */
#include "agent/probe.h"

#include "storage/below.h"
#include "storage/identity.h"
#include "storage/nbd.h"
#include "storage/sysfs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* ---- files that are not there yet ---- */

/* The directory that a path's last part is in, links followed: a descriptor, or -errno; *name: the last part, in `real`. */
static int open_directory(const char *path, char real[PATH_MAX], const char **name)
{
	char copy[PATH_MAX];
	if (path[0] != '/' || strlen(path) >= sizeof copy)
		return -EINVAL;
	if (!realpath(path, real)) {
		/* The last part is missing, the rest must not be. A link that leads nowhere is no file that could be made. */
		struct stat st;
		if (errno != ENOENT || !lstat(path, &st))
			return -EINVAL;
		strcpy(copy, path);
		char *slash = strrchr(copy, '/');
		const char *last = slash + 1;
		if (!*last || !strcmp(last, ".") || !strcmp(last, ".."))
			return -EINVAL;
		*slash = 0;
		if (!realpath(copy[0] ? copy : "/", real) || strlen(real) + strlen(last) + 2 > PATH_MAX)
			return -EINVAL;
		if (strcmp(real, "/"))
			strcat(real, "/");
		strcat(real, last);
	}
	char *slash = strrchr(real, '/');
	*name = slash + 1;
	*slash = 0;
	int fd = open(real[0] ? real : "/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* Two names of one missing file have one key: the directory is named by its identity, so that bind mounts and links don't matter. */
static void path_key(const char *resource, struct probe *p)
{
	char real[PATH_MAX], directory[256];
	const char *name;
	bool stable;
	int fd = open_directory(strncmp(resource, "file:", 5) ? resource : resource + 5, real, &name);
	p->path_key[0] = 0;
	if (fd < 0)
		return;
	if (!dray_identity_of_fd(fd, directory, sizeof directory, &stable))
		snprintf(p->path_key, sizeof p->path_key, "name:%s/%.255s", strchr(directory, ':') + 1, name);
	struct statvfs fs;
	if (!fstatvfs(fd, &fs)) {
		p->room_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
		snprintf(p->room_id, sizeof p->room_id, "%lx", fs.f_fsid);
	}
	close(fd);
}

/* Views of the kernel, in which root may write and nobody makes files. */
static bool of_the_kernel(int fd)
{
	struct statfs fs;
	if (fstatfs(fd, &fs))
		return false;
	switch ((unsigned)fs.f_type) {
	case PROC_SUPER_MAGIC:
	case SYSFS_MAGIC:
	case CGROUP_SUPER_MAGIC:
	case CGROUP2_SUPER_MAGIC:
	case DEBUGFS_MAGIC:
	case TRACEFS_MAGIC:
	case SECURITYFS_MAGIC:
	case DEVPTS_SUPER_MAGIC:
	case BPF_FS_MAGIC: return true;
	default: return false;
	}
}

/* May a file be made there? */
static int may_make(const char *resource, struct probe *p)
{
	char real[PATH_MAX];
	const char *name;
	int fd = open_directory(strncmp(resource, "file:", 5) ? resource : resource + 5, real, &name), e = 0;
	if (fd < 0)
		return dray_error_kind(&p->err, -ENOENT, "not_found", "%s: no directory for it", resource);
	if (faccessat(fd, ".", W_OK | X_OK, AT_EACCESS))
		e = errno;
	else if (of_the_kernel(fd))
		e = EPERM;
	close(fd);
	return e ? dray_error_kind(&p->err, -e, "not_accessible", "no file can be made in %s: %s", real[0] ? real : "/", strerror(e)) : 0;
}

/* ---- looking ---- */

static void look_inside(const char *resource, const struct dray_storage_options *o, bool data, struct probe *p)
{
	p->content_rc = dray_storage_content(resource, o, data, &p->content, &p->content_err);
}

/* What may not be opened has an identity all the same: it may be locked, or be named twice. */
static void who(const struct dray_resource *r, struct probe *p)
{
	const char *path = strncmp(r->resource, "file:", 5) ? r->resource : r->resource + 5;
	struct stat st;
	bool stable;
	p->info = (struct dray_storage_info){ 0 };
	int fd = path[0] == '/' ? open(path, O_PATH | O_CLOEXEC) : -1;
	if (fd < 0)
		return;
	if (fstat(fd, &st) || (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode)) ||
		dray_identity_of_fd(fd, p->info.identity, sizeof p->info.identity, &stable))
		p->info.identity[0] = 0;
	close(fd);
	uint64_t size = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
	if (p->info.identity[0] && (r->offset || r->length) && (r->length || r->offset < size))
		dray_identity_slice(p->info.identity, sizeof p->info.identity, r->offset, r->length ? r->length : size - r->offset, NULL);
}

/* Of an NBD export: a slice is of the same thing by whatever name. */
static void other_names(const char *resource, struct probe *p)
{
	if (p->rc || dray_nbd_alias(p->info.identity, p->alias, sizeof p->alias))
		p->alias[0] = 0;
	const char *plus = strrchr(p->info.identity, '+'), *colon = strrchr(p->info.identity, ':');
	char line[sizeof p->process];
	p->process[0] = 0;
	if (p->rc || strncmp(p->info.identity, "nbd:", 4) || !colon || dray_nbd_process(resource, strtoull(colon + 1, NULL, 10), line, sizeof line))
		return;
	if ((size_t)snprintf(p->process, sizeof p->process, "%s%s", line, plus && plus > colon ? plus : "") >= sizeof p->process)
		p->process[0] = 0;
}

static bool note_nbd(void *arg, dev_t dev)
{
	struct probe *p = arg;
	char name[64];
	if (p->n_nbd_below < sizeof p->nbd_below / sizeof p->nbd_below[0] && !dray_sysfs_name(dev, name, sizeof name) && !strncmp(name, "nbd", 3))
		p->nbd_below[p->n_nbd_below++] = dev;
	return false;
}

static void look(const struct dray_resource *r, bool target, bool may_create, bool allow_faults, const struct dray_loops *loops,
	struct probe *p)
{
	struct dray_storage_options o = { .read_only = !target, .look = true, .allow_faults = allow_faults, .offset = r->offset,
		.length = r->length };
	p->looked = true;
	path_key(r->resource, p);
	dray_storage_below(r->resource, note_nbd, p);
	dray_lineage_find(&p->lineage, r->resource, r->offset, r->length, loops);
	p->rc = dray_storage_probe(r->resource, &o, &p->info, &p->err);
	other_names(r->resource, p);
	if (p->rc == -ENOENT && target && may_create && p->path_key[0]) {
		p->missing = true;
		p->rc = may_make(r->resource, p);
		return;
	}
	/* Held by someone (perhaps a session that the core can name): what it is can be told all the same. */
	if (p->rc) {
		struct dray_error ignored;
		bool busy = p->rc == -EBUSY;
		o.no_lock = o.read_only = true;
		if (!busy || dray_storage_probe(r->resource, &o, &p->info, &ignored)) {
			who(r, p);
			return;
		}
	}
	if (p->info.size_bytes)
		look_inside(r->resource, &o, target, p);
}

void probe_volume(const char *resource, uint64_t offset, uint64_t length, bool allow_faults, struct probe *p)
{
	struct dray_storage_options o = { .read_only = true, .no_lock = true, .look = true, .allow_faults = allow_faults, .offset = offset,
		.length = length };
	struct dray_loops *loops = dray_loops_find();
	p->looked = true;
	dray_lineage_find(&p->lineage, resource, offset, length, loops);
	dray_loops_free(loops);
	p->rc = dray_storage_probe(resource, &o, &p->info, &p->err);
	other_names(resource, p);
	if (!p->rc && p->info.size_bytes)
		look_inside(resource, &o, false, p);
	/* A use that dray-iod's locks would not tell of: the file behind a mount. */
	struct dray_error why = DRAY_ERROR_INIT;
	struct dray_storage_info ignored;
	o.no_lock = false;
	if (!p->rc && dray_storage_probe(resource, &o, &ignored, &why) == -EBUSY && !strcmp(why.kind, "mounted")) {
		p->rc = -EBUSY;
		p->err = why;
	}
}

const char *probe_primary(const json_t *volumes, const char *name, uint64_t *offset, uint64_t *length)
{
	size_t i, k;
	json_t *v, *leg;
	json_array_foreach (volumes, i, v) {
		const char *own = json_string_value(json_object_get(v, "name"));
		if (!own || strcmp(own, name))
			continue;
		json_array_foreach (json_object_get(v, "legs"), k, leg) {
			const char *state = json_string_value(json_object_get(leg, "state"));
			const json_t *r = json_object_get(leg, "resource");
			const char *resource = json_string_value(json_is_object(r) ? json_object_get(r, "resource") : r);
			if (!state || strcmp(state, "primary") || !resource)
				continue;
			json_int_t from = json_integer_value(json_object_get(r, "offset")), n = json_integer_value(json_object_get(r, "length"));
			*offset = from > 0 ? (uint64_t)from : 0;
			*length = n > 0 ? (uint64_t)n : 0;
			return resource;
		}
	}
	return NULL;
}

/* What the volume's primary holds. It is open in dray-iod, which flushes nothing for us: what was written a moment ago may be
 * missed, and what stands at the front of a disk for years is seen. */
static void look_at_volume(const char *name, const json_t *volumes, bool allow_faults, const struct dray_loops *loops, struct probe *p)
{
	struct dray_storage_options o = { .read_only = true, .allow_faults = allow_faults };
	const char *resource = probe_primary(volumes, name, &o.offset, &o.length);
	if (!resource)
		return;
	p->looked = true;
	dray_lineage_find(&p->lineage, resource, o.offset, o.length, loops);
	look_inside(resource, &o, false, p);
}

/* Of a template: may files be made in its directory? */
static void look_directory(const char *path, struct probe *p)
{
	char copy[PATH_MAX];
	const char *slash = strrchr(path, '/');
	snprintf(copy, sizeof copy, "%.*s", (int)(slash == path ? 1 : slash - path), path);
	int fd = open(copy, O_PATH | O_DIRECTORY | O_CLOEXEC);
	p->directory_rc = fd < 0 || faccessat(fd, ".", W_OK | X_OK, AT_EACCESS) ? -errno : 0;
	if (fd >= 0)
		close(fd);
}

struct probe_set *probe_session(const struct dray_session *s, const json_t *volumes, bool allow_faults)
{
	struct probe_set *set = calloc(1, sizeof *set);
	if (!set || !(set->pairs = calloc(s->n_pairs ? s->n_pairs : 1, sizeof *set->pairs))) {
		free(set);
		return NULL;
	}
	set->n = s->n_pairs;
	struct dray_loops *loops = dray_loops_find();
	for (size_t i = 0; i < s->n_pairs; i++) {
		const struct dray_pair *p = &s->pairs[i];
		set->pairs[i].targets = calloc(p->n_targets ? p->n_targets : 1, sizeof(struct probe));
		if (!set->pairs[i].targets) {
			dray_loops_free(loops);
			probe_free(set);
			return NULL;
		}
		set->pairs[i].n_targets = p->n_targets;
		if (!strncmp(p->source.resource, "volume:", 7))
			look_at_volume(p->source.resource + 7, volumes, allow_faults, loops, &set->pairs[i].source);
		else if (p->source.resource[0])
			look(&p->source, false, false, allow_faults, loops, &set->pairs[i].source);
		for (size_t t = 0; t < p->n_targets; t++)
			if (p->targets[t].template)
				look_directory(p->targets[t].at.resource, &set->pairs[i].targets[t]);
		for (size_t t = 0; t < p->n_targets; t++)
			if (p->targets[t].at.resource[0])
				look(&p->targets[t].at, true, p->create != DRAY_CREATE_NONE, allow_faults, loops,
					&set->pairs[i].targets[t]);
	}
	dray_loops_free(loops);
	return set;
}

void probe_place(const struct probe *p, char *buf, size_t size)
{
	const char *name = p->info.identity, *kind = "", *inode, *colon, *plus;
	if (p->lineage.n_below) {
		name = p->lineage.below[p->lineage.n_below - 1];
	} else if (!name[0] && !strncmp(p->path_key, "name:", 5)) {
		kind = "file:"; /* of its directory, which is in the same file system */
		name = p->path_key + 5;
	}
	size_t n = strlen(name);
	if ((kind[0] || !strncmp(name, "file:", 5)) && (inode = strstr(name, "ino=")))
		n = (size_t)(inode - name);
	else if ((plus = strrchr(name, '+')) && (colon = strrchr(name, ':')) && plus > colon)
		n = (size_t)(plus - name);
	snprintf(buf, size, "%s%.*s", kind, (int)n, name);
}

void probe_empty(struct probe *p)
{
	dray_lineage_free(&p->lineage);
}

void probe_free(struct probe_set *set)
{
	if (!set)
		return;
	for (size_t i = 0; i < set->n; i++) {
		probe_empty(&set->pairs[i].source);
		for (size_t t = 0; t < set->pairs[i].n_targets; t++)
			probe_empty(&set->pairs[i].targets[t]);
		free(set->pairs[i].targets);
		free(set->pairs[i].retire);
	}
	free(set->pairs);
	free(set);
}
