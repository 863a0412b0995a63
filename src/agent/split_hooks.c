/* SPDX-License-Identifier: BSD-3-Clause */
#include "agent/split_hooks.h"

#include "agent/hook_find.h"
#include "agent/hook_run.h"
#include "agent/hooks.h"
#include "base/instant.h"
#include "base/log.h"

#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct split_hooks {
	const char *kind; /* static */
	json_t *programs;
	size_t at;
	struct hook_run *run;
	uint64_t deadline;
	char *text;
	bool split;
	char failed[600];
};

static void passed_over(void *ctx, const char *path, const char *why)
{
	dray_log(DRAY_LOG_DEBUG, "hook-refused", "%s is not run: %s", path, why); /* hooks.c warns of it */
}

static json_t *programs_of(struct agent *a, const char *kind)
{
	json_t *list = hook_list(a->config->hooks_dir ? a->config->hooks_dir : "", passed_over, a), *some = json_incref(json_object_get(list, kind));
	json_decref(list);
	return some;
}

bool split_hooks_any(struct agent *a, bool *before)
{
	json_t *first = programs_of(a, HOOKS_BEFORE), *then = programs_of(a, HOOKS_AFTER);
	*before = json_array_size(first);
	bool any = *before || json_array_size(then);
	json_decref(first);
	json_decref(then);
	return any;
}

static json_t *volumes(const struct job *job)
{
	json_t *list = json_array();
	for (size_t i = 0; i < job->s->n_pairs; i++)
		if (!dray_state_final(job->s->pairs[i].state) && job->s->pairs[i].iod_volume)
			json_array_append_new(list, json_string(job->s->pairs[i].iod_volume));
	return list;
}

void split_hooks_start(struct job *job, const char *kind, bool split)
{
	struct split_hooks *h = calloc(1, sizeof *h);
	char at[40];
	if (!h)
		abort();
	split_hooks_end(job);
	*h = (struct split_hooks){ .kind = kind, .programs = programs_of(job->agent, kind), .deadline = job->agent->now + job->s->hook_timeout_ns,
		.split = split };
	json_t *event = json_pack("{s:s, s:s, s:s, s:s, s:o}", "event", kind, "session", job->s->id, "name", job->s->name, "time",
		dray_instant_format(wall_now(), at, sizeof at), "volumes", volumes(job));
	if (event && !strcmp(kind, HOOKS_AFTER))
		json_object_set_new(event, "split", json_boolean(split));
	char *compact = event ? json_dumps(event, JSON_COMPACT) : NULL;
	if (!compact || asprintf(&h->text, "%s\n", compact) < 0)
		abort();
	free(compact);
	json_decref(event);
	job->split_hooks = h;
	job->agent->split_hooks++;
}

/* Fixed, as that of other hooks. NULL-ended, malloc'ed. */
static char **environment(const struct job *job, const struct split_hooks *h)
{
	char **env = calloc(10, sizeof *env);
	const struct passwd *user = getpwuid(geteuid());
	size_t n = 0;
	if (!env || asprintf(&env[n++], "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin") < 0 ||
		asprintf(&env[n++], "LANG=C.UTF-8") < 0 || asprintf(&env[n++], "HOME=%s", user && user->pw_dir ? user->pw_dir : "/") < 0 ||
		asprintf(&env[n++], "DRAY_SOCKET=%s/agent.sock", job->agent->config->run_dir) < 0 ||
		asprintf(&env[n++], "DRAY_EVENT=%s", h->kind) < 0 || asprintf(&env[n++], "DRAY_SESSION=%s", job->s->id) < 0 ||
		asprintf(&env[n++], "DRAY_NAME=%s", job->s->name) < 0 || asprintf(&env[n++], "DRAY_SPLIT=%d", h->split) < 0)
		abort();
	return env;
}

static void failed(struct split_hooks *h, const char *path, const char *how, const char *said)
{
	if (h->failed[0])
		return;
	snprintf(h->failed, sizeof h->failed, "%s: %s%s%.200s", path, how, *said ? ": " : "", said);
	for (char *p = h->failed; *p; p++)
		if ((unsigned char)*p < ' ' || (unsigned char)*p > 0x7e)
			*p = ' ';
	for (size_t n = strlen(h->failed); n && h->failed[n - 1] == ' '; n--)
		h->failed[n - 1] = 0;
}

static void start_next(struct job *job, struct split_hooks *h)
{
	struct agent *a = job->agent;
	const char *path = json_string_value(json_array_get(h->programs, h->at));
	uint64_t limit = h->deadline > a->now ? h->deadline - a->now : 0;
	char why[1200];
	if (!hook_safe(path, why, sizeof why)) {
		failed(h, path, why, "");
		h->at++;
		return;
	}
	if (!limit) {
		failed(h, path, "not begun: the time of the others was all there was", "");
		h->at = json_array_size(h->programs);
		return;
	}
	char **env = environment(job, h);
	int rc = hook_run_start(&h->run, path, h->text, env, limit, a->now, hooks_fd(a));
	for (char **p = env; *p; p++)
		free(*p);
	free(env);
	if (rc) {
		failed(h, path, strerror(-rc), "");
		h->at++;
	}
}

int split_hooks_step(struct job *job, char *why, size_t size)
{
	struct split_hooks *h = job->split_hooks;
	char how[120];
	for (;;) {
		if (h->run) {
			if (!hook_run_step(h->run, job->agent->now, how, sizeof how)) {
				job_wake_by(job, hook_run_due(h->run));
				return 0;
			}
			if (*how)
				failed(h, json_string_value(json_array_get(h->programs, h->at)), how, hook_run_said(h->run));
			hook_run_free(h->run);
			h->run = NULL;
			h->at++;
		}
		bool stop = h->failed[0] && !strcmp(h->kind, HOOKS_BEFORE);
		if (h->at >= json_array_size(h->programs) || stop) {
			int rc = h->failed[0] ? -1 : 1;
			snprintf(why, size, "%s", h->failed);
			split_hooks_end(job);
			return rc;
		}
		start_next(job, h);
	}
}

bool split_hooks_run(const struct job *job)
{
	return job->split_hooks;
}

void split_hooks_end(struct job *job)
{
	struct split_hooks *h = job->split_hooks;
	if (!h)
		return;
	hook_run_free(h->run);
	json_decref(h->programs);
	free(h->text);
	free(h);
	job->split_hooks = NULL;
	job->agent->split_hooks--;
}
