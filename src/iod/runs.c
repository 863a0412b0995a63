/* SPDX-License-Identifier: BSD-3-Clause */
#include "iod/runs.h"

#include "base/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define WORD 33 /* of hexadecimal digits, with its end */

/* The inode and the birth time of STATE/run, as text. */
static int identity(const struct iod_state *state, char text[64])
{
	struct statx st;
	if (statx(state->dir_fd, "run", AT_SYMLINK_NOFOLLOW, STATX_INO | STATX_BTIME, &st) < 0)
		return -errno;
	bool born = st.stx_mask & STATX_BTIME;
	snprintf(text, 64, "%" PRIu64 ".%lld.%u", (uint64_t)st.stx_ino, born ? (long long)st.stx_btime.tv_sec : 0,
		born ? st.stx_btime.tv_nsec : 0);
	return 0;
}

static int read_words(int dir, const char *name, char first[WORD], char second[64])
{
	first[0] = second[0] = 0;
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	FILE *f = fd < 0 ? NULL : fdopen(fd, "r");
	if (!f) {
		if (fd >= 0)
			close(fd);
		return -ENOENT;
	}
	int n = fscanf(f, "%32s %63s", first, second);
	fclose(f);
	return n >= 1 ? 0 : -EBADMSG;
}

static int write_words(int dir, const char *name, const char *first, const char *second)
{
	char fresh[40], text[128];
	snprintf(fresh, sizeof fresh, "%s.new", name);
	snprintf(text, sizeof text, "%s %s\n", first, second);
	unlinkat(dir, fresh, 0); /* or it would keep the inode that it had */
	int rc = iod_state_file_make(dir, fresh, text);
	return rc ? rc : iod_state_file_name(dir, fresh, name);
}

/* ---- the maps of an older copy ---- */

struct removing {
	struct iod_state *state;
	struct dray_error *err;
	int rc;
	unsigned n;
};

static void remove_maps(void *arg, const char *volume)
{
	struct removing *r = arg;
	int fd = openat(r->state->volumes_fd, volume, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *e;
	unsigned n = 0;
	if (!dir) {
		r->rc = dray_error_errno(r->err, -errno, "volume %s: its maps are of an older copy, and its folder can't be read", volume);
		if (fd >= 0)
			close(fd);
		return;
	}
	while (!r->rc && (e = readdir(dir))) {
		if (strncmp(e->d_name, "map-", 4) != 0)
			continue;
		if (unlinkat(fd, e->d_name, 0) < 0)
			r->rc = dray_error_errno(r->err, -errno, "volume %s: %s is of an older copy, and can't be removed", volume, e->d_name);
		n++;
	}
	if (!r->rc && n && fsync(fd) < 0)
		r->rc = dray_error_errno(r->err, -errno, "volume %s: sync its folder", volume);
	r->n += n;
	closedir(dir);
}

int iod_runs_check(struct iod_state *state, const char *run_dir, struct dray_error *err)
{
	char word[WORD], before[64], seen[WORD], seen_identity[64], now[64];
	int dir = open(run_dir, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	int rc = dir < 0 ? -errno : read_words(dir, "iod-run", seen, seen_identity);
	if (dir >= 0)
		close(dir);
	if (rc)
		return 0; /* nobody ran here since the host booted */
	if (!read_words(state->dir_fd, "run", word, before)) {
		if (!strcmp(word, seen) && !identity(state, now) && !strcmp(now, seen_identity))
			return 0;
		if (!strcmp(before, seen)) /* the last start came as far as the first of the two files */
			return 0;
	}
	struct removing r = { .state = state, .err = err };
	rc = iod_state_list(state, remove_maps, &r, err);
	rc = rc ? rc : r.rc;
	if (!rc && r.n)
		dray_log(DRAY_LOG_WARN, "state-older",
			"%s is not the state directory that was used last: an older copy of it, or moved. Its maps are not believed: %u removed, all legs "
			"but the primaries are copied from the beginning",
			state->path, r.n);
	return rc;
}

void iod_runs_note(struct iod_state *state, const char *run_dir, const char *word)
{
	char last[WORD], before[64], now[64] = "";
	if (read_words(state->dir_fd, "run", last, before))
		snprintf(last, sizeof last, "-");
	int rc = write_words(state->dir_fd, "run", word, last);
	rc = rc ? rc : identity(state, now);
	int dir = rc ? -1 : open(run_dir, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	if (!rc)
		rc = dir < 0 ? -errno : write_words(dir, "iod-run", word, now);
	if (dir >= 0)
		close(dir);
	if (rc)
		dray_log(DRAY_LOG_ERROR, "run-not-noted", "%s/run and %s/iod-run: %s", state->path, run_dir, strerror(-rc));
}
