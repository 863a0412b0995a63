/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The state directory
 * ===================
 *     lock                     flock(2) held exclusively by the dray-iod that uses the directory; its text is that
 *                              process's id and run directory, for the one that is refused
 *     epochs.0 epochs.1        which leg is primary: epochs.c
 *     volumes/NAME/volume.json the definition: this file
 *     volumes/NAME/map-A-B     the region map of legs A and B: mapfile.c
 *     volumes/NAME/bad         the list of bad ranges: mapfile.c
 *
 * volume.json is written whole to volume.json.new, synced, renamed over the old one and the folder synced: at every
 * instant either the old text or the new one is there. It is never the authority on which leg is primary, so that a switch
 * of several volumes has one commit point (the epoch record) and not one file a volume.
 *
 * Order of a volume's birth and end, so that no crash leaves half of one
 *   add:    folder and volume.json durable, then the epoch record names its uuid: from then on it exists
 *   remove: the epoch record without the uuid: from then on it does not exist; then the folder goes
 *   start:  a folder whose uuid no record names is the rest of one of the two, never acknowledged as there: it is removed. Only
 *           if a valid record was read: were both slots unreadable, nothing is removed and nothing served.
 *
 * Order of a leg's birth and end
 *   attach: map file durable (all dirty), then volume.json names the leg; the sync of the folder makes the names of both durable; then the
 *           engine gets it. Crash in between: a map file no leg refers to, overwritten or removed later; or a leg with everything
 *           dirty, with or without a map that says so.
 *   forget: volume.json without the leg, then the engine lets go, then the map file is removed. The other order
 *           would bring back, after a crash, a leg whose map missed writes.
 */
#include "iod/state.h"

#include "base/crash.h"

#include <errno.h>
#include <fcntl.h>
#include <dirent.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define FORMAT 1
#define JSON_MOST (4 << 20)

static int make_dir(const char *path, struct dray_error *err)
{
	char part[PATH_MAX];
	int n = snprintf(part, sizeof part, "%s", path);
	if (n >= (int)sizeof part)
		return dray_error_set(err, -ENAMETOOLONG, "state directory %s: name too long", path);
	for (char *p = part + 1;; p++) {
		if (*p != '/' && *p != '\0')
			continue;
		char c = *p;
		*p = '\0';
		if (mkdir(part, 0700) < 0 && errno != EEXIST)
			return dray_error_errno(err, -errno, "make directory %s", part);
		*p = c;
		if (!c)
			return 0;
	}
}

static int take_lock(struct iod_state *state, struct dray_error *err)
{
	state->lock_fd = openat(state->dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (state->lock_fd < 0)
		return dray_error_errno(err, -errno, "open %s/lock", state->path);
	if (flock(state->lock_fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK)
			return dray_error_errno(err, -errno, "lock %s/lock", state->path);
		char who[256] = "";
		ssize_t n = pread(state->lock_fd, who, sizeof who - 1, 0);
		who[n > 0 ? n : 0] = '\0';
		who[strcspn(who, "\n")] = '\0';
		return dray_error_kind(err, -EBUSY, "held", "state directory %s: in use by dray-iod %s", state->path,
			who[0] ? who : "(it does not say which)");
	}
	char who[64];
	int n = snprintf(who, sizeof who, "pid=%ld\n", (long)getpid());
	if (ftruncate(state->lock_fd, 0) < 0 || pwrite(state->lock_fd, who, (size_t)n, 0) != n)
		return dray_error_errno(err, -errno, "write %s/lock", state->path);
	return 0;
}

static void read_boot_id(const char *path, char out[40])
{
	FILE *f = fopen(path, "re");
	if (!f || !fgets(out, 40, f))
		snprintf(out, 40, "unknown"); /* counts as one long boot: then only identities protect (H2) */
	out[strcspn(out, "\n")] = '\0';
	if (f)
		fclose(f);
}

int iod_state_open(struct iod_state *state, const char *path, const char *boot_id_path, struct dray_error *err)
{
	memset(state, 0, sizeof *state);
	state->dir_fd = state->volumes_fd = state->lock_fd = -1;
	int rc = make_dir(path, err);
	if (rc < 0)
		return rc;
	state->path = realpath(path, NULL);
	if (!state->path)
		return dray_error_errno(err, -errno, "state directory %s", path);
	state->dir_fd = open(state->path, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	if (state->dir_fd < 0) {
		rc = dray_error_errno(err, -errno, "open %s", state->path);
		goto fail;
	}
	rc = take_lock(state, err);
	if (rc < 0)
		goto fail;
	if (mkdirat(state->dir_fd, "volumes", 0700) < 0 && errno != EEXIST) {
		rc = dray_error_errno(err, -errno, "make %s/volumes", state->path);
		goto fail;
	}
	state->volumes_fd = openat(state->dir_fd, "volumes", O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	if (state->volumes_fd < 0 || fsync(state->dir_fd) < 0) {
		rc = dray_error_errno(err, -errno, "open %s/volumes", state->path);
		goto fail;
	}
	read_boot_id(boot_id_path, state->boot_id);
	return 0;
fail:
	iod_state_close(state);
	return rc;
}

void iod_state_close(struct iod_state *state)
{
	if (state->volumes_fd >= 0)
		close(state->volumes_fd);
	if (state->dir_fd >= 0)
		close(state->dir_fd);
	if (state->lock_fd >= 0)
		close(state->lock_fd); /* last: it lets go of the directory */
	free(state->path);
	state->path = NULL;
	state->dir_fd = state->volumes_fd = state->lock_fd = -1;
}

int iod_state_list(struct iod_state *state, void (*each)(void *arg, const char *name), void *arg,
	struct dray_error *err)
{
	int fd = openat(state->volumes_fd, ".", O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		int rc = dray_error_errno(err, -errno, "read %s/volumes", state->path);
		if (fd >= 0)
			close(fd);
		return rc;
	}
	for (struct dirent *e; (e = readdir(dir));)
		if (dray_volume_name_ok(e->d_name))
			each(arg, e->d_name);
	closedir(dir);
	return 0;
}

int iod_state_volume_create(struct iod_state *state, const char *name, struct dray_error *err)
{
	if (mkdirat(state->volumes_fd, name, 0700) < 0) {
		if (errno == EEXIST)
			return dray_error_kind(err, -EEXIST, "exists", "volume %s: its folder %s/volumes/%s exists", name,
				state->path, name);
		return dray_error_errno(err, -errno, "volume %s: make %s/volumes/%s", name, state->path, name);
	}
	if (fsync(state->volumes_fd) < 0) {
		int rc = dray_error_errno(err, -errno, "volume %s: sync %s/volumes", name, state->path);
		unlinkat(state->volumes_fd, name, AT_REMOVEDIR);
		return rc;
	}
	return 0;
}

static int open_folder(struct iod_state *state, const char *name, struct dray_error *err)
{
	int fd = openat(state->volumes_fd, name, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return dray_error_errno(err, -errno, "volume %s: open %s/volumes/%s", name, state->path, name);
	return fd;
}

int iod_state_volume_remove(struct iod_state *state, const char *name, struct dray_error *err)
{
	int fd = open_folder(state, name, err);
	if (fd < 0)
		return fd;
	DIR *dir = fdopendir(fd);
	if (!dir) {
		int rc = dray_error_errno(err, -errno, "volume %s: read its folder", name);
		close(fd);
		return rc;
	}
	for (struct dirent *e; (e = readdir(dir));)
		if (strcmp(e->d_name, "volume.json") == 0 || strcmp(e->d_name, "volume.json.new") == 0 ||
			strcmp(e->d_name, "bad") == 0 || strcmp(e->d_name, "bad.new") == 0 || strncmp(e->d_name, "map-", 4) == 0)
			unlinkat(dirfd(dir), e->d_name, 0);
	closedir(dir);
	/* Not synced: it is there without a record, which means nothing, or it is not there. */
	if (unlinkat(state->volumes_fd, name, AT_REMOVEDIR) < 0)
		return dray_error_errno(err, -errno, "volume %s: remove %s/volumes/%s", name, state->path, name);
	return 0;
}

/* ---- volume.json ---- */

static json_t *leg_to_json(const struct iod_leg_def *leg)
{
	return json_pack("{s:i s:i s:s s:I s:I s:s s:s s:b s:s s:s s:b s:b s:b s:I s:b s:b s:b s:b}", "id",
		(int)leg->id, "peer", (int)leg->peer, "resource", leg->resource, "offset", (json_int_t)leg->offset, "length",
		(json_int_t)leg->length, "tag", leg->tag, "identity", leg->identity, "stable", leg->stable, "boot_id",
		leg->boot_id, "role", iod_role_name(leg->role), "durable", leg->durable, "paused", leg->paused, "set_aside",
		leg->set_aside, "size_bytes", (json_int_t)leg->size_bytes, "late_writes", leg->late_writes, "extents",
		leg->extents, "thin", leg->thin, "has_zero", leg->has_zero);
}

static json_t *def_to_json(const struct iod_volume_def *def)
{
	char uuid[37];
	iod_uuid_format(def->uuid, uuid);
	json_t *legs = json_array();
	for (unsigned i = 0; i < def->n_legs; i++)
		json_array_append_new(legs, leg_to_json(def->legs[i]));
	json_t *limits = json_pack("{s:I s:I s:I s:I s:b s:I s:i s:I s:I}", "step_bytes", (json_int_t)def->limits.step_bytes,
		"steps", (json_int_t)def->limits.steps, "in_flight_bytes", (json_int_t)def->limits.in_flight_bytes, "rate",
		(json_int_t)(def->limits.rate == DRAY_RATE_STOP ? 0 : def->limits.rate), "rate_stop",
		def->limits.rate == DRAY_RATE_STOP, "app_latency_ns", (json_int_t)def->limits.app_latency_ns, "prio", (int)def->limits.prio,
		"leg_timeout_ns", (json_int_t)def->limits.leg_timeout_ns, "give_up_ns", (json_int_t)def->limits.give_up_ns);
	return json_pack("{s:i s:s s:s s:I s:I s:I s:b s:b s:I s:o s:o}", "format", FORMAT, "name", def->name, "uuid",
		uuid, "size_bytes", (json_int_t)def->size_bytes, "block_bytes", (json_int_t)def->block_bytes,
		"region_bytes", (json_int_t)def->region_bytes, "hidden", def->hidden, "read_only", def->read_only,
		"next_leg_id", (json_int_t)def->next_leg_id, "limits", limits, "legs", legs);
}

static int write_all(int fd, const char *data, size_t n)
{
	while (n) {
		ssize_t w = write(fd, data, n);
		if (w < 0 && errno == EINTR)
			continue;
		if (w <= 0)
			return w < 0 ? -errno : -EIO;
		data += w;
		n -= (size_t)w;
	}
	return 0;
}

int iod_state_file_make(int dir, const char *name, const char *text)
{
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	int rc = write_all(fd, text, strlen(text));
	if (!rc && fsync(fd) < 0)
		rc = -errno;
	close(fd);
	return rc;
}

int iod_state_file_name(int dir, const char *made, const char *name)
{
	return renameat(dir, made, dir, name) < 0 || fsync(dir) < 0 ? -errno : 0;
}

int iod_state_volume_write(struct iod_state *state, const struct iod_volume_def *def, struct dray_error *err)
{
	json_t *json = def_to_json(def);
	char *text = json ? json_dumps(json, JSON_INDENT(2) | JSON_PRESERVE_ORDER) : NULL;
	json_decref(json);
	if (!text)
		return dray_error_set(err, -ENOMEM, "volume %s: no memory for volume.json", def->name);
	int dir = open_folder(state, def->name, err);
	if (dir < 0) {
		free(text);
		return dir;
	}
	int rc = dray_fault_point("volume-json-write");
	if (!rc)
		rc = iod_state_file_make(dir, "volume.json.new", text);
	dray_crash_point("volume-json-before");
	if (!rc)
		rc = iod_state_file_name(dir, "volume.json.new", "volume.json");
	if (rc)
		dray_error_errno(err, rc, "volume %s: write %s/volumes/%s/volume.json", def->name, state->path, def->name);
	else
		dray_crash_point("volume-json-after");
	close(dir);
	free(text);
	return rc;
}

/* A non-negative integer member, or 0 with *bad set. */
static uint64_t get_u64(json_t *o, const char *key, bool *bad)
{
	json_t *v = json_object_get(o, key);
	if (!json_is_integer(v) || json_integer_value(v) < 0) {
		*bad = true;
		return 0;
	}
	return (uint64_t)json_integer_value(v);
}

static bool get_bool(json_t *o, const char *key, bool *bad)
{
	json_t *v = json_object_get(o, key);
	if (!json_is_boolean(v))
		*bad = true;
	return json_is_true(v);
}

static const char *get_text(json_t *o, const char *key, bool *bad)
{
	const char *s = json_string_value(json_object_get(o, key));
	if (!s)
		*bad = true;
	return s ? s : "";
}

static struct iod_leg_def *leg_from_json(json_t *o)
{
	bool bad = false;
	struct iod_leg_def *leg = iod_leg_def_new(get_text(o, "resource", &bad), get_text(o, "tag", &bad));
	if (!leg)
		return NULL;
	uint64_t id = get_u64(o, "id", &bad), peer = get_u64(o, "peer", &bad);
	int role = iod_role_parse(get_text(o, "role", &bad));
	leg->offset = get_u64(o, "offset", &bad);
	leg->length = get_u64(o, "length", &bad);
	leg->size_bytes = get_u64(o, "size_bytes", &bad);
	snprintf(leg->identity, sizeof leg->identity, "%s", get_text(o, "identity", &bad));
	snprintf(leg->boot_id, sizeof leg->boot_id, "%s", get_text(o, "boot_id", &bad));
	leg->stable = get_bool(o, "stable", &bad);
	leg->durable = get_bool(o, "durable", &bad);
	leg->paused = get_bool(o, "paused", &bad);
	leg->set_aside = get_bool(o, "set_aside", &bad);
	leg->late_writes = get_bool(o, "late_writes", &bad);
	leg->extents = get_bool(o, "extents", &bad);
	leg->thin = get_bool(o, "thin", &bad);
	leg->has_zero = get_bool(o, "has_zero", &bad);
	if (bad || role < 0 || id < 1 || id > UINT_MAX || peer > UINT_MAX) {
		iod_leg_def_free(leg);
		return NULL;
	}
	leg->id = (unsigned)id;
	leg->peer = (unsigned)peer;
	leg->role = (enum iod_role)role;
	return leg;
}

static bool def_from_json(json_t *o, struct iod_volume_def *def)
{
	bool bad = false;
	json_t *limits = json_object_get(o, "limits"), *legs = json_object_get(o, "legs");

	if (get_u64(o, "format", &bad) != FORMAT || bad)
		return false;
	const char *name = get_text(o, "name", &bad);
	bad |= !dray_volume_name_ok(name) || !iod_uuid_parse(get_text(o, "uuid", &bad), def->uuid);
	snprintf(def->name, sizeof def->name, "%s", name);
	def->size_bytes = get_u64(o, "size_bytes", &bad);
	def->region_bytes = get_u64(o, "region_bytes", &bad);
	uint64_t block = get_u64(o, "block_bytes", &bad), next = get_u64(o, "next_leg_id", &bad);
	def->hidden = get_bool(o, "hidden", &bad);
	def->read_only = get_bool(o, "read_only", &bad);
	def->limits.step_bytes = get_u64(limits, "step_bytes", &bad);
	def->limits.steps = (unsigned)get_u64(limits, "steps", &bad);
	def->limits.in_flight_bytes = get_u64(limits, "in_flight_bytes", &bad);
	def->limits.rate = get_u64(limits, "rate", &bad);
	if (get_bool(limits, "rate_stop", &bad))
		def->limits.rate = DRAY_RATE_STOP;
	if (json_object_get(limits, "app_latency_ns")) /* older files are without it */
		def->limits.app_latency_ns = get_u64(limits, "app_latency_ns", &bad);
	if (json_object_get(limits, "prio"))
		def->limits.prio = (unsigned)get_u64(limits, "prio", &bad);
	bad |= def->limits.prio > 8;
	def->limits.leg_timeout_ns = get_u64(limits, "leg_timeout_ns", &bad);
	def->limits.give_up_ns = get_u64(limits, "give_up_ns", &bad);
	if (bad || block < 1 || block > UINT_MAX || next < 2 || next > UINT_MAX || !def->size_bytes ||
		!json_is_array(legs) || json_array_size(legs) > IOD_LEGS_MAX)
		return false;
	def->block_bytes = (uint32_t)block;
	def->next_leg_id = (unsigned)next;
	for (size_t i = 0; i < json_array_size(legs); i++) {
		struct iod_leg_def *leg = leg_from_json(json_array_get(legs, i));
		if (!leg)
			return false;
		def->legs[def->n_legs++] = leg;
		for (unsigned k = 0; k + 1 < def->n_legs; k++)
			bad |= def->legs[k]->id == leg->id;
		bad |= leg->id >= def->next_leg_id;
	}
	return !bad && def->n_legs > 0;
}

int iod_state_volume_read(struct iod_state *state, const char *name, struct iod_volume_def *def,
	struct dray_error *err)
{
	memset(def, 0, sizeof *def);
	int dir = open_folder(state, name, err);
	if (dir < 0)
		return dir;
	int fd = openat(dir, "volume.json", O_RDONLY | O_CLOEXEC);
	int rc = fd < 0 ? -errno : 0;
	close(dir);
	if (rc)
		return dray_error_errno(err, rc, "volume %s: open %s/volumes/%s/volume.json", name, state->path, name);

	struct stat st;
	json_error_t why = { .text = "too large" };
	json_t *json = NULL;
	if (fstat(fd, &st) == 0 && st.st_size <= JSON_MOST)
		json = json_loadfd(fd, JSON_REJECT_DUPLICATES, &why);
	close(fd);
	if (!json)
		return dray_error_set(err, -EBADMSG, "volume %s: volume.json: %s", name, why.text);
	bool ok = def_from_json(json, def) && strcmp(def->name, name) == 0;
	json_decref(json);
	if (!ok) {
		iod_volume_def_clear(def);
		return dray_error_set(err, -EBADMSG, "volume %s: volume.json is not a definition of format %d", name, FORMAT);
	}
	return 0;
}
