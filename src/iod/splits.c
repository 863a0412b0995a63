/* SPDX-License-Identifier: BSD-3-Clause */
#include "iod/splits.h"

#include "base/crash.h"
#include "base/log.h"
#include "iod/mapfile.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FORMAT      1 /* the legs are let go */
#define FORMAT_KEEP 2 /* they stay, set aside */
#define PREFIX "split-"

static void name_of(uint64_t number, const char *end, char name[64])
{
	snprintf(name, 64, PREFIX "%" PRIx64 "%s", number, end);
}

int iod_split_write(struct iod_state *state, uint64_t number, const json_t *members, bool keep, struct dray_error *err)
{
	char name[64], temporary[64];
	name_of(number, ".json", name);
	name_of(number, ".new", temporary);
	json_t *o = json_pack("{s:i, s:O}", "format", keep ? FORMAT_KEEP : FORMAT, "members", members);
	char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
	json_decref(o);
	int rc = text ? dray_fault_point("split-write") : -ENOMEM;
	if (!rc)
		rc = iod_state_file_make(state->dir_fd, temporary, text);
	free(text);
	dray_crash_point("split-before");
	if (!rc)
		rc = iod_state_file_name(state->dir_fd, temporary, name);
	if (!rc) {
		dray_crash_point("split-after");
		return 0;
	}
	/* It may be under its name and not be durable: nothing of it may come back. */
	struct dray_error ignored;
	if (iod_split_remove(state, number, &ignored))
		dray_log(DRAY_LOG_ERROR, "split-record", "%s", ignored.text);
	unlinkat(state->dir_fd, temporary, 0);
	return dray_error_kind(err, rc, "record_failed", "write %s/%s: %s", state->path, name, strerror(-rc));
}

int iod_split_remove(struct iod_state *state, uint64_t number, struct dray_error *err)
{
	char name[64];
	name_of(number, ".json", name);
	if (unlinkat(state->dir_fd, name, 0) < 0 && errno != ENOENT)
		return dray_error_errno(err, -errno, "remove %s/%s", state->path, name);
	return fsync(state->dir_fd) < 0 ? dray_error_errno(err, -errno, "remove %s/%s", state->path, name) : 0;
}

/* ---- after a crash ---- */

static bool listed(const json_t *legs, unsigned id)
{
	size_t i;
	const json_t *leg;
	json_array_foreach((json_t *)legs, i, leg)
		if (json_integer_value(leg) == (json_int_t)id)
			return true;
	return false;
}

static void drop(struct iod_state *state, const char *name, const struct iod_volume_def *def, struct iod_leg_def *const dropped[], unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		dray_log(DRAY_LOG_INFO, "leg-forgotten", "%s leg %u was let go by a split", name, dropped[i]->id);
		for (unsigned k = 0; k < def->n_legs; k++)
			if (iod_legs_linked(dropped[i], def->legs[k]))
				iod_map_remove(state, name, dropped[i]->id, def->legs[k]->id);
	}
}

/* Takes the legs out of the volume's definition, or sets them aside in it. A volume that is not there any more, or is another one, is nobody's
 * business. */
static int carry_out(struct iod_state *state, const json_t *member, bool keep, struct dray_error *err)
{
	const char *name = json_string_value(json_object_get(member, "volume"));
	const char *uuid_text = json_string_value(json_object_get(member, "uuid"));
	const json_t *legs = json_object_get(member, "legs");
	struct iod_volume_def def;
	uint8_t uuid[IOD_UUID_BYTES];
	if (!name || !dray_volume_name_ok(name) || !uuid_text || !iod_uuid_parse(uuid_text, uuid))
		return 0;
	int rc = iod_state_volume_read(state, name, &def, err);
	if (rc == -ENOENT || rc == -EBADMSG)
		return 0; /* it is not served, and says why */
	if (rc)
		return rc;
	struct iod_leg_def *dropped[IOD_LEGS_MAX];
	unsigned n = 0, left = 0;
	bool ours = !memcmp(uuid, def.uuid, sizeof uuid), changed = false;
	for (unsigned i = 0; i < def.n_legs; i++) {
		struct iod_leg_def *leg = def.legs[i];
		bool is = ours && listed(legs, leg->id);
		changed |= is;
		if (is && keep)
			leg->paused = leg->set_aside = true;
		if (is && !keep)
			dropped[n++] = leg;
		else
			def.legs[left++] = leg;
	}
	def.n_legs = left;
	if (changed)
		rc = iod_state_volume_write(state, &def, err);
	if (!rc)
		drop(state, name, &def, dropped, n);
	for (unsigned i = 0; i < n; i++)
		iod_leg_def_free(dropped[i]);
	iod_volume_def_clear(&def);
	return rc;
}

static int redo(struct iod_state *state, const char *name, struct dray_error *err)
{
	int fd = openat(state->dir_fd, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return dray_error_errno(err, -errno, "open %s/%s", state->path, name);
	json_error_t why;
	json_t *o = json_loadfd(fd, JSON_REJECT_DUPLICATES, &why), *member;
	json_t *members = json_object_get(o, "members");
	size_t i;
	int rc = 0;
	close(fd);
	json_int_t format = json_integer_value(json_object_get(o, "format"));
	if (!o || (format != FORMAT && format != FORMAT_KEEP) || !json_is_array(members))
		rc = dray_error_set(err, -EBADMSG, "%s/%s is not the record of a split, of format %d or %d: which legs were let go cannot be known",
			state->path, name, FORMAT, FORMAT_KEEP);
	json_array_foreach(members, i, member)
		if (!rc)
			rc = carry_out(state, member, format == FORMAT_KEEP, err);
	json_decref(o);
	if (!rc && (unlinkat(state->dir_fd, name, 0) < 0 || fsync(state->dir_fd) < 0))
		rc = dray_error_errno(err, -errno, "remove %s/%s", state->path, name);
	return rc;
}

int iod_splits_redo(struct iod_state *state, struct dray_error *err)
{
	int rc = 0, fd = openat(state->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		rc = dray_error_errno(err, -errno, "%s", state->path);
		if (fd >= 0)
			close(fd);
		return rc;
	}
	const struct dirent *e;
	while (!rc && (e = readdir(dir))) {
		size_t n = strlen(e->d_name);
		if (strncmp(e->d_name, PREFIX, strlen(PREFIX)) || n < 5)
			continue;
		if (!strcmp(e->d_name + n - 5, ".json"))
			rc = redo(state, e->d_name, err);
		else if (!strcmp(e->d_name + n - 4, ".new"))
			unlinkat(state->dir_fd, e->d_name, 0); /* never was under its name */
	}
	closedir(dir);
	return rc;
}
