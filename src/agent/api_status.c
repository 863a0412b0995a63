/* SPDX-License-Identifier: BSD-3-Clause */
/* Status, metrics, health, and the end of both programs. */
#include "agent/agent.h"

#include "agent/api.h"
#include "agent/reconcile.h"
#include "agent/hooks.h"
#include "agent/settings.h"
#include "agent/supervisor.h"
#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static unsigned clients(const struct agent *a)
{
	unsigned n = 0;
	const char *name;
	json_t *v;
	json_object_foreach (a->volumes, name, v)
		n += (unsigned)json_integer_value(json_object_get(v, "clients"));
	return n;
}

static void count_past(void *arg, const char *state, uint64_t n)
{
	uint64_t *counts = arg;
	int s = dray_state_from_word(state);
	if (s >= 0)
		counts[s] += n;
}

/* Of those that are over the repository knows it, of the others memory. false: the repository can't be read, which is told. */
bool api_count_states(struct agent *a, uint64_t pairs[DRAY_PAIR_STATE_COUNT], uint64_t sessions[DRAY_PAIR_STATE_COUNT])
{
	struct dray_error err;
	uint64_t open[DRAY_PAIR_STATE_COUNT] = { 0 }, all[DRAY_PAIR_STATE_COUNT] = { 0 };
	memset(sessions, 0, DRAY_PAIR_STATE_COUNT * sizeof *sessions);
	int rc = dray_repo_past_by_state(a->repo, count_past, sessions, &err);
	dray_list_for_each (n, &a->jobs) {
		const struct job *job = dray_container(n, struct job, node);
		if (!job_open(job))
			continue;
		sessions[job->s->state]++;
		for (int s = 0; s < DRAY_PAIR_STATE_COUNT; s++)
			open[s] += job->in[s].nset;
	}
	if (!rc && a->past_stale && !(rc = dray_repo_pairs_by_state(a->repo, count_past, all, &err))) {
		for (int s = 0; s < DRAY_PAIR_STATE_COUNT; s++)
			a->past_pairs[s] = all[s] > open[s] ? all[s] - open[s] : 0;
		a->past_stale = false;
	}
	for (int s = 0; s < DRAY_PAIR_STATE_COUNT; s++)
		pairs[s] = a->past_pairs[s] + open[s];
	if (rc)
		dray_log(DRAY_LOG_ERROR, "repository", "%s", err.text);
	return !rc;
}

static json_t *work_of(const struct agent *a)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "wakeups", (json_int_t)a->work.wakeups, "sweeps",
		(json_int_t)a->work.sweeps, "sessions_looked_at", (json_int_t)a->work.sessions, "pairs_looked_at",
		(json_int_t)a->work.pairs, "lists", (json_int_t)a->work.lists, "volumes_changed", (json_int_t)a->work.volumes, "commits",
		(json_int_t)a->work.commits, "heads_written", (json_int_t)a->work.heads, "pairs_written", (json_int_t)a->work.rows,
		"sessions_loaded", (json_int_t)a->work.loads, "summaries_read", (json_int_t)a->work.summaries);
}

void api_status(struct agent *a, struct api_call *call)
{
	uint64_t pairs[DRAY_PAIR_STATE_COUNT], sessions[DRAY_PAIR_STATE_COUNT], live = 0, all = 0;
	char socket[4200];
	if (!api_count_states(a, pairs, sessions)) {
		api_problem(call, 500, 1, "repository", "the repository can't be read");
		return;
	}
	dray_list_for_each (n, &a->jobs)
		live += job_live(dray_container(n, struct job, node));
	for (int s = 0; s < DRAY_PAIR_STATE_COUNT; s++)
		all += sessions[s];
	snprintf(socket, sizeof socket, "%s/agent.sock", a->config->run_dir);
	json_t *agent = json_pack(
		"{s:s, s:i, s:s, s:s, s:s, s:I, s:s, s:s, s:s, s:{s:i, s:i}, s:{s:i, s:i, s:i}}", "version", DRAY_VERSION, "pid",
		(int)getpid(), "incarnation", a->incarnation, "agent_id", a->agent_id, "host_id", a->host_id, "uptime_seconds",
		(json_int_t)(wall_now() - a->started), "state_dir", a->config->state_dir, "run_dir", a->config->run_dir, "socket",
		socket, "sessions", "live", (int)live, "all", (int)all, "pairs", "active",
		(int)(pairs[DRAY_PAIR_STARTING] + pairs[DRAY_PAIR_COPYING]), "queued", (int)pairs[DRAY_PAIR_QUEUED], "limit",
		(int)a->config->active_pairs);
	json_object_set_new(agent, "followers", json_integer((json_int_t)api_followers(a->api)));
	json_object_set_new(agent, "settings", settings_json(a));
	json_object_set_new(agent, "hooks", hooks_json(a));
	json_object_set_new(agent, "work", work_of(a));
	const json_t *hello = iod_hello(a->iod);
	json_t *iod = hello ? json_deep_copy(hello)
			    : json_pack("{s:n, s:n, s:n, s:n, s:n, s:n, s:n}", "version", "pid", "incarnation", "backend", "threads", "tcp",
				      "nbd_socket");
	json_object_set_new(iod, "connected", json_boolean(hello != NULL));
	json_object_set_new(iod, "supervised", json_boolean(!a->config->no_iod));
	json_object_set_new(iod, "starts", json_integer(supervisor_starts(a->supervisor)));
	if (!hello)
		json_object_set_new(iod, "reason",
			json_string(supervisor_trouble(a->supervisor)[0] ? supervisor_trouble(a->supervisor) : "it does not answer"));
	json_object_set_new(iod, "volumes", json_integer((json_int_t)json_object_size(a->volumes)));
	json_object_set_new(iod, "clients", json_integer(clients(a)));
	api_reply(call, 200, json_pack("{s:o, s:o, s:o}", "agent", agent, "iod", iod, "orphans", orphans(a)));
}

void api_health(struct agent *a, struct api_call *call)
{
	struct dray_error err;
	char ignored[64];
	int rc = dray_repo_meta_get(a->repo, "boot_id", ignored, sizeof ignored, &err);
	if (rc)
		api_problem(call, 503, 1, "repository", "%s", err.text);
	else if (!iod_answers(a))
		api_problem(call, 503, 1, "iod_unreachable", "dray-iod does not answer");
	else
		api_reply_text(call, 200, "text/plain", strdup("ok\n"));
}

/* ---- the end of both ---- */

static void shut_down(void *arg, const struct dray_error *err, json_t *result)
{
	struct api_call *call = arg;
	struct agent *a = call->agent;
	/* A connection that ends before the answer came is what an ending dray-iod looks like. */
	if (err && err->code != -ENOTCONN) {
		supervisor_go_on(a->supervisor);
		if (err->code == -ECANCELED)
			api_problem(call, 503, 6, "stopping", "the agent stops");
		else
			api_problem(call, 409, 5, err->kind, "%s", err->text);
		return;
	}
	dray_log(DRAY_LOG_INFO, "stopping", "both programs end, as %s asked", call->actor);
	a->stopping = true;
	api_reply(call, 202, json_pack("{s:b}", "ending", 1));
}

static void shutdown_now(struct agent *a, struct api_call *call)
{
	bool force = json_is_true(json_object_get(call->body, "force"));
	supervisor_stop(a->supervisor); /* not started again while it ends */
	if (!iod_ready(a->iod)) {
		dray_log(DRAY_LOG_INFO, "stopping", "as %s asked; dray-iod is not there", call->actor);
		a->stopping = true;
		api_reply(call, 202, json_pack("{s:b}", "ending", 1));
		return;
	}
	iod_call(a->iod, "shutdown", json_pack("{s:b}", "force", force), shut_down, call);
}

void api_shutdown(struct agent *a, struct api_call *call)
{
	json_t *value;
	const char *key;
	json_object_foreach (call->body, key, value)
		if (strcmp(key, "force")) {
			api_problem(call, 400, 2, "unknown_key", "shutdown does not take %s", key);
			return;
		} else if (!json_is_boolean(value)) {
			char *text = dray_value_text(value);
			dray_problems_add(&call->problems, "/force", 0, "bad_value", text, "true or false", "\"force\" can't be that");
			free(text);
			api_problems(call, &call->problems);
			return;
		}
	/* One that is just being started must not outlive us unseen. */
	if (iod_ready(a->iod) || a->config->no_iod)
		shutdown_now(a, call);
	else
		api_when_listed(a, call, shutdown_now);
}
