/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The directory of the hooks: DIR/KIND/PROGRAM.
 *
 * KIND is `any`, an event's word (`switched`), or for a change of state also `pair-STATE` or `session-STATE`. What lies there is run with
 * the rights of the agent, which is root as a rule: so nobody else may be able to put it there or to change it. Checked are the
 * program and every directory above it, after links were followed: owned by root or by the agent's user, not writable by
 * group or others. (A sticky directory such as /tmp may be above the hooks' own: entries of it belong to their owners.) Between
 * this look and the start only root or the agent's user could change anything.
 */
#include "agent/hook_find.h"

#include "session/state.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char *const agent_event_words[] = {
	"agent-started", "answered", "asked", "bad-ranges", "clock-set", "committed", "due", "event", "generation", "generation-failed", "generation-left",
	"generation-missed", "generation-removed", "hook-failed", "host-slept", "iod-connected", "iod-lost",
	"max-duration",
	"read-elsewhere", "refused", "retire-failed", "retired", "retiring", "retry", "session", "session-removed", "set", "setting",
	"settings-refused", "source-degraded", "source-found", "source-lost", "source-read-failed", "source-recovered", "source-retried", "state", "state-older",
	"submitted", "switch-failed", "switched", "target-degraded", "target-failed", "target-found", "target-lost", "target-recovered", "target-retried",
	"undone", "verified", "verify-failed", "volume-accepted", "volume-added", "volume-released",
	"volume-removed", "warning", "window-closed", "window-opened", NULL,
};

/* ---- may it be run ---- */

static bool ours(const struct stat *st)
{
	return st->st_uid == 0 || st->st_uid == geteuid();
}

static bool dir_safe(const char *path, bool hooks_own, char *why, size_t size)
{
	struct stat st;
	if (lstat(path, &st) < 0)
		return snprintf(why, size, "%s: %s", path, strerror(errno)), false;
	if (!ours(&st))
		return snprintf(why, size, "%s belongs to user %u", path, (unsigned)st.st_uid), false;
	if ((st.st_mode & 022) && (hooks_own || !(st.st_mode & S_ISVTX)))
		return snprintf(why, size, "%s can be written by others (mode %04o)", path, (unsigned)(st.st_mode & 07777)), false;
	return true;
}

bool hook_safe(const char *path, char *why, size_t size)
{
	char real[PATH_MAX];
	struct stat st;
	if (!realpath(path, real) || stat(real, &st) < 0)
		return snprintf(why, size, "%s", strerror(errno)), false;
	if (!S_ISREG(st.st_mode))
		return snprintf(why, size, "it is no file"), false;
	if (!ours(&st))
		return snprintf(why, size, "it belongs to user %u, not to root or the agent's user", (unsigned)st.st_uid), false;
	if (st.st_mode & 022)
		return snprintf(why, size, "it can be written by others (mode %04o)", (unsigned)(st.st_mode & 07777)), false;
	if (!(st.st_mode & 0111) || faccessat(AT_FDCWD, real, X_OK, AT_EACCESS) < 0)
		return snprintf(why, size, "it is not executable (mode %04o)", (unsigned)(st.st_mode & 07777)), false;
	bool nearest = true;
	for (char *slash = strrchr(real, '/'); slash; slash = strrchr(real, '/')) {
		slash[slash == real] = 0;
		if (!dir_safe(real, nearest, why, size))
			return false;
		if (slash == real)
			break;
		nearest = false;
	}
	return true;
}

/* ---- what is there ---- */

static bool known_kind(const char *kind)
{
	if (!strcmp(kind, "any") || !strcmp(kind, "before-split") || !strcmp(kind, "after-split"))
		return true;
	for (const char *const *w = agent_event_words; *w; w++)
		if (!strcmp(*w, kind))
			return true;
	if (!strncmp(kind, "pair-", 5))
		return dray_state_from_word(kind + 5) >= 0;
	return !strncmp(kind, "session-", 8) && dray_state_from_word(kind + 8) >= 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The entries of a directory, sorted, without hidden ones and editors' copies. NULL: it can't be read (errno). */
static char **entries(const char *path, size_t *n)
{
	DIR *dir = opendir(path);
	char **names = NULL;
	*n = 0;
	if (!dir)
		return NULL;
	for (struct dirent *e; (e = readdir(dir));) {
		size_t len = strlen(e->d_name);
		if (e->d_name[0] == '.' || e->d_name[len - 1] == '~')
			continue;
		char **more = realloc(names, (*n + 1) * sizeof *names);
		if (!more || !(more[*n] = strdup(e->d_name)))
			abort();
		names = more;
		++*n;
	}
	closedir(dir);
	if (*n)
		qsort(names, *n, sizeof *names, by_name);
	return names ? names : calloc(1, sizeof *names);
}

static void list_kind(json_t *list, const char *dir, const char *kind, void (*told)(void *ctx, const char *path, const char *why),
	void *ctx)
{
	char path[PATH_MAX], real[PATH_MAX], file[PATH_MAX + 300], why[PATH_MAX + 100];
	struct stat st;
	if (snprintf(path, sizeof path, "%s/%s", dir, kind) >= (int)sizeof path)
		return;
	if (stat(path, &st) == 0 && !S_ISDIR(st.st_mode)) {
		told(ctx, path, "it lies beside the directories of the events; programs for all of them belong into `any`");
		return;
	}
	if (!known_kind(kind)) {
		told(ctx, path, "there is no event of that name");
		return;
	}
	if (!realpath(path, real)) {
		told(ctx, path, strerror(errno));
		return;
	}
	if (!dir_safe(real, true, why, sizeof why)) {
		told(ctx, path, why);
		return;
	}
	size_t n;
	char **names = entries(path, &n);
	if (!names) {
		told(ctx, path, strerror(errno));
		return;
	}
	json_t *programs = json_array();
	for (size_t i = 0; i < n; i++) {
		snprintf(file, sizeof file, "%s/%s", path, names[i]);
		if (hook_safe(file, why, sizeof why))
			json_array_append_new(programs, json_string(file)); /* no UTF-8: not a string, and so not appended */
		else
			told(ctx, file, why);
		free(names[i]);
	}
	free(names);
	if (json_array_size(programs))
		json_object_set_new(list, kind, programs);
	else
		json_decref(programs);
}

json_t *hook_list(const char *dir, void (*told)(void *ctx, const char *path, const char *why), void *ctx)
{
	json_t *list = json_object();
	char real[PATH_MAX], why[PATH_MAX + 100];
	size_t n;
	if (!*dir || !realpath(dir, real))
		return list;
	if (!dir_safe(real, true, why, sizeof why)) {
		told(ctx, dir, why);
		return list;
	}
	char **kinds = entries(real, &n);
	if (!kinds) {
		told(ctx, dir, strerror(errno));
		return list;
	}
	for (size_t i = 0; i < n; i++) {
		list_kind(list, real, kinds[i], told, ctx);
		free(kinds[i]);
	}
	free(kinds);
	return list;
}

json_t *hook_match(const json_t *list, const struct dray_repo_event *e)
{
	char state[80] = "";
	if (!strcmp(e->event, "hook-failed")) /* or a failing one would be told of its failure for ever */
		return NULL;
	if (e->after && !strcmp(e->event, "state"))
		snprintf(state, sizeof state, "pair-%.60s", e->after);
	else if (e->after && !strcmp(e->event, "session"))
		snprintf(state, sizeof state, "session-%.60s", e->after);
	const char *kinds[] = { "any", e->event, state };
	json_t *programs = NULL;
	for (size_t i = 0; i < 3; i++) {
		json_t *some = json_object_get(list, kinds[i]);
		if (!some)
			continue;
		if (!programs)
			programs = json_array();
		json_array_extend(programs, some);
	}
	return programs;
}
