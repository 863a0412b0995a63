/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From recorded events to programs that are told of them.
 *
 * Events are read from the repository after they were committed, never from the code that records them: a hook is told of
 * nothing that is not so, and nothing waits for a hook. Those that have a program are put into the lane of their session; the
 * first of each lane is delivered, program after program, again with growing pauses where one fails, and then given up
 * with an event (`hook-failed`, of which no hook is told). So within a session the order is that of the events, and sessions do not wait
 * for each other; at most hooks_at_once programs run at one moment, the lane that waited longest next.
 *
 * What survives a crash: `hooks_delivered` in the repository, the number below which everything was delivered. It is written a
 * moment later (RECORD_EVERY), so that a kill of the agent repeats a few; it never skips one. It is also below what waits in other
 * lanes: after a kill what was delivered past it comes again. At least once, then, and that is what drayd(8) promises.
 */
#include "agent/hooks.h"

#include "agent/api.h"
#include "agent/hook_find.h"
#include "agent/hook_run.h"
#include "agent/metrics.h"
#include "base/log.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define META         "hooks_delivered"
#define BATCH        500                /* events read at a time */
#define MOST_WAITING 10000              /* events in memory */
#define RECORD_EVERY (SECOND / 5)       /* after a program ran */
#define RECORD_IDLE  (10 * SECOND)      /* where there was nothing to run */
#define LONGEST_PAUSE (60 * SECOND)

struct waiting {
	struct dray_list node, in_lane; /* all, by seq; those of its session */
	uint64_t seq;
	char *event, *session;
	unsigned pair;
	json_t *json;     /* what the program reads */
	json_t *programs; /* paths */
	size_t at;        /* the next of them */
	unsigned attempt; /* of it; 1 is the first */
};

struct lane {
	struct dray_list node;
	char *session;             /* "": events of no session */
	struct dray_list events;
	struct hook_run *run;
	uint64_t retry_at;
	char *failure;             /* given up, to be recorded */
};

struct hooks {
	struct dray_list all, lanes;
	int epoll;
	uint64_t read_upto;        /* events up to here are in memory or need nothing */
	uint64_t recorded;         /* as in the repository */
	size_t waiting;
	unsigned running;
	uint64_t runs, failures;
	bool news, ran;
	uint64_t record_at, due;
	json_t *told;              /* path -> why it is passed over, as it was told */
};

static int record(struct agent *a, uint64_t upto, struct dray_repo_event *event, struct dray_error *err)
{
	char text[32];
	snprintf(text, sizeof text, "%llu", (unsigned long long)upto);
	int rc = dray_repo_begin(a->repo, err);
	if (rc)
		return rc;
	rc = dray_repo_meta_set(a->repo, META, text, err);
	if (!rc && event)
		rc = dray_repo_event_add(a->repo, event, err);
	if (rc) {
		dray_repo_rollback(a->repo);
		return rc;
	}
	rc = dray_repo_commit(a->repo, err);
	if (!rc)
		a->hooks->recorded = upto;
	return rc;
}

int hooks_open(struct agent *a, struct dray_error *err)
{
	struct hooks *h = calloc(1, sizeof *h);
	char text[32];
	if (!h)
		return dray_error_errno(err, -ENOMEM, "hooks");
	a->hooks = h;
	dray_list_init(&h->all);
	dray_list_init(&h->lanes);
	h->told = json_object();
	h->news = true;
	h->due = NEVER;
	h->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (h->epoll < 0)
		return dray_error_errno(err, -errno, "hooks");
	int rc = dray_repo_meta_get(a->repo, META, text, sizeof text, err);
	if (rc == -ENOENT) {
		/* The first start: what happened before hooks were thought of is told to nobody. From where on is put down at once: an agent that
		 * was killed before its first record would begin anew behind what happened meanwhile. */
		rc = dray_repo_events_last(a->repo, &h->read_upto, err);
		if (!rc)
			rc = record(a, h->read_upto, NULL, err);
	} else if (!rc) {
		h->read_upto = h->recorded = strtoull(text, NULL, 10);
	}
	return rc;
}

int hooks_fd(const struct agent *a)
{
	return a->hooks ? a->hooks->epoll : -1;
}

uint64_t hooks_due(const struct agent *a)
{
	const struct hooks *h = a->hooks;
	if (!h)
		return NEVER;
	/* Where there is no room for what is new, one that ends makes it, and that is a turn. */
	return h->news && h->waiting < MOST_WAITING ? 0 : h->due;
}

void hooks_news(struct agent *a)
{
	if (a->hooks)
		a->hooks->news = true;
}

void hooks_changed(struct agent *a)
{
	if (a->hooks)
		json_object_clear(a->hooks->told);
	hooks_news(a);
}

static void by(struct hooks *h, uint64_t when)
{
	if (when < h->due)
		h->due = when;
}

/* ---- reading ---- */

static void free_waiting(struct hooks *h, struct waiting *w)
{
	dray_list_del(&w->node);
	dray_list_del(&w->in_lane);
	free(w->event);
	free(w->session);
	json_decref(w->json);
	json_decref(w->programs);
	free(w);
	h->waiting--;
}

static struct lane *lane_of(struct hooks *h, const char *session)
{
	dray_list_for_each (n, &h->lanes) {
		struct lane *lane = dray_container(n, struct lane, node);
		if (!strcmp(lane->session, session))
			return lane;
	}
	struct lane *lane = calloc(1, sizeof *lane);
	if (!lane || !(lane->session = strdup(session)))
		abort();
	dray_list_init(&lane->events);
	dray_list_add_tail(&h->lanes, &lane->node);
	return lane;
}

static void passed_over(void *ctx, const char *path, const char *why)
{
	struct hooks *h = ctx;
	const char *before = json_string_value(json_object_get(h->told, path));
	if (before && !strcmp(before, why))
		return;
	json_object_set_new(h->told, path, json_string(why));
	const char *keys[] = { "path", path, NULL };
	dray_log_fields(DRAY_LOG_WARN, "hook-refused", keys, "%s is not run: %s", path, why);
}

struct reading {
	struct agent *a;
	json_t *list;
	unsigned n;
};

static int take(void *arg, const struct dray_repo_event *e)
{
	struct reading *r = arg;
	struct hooks *h = r->a->hooks;
	json_t *programs = hook_match(r->list, e);
	r->n++;
	h->read_upto = e->seq;
	if (!programs)
		return 0;
	struct waiting *w = calloc(1, sizeof *w);
	if (!w)
		abort();
	*w = (struct waiting){ .seq = e->seq, .event = strdup(e->event), .session = e->session ? strdup(e->session) : NULL, .pair = e->pair,
		.json = api_event_json(e), .programs = programs, .attempt = 1 };
	dray_list_init(&w->node);
	dray_list_init(&w->in_lane);
	dray_list_add_tail(&h->all, &w->node);
	dray_list_add_tail(&lane_of(h, e->session ? e->session : "")->events, &w->in_lane);
	h->waiting++;
	return 0;
}

static void read_events(struct agent *a)
{
	struct hooks *h = a->hooks;
	struct dray_error err;
	if (!h->news || h->waiting >= MOST_WAITING)
		return;
	struct reading r = { a, hook_list(a->config->hooks_dir ? a->config->hooks_dir : "", passed_over, h), 0 };
	uint64_t before = h->read_upto;
	if (dray_repo_events(a->repo, NULL, h->read_upto, BATCH, take, &r, &err)) {
		dray_log(DRAY_LOG_ERROR, "hooks", "%s", err.text);
		by(h, a->now + SECOND);
	} else {
		h->news = r.n == BATCH;
	}
	json_decref(r.list);
	if (h->read_upto != before && !h->record_at)
		h->record_at = a->now + RECORD_IDLE;
}

/* ---- recording ---- */

/* All events up to this one need nothing any more. */
static uint64_t delivered(const struct hooks *h)
{
	return dray_list_empty(&h->all) ? h->read_upto : dray_container(h->all.next, struct waiting, node)->seq - 1;
}

static void record_delivered(struct agent *a)
{
	struct hooks *h = a->hooks;
	struct dray_error err;
	if (h->recorded == delivered(h)) {
		h->record_at = 0;
		return;
	}
	if (!h->record_at || a->now < h->record_at)
		return;
	h->record_at = 0;
	if (record(a, delivered(h), NULL, &err)) {
		dray_log(DRAY_LOG_ERROR, "record-failed", "delivered hooks: %s", err.text);
		h->record_at = a->now + SECOND;
	}
}

static void record_soon(struct agent *a)
{
	struct hooks *h = a->hooks;
	if (!h->record_at || h->record_at > a->now + RECORD_EVERY)
		h->record_at = a->now + RECORD_EVERY;
}

/* ---- running ---- */

/* On to the next program of the first event, or the next event. */
static void next(struct agent *a, struct lane *lane)
{
	struct waiting *w = dray_container(lane->events.next, struct waiting, in_lane);
	w->attempt = 1;
	lane->retry_at = 0;
	if (++w->at < json_array_size(w->programs))
		return;
	free_waiting(a->hooks, w);
	record_soon(a);
}

/* A program was given up: recorded before anything else of its lane goes on. */
static void record_failure(struct agent *a, struct lane *lane)
{
	struct waiting *w = dray_container(lane->events.next, struct waiting, in_lane);
	struct dray_error err;
	struct dray_repo_event e = { .time_ms = wall_ms(), .session = w->session, .pair = w->pair, .event = "hook-failed",
		.actor = ACTOR_SELF, .detail = lane->failure };
	if (record(a, delivered(a->hooks), &e, &err)) {
		dray_log(DRAY_LOG_ERROR, "record-failed", "event hook-failed: %s", err.text);
		lane->retry_at = a->now + SECOND;
		return;
	}
	set_text(&lane->failure, NULL);
	a->hooks->failures++;
	metrics_event(a, e.event);
	agent_events_changed(a);
	next(a, lane);
}

/* One line of what it said, as text that can be shown. */
static char *one_line(const char *said)
{
	char *text = strdup(said);
	if (!text)
		abort();
	for (char *p = text; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = ' ';
	for (size_t n = strlen(text); n && text[n - 1] == ' '; n--)
		text[n - 1] = 0;
	json_t *good = json_string(text);
	for (char *p = text; !good && *p; p++) /* not UTF-8, or cut in the middle of a character */
		if ((unsigned char)*p > 0x7e)
			*p = '?';
	json_decref(good);
	return text;
}

static void failed(struct agent *a, struct lane *lane, const char *how, const char *said)
{
	struct waiting *w = dray_container(lane->events.next, struct waiting, in_lane);
	const char *path = json_string_value(json_array_get(w->programs, w->at));
	char *words = one_line(said), seq[24], attempt[16];
	snprintf(seq, sizeof seq, "%llu", (unsigned long long)w->seq);
	snprintf(attempt, sizeof attempt, "%u", w->attempt);
	const char *keys[] = { "path", path, "seq", seq, "of", w->event, "session", w->session, "attempt", attempt, "said",
		*words ? words : NULL, NULL };
	dray_log_fields(DRAY_LOG_WARN, "hook-run-failed", keys, "%s: %s", path, how);
	if (w->attempt > a->config->hook_retries) {
		set_text(&lane->failure, "%s: %s, after %u %s; of event %llu (%s)%s%s", path, how, w->attempt,
			w->attempt == 1 ? "attempt" : "attempts", (unsigned long long)w->seq, w->event, *words ? ": " : "", words);
		record_failure(a, lane);
	} else {
		uint64_t pause = SECOND << (w->attempt < 7 ? w->attempt - 1 : 6);
		lane->retry_at = a->now + (pause < LONGEST_PAUSE ? pause : LONGEST_PAUSE);
		w->attempt++;
	}
	free(words);
}

static void add_env(char **env, size_t *n, const char *key, const json_t *value)
{
	const char *text = json_string_value(value);
	char number[32] = "";
	if (json_is_integer(value))
		snprintf(number, sizeof number, "%lld", (long long)json_integer_value(value));
	if (asprintf(&env[(*n)++], "DRAY_%s=%s", key, text ? text : number) < 0)
		abort();
}

/* Fixed, and the event: nothing of the agent's own environment. NULL-ended, malloc'ed. */
static char **environment(const struct agent *a, const struct waiting *w)
{
	static const char *const keys[] = { "seq", "time", "session", "name", "pair", "event", "actor", "before", "after", "detail" };
	static const char *const names[] = { "SEQ", "TIME", "SESSION", "NAME", "PAIR", "EVENT", "ACTOR", "BEFORE", "AFTER", "DETAIL" };
	char **env = calloc(24, sizeof *env);
	size_t n = 0;
	const struct passwd *user = getpwuid(geteuid());
	if (!env)
		abort();
	env[n++] = strdup("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
	env[n++] = strdup("LANG=C.UTF-8");
	if (asprintf(&env[n++], "HOME=%s", user && user->pw_dir ? user->pw_dir : "/") < 0 ||
		asprintf(&env[n++], "DRAY_SOCKET=%s/agent.sock", a->config->run_dir) < 0 ||
		asprintf(&env[n++], "DRAY_ATTEMPT=%u", w->attempt) < 0)
		abort();
	for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
		add_env(env, &n, names[i], json_object_get(w->json, keys[i]));
	return env;
}

static void start(struct agent *a, struct lane *lane)
{
	struct hooks *h = a->hooks;
	struct waiting *w = dray_container(lane->events.next, struct waiting, in_lane);
	const char *path = json_string_value(json_array_get(w->programs, w->at));
	char why[1200];
	if (!hook_safe(path, why, sizeof why)) {
		/* It changed since. One that is gone was taken away by those who may. */
		passed_over(h, path, why);
		next(a, lane);
		return;
	}
	/* A name may be known only later than the event, and an id says little to people. */
	char *id = NULL, *session = NULL;
	bool known = w->session && session_names(a, w->session, &id, &session);
	json_object_set_new(w->json, "name", known ? json_string(session) : json_null());
	free(id);
	free(session);
	json_object_set_new(w->json, "attempt", json_integer(w->attempt));
	char *compact = json_dumps(w->json, JSON_COMPACT), *text = NULL, **env = environment(a, w);
	if (compact && asprintf(&text, "%s\n", compact) < 0) /* a whole line: the shell's `read` reports the end of the file otherwise */
		text = NULL;
	free(compact);
	int rc = text ? hook_run_start(&lane->run, path, text, env, a->config->hook_timeout_ns, a->now, h->epoll) : -ENOMEM;
	free(text);
	for (char **p = env; *p; p++)
		free(*p);
	free(env);
	if (rc) {
		failed(a, lane, strerror(-rc), "");
		return;
	}
	h->runs++;
	h->running++;
}

static void ended(struct agent *a, struct lane *lane, const char *how)
{
	struct hook_run *run = lane->run;
	lane->run = NULL;
	a->hooks->running--;
	/* Whoever has waited longest is next: behind the others. */
	dray_list_del(&lane->node);
	dray_list_add_tail(&a->hooks->lanes, &lane->node);
	if (*how) {
		failed(a, lane, how, hook_run_said(run));
	} else {
		const struct waiting *w = dray_container(lane->events.next, struct waiting, in_lane);
		dray_log(DRAY_LOG_DEBUG, "hook-done", "%s, of event %llu (%s)", json_string_value(json_array_get(w->programs, w->at)),
			(unsigned long long)w->seq, w->event);
		next(a, lane);
	}
	hook_run_free(run);
}

static void free_lane(struct lane *lane)
{
	dray_list_del(&lane->node);
	hook_run_free(lane->run);
	free(lane->session);
	free(lane->failure);
	free(lane);
}

static void step_lane(struct agent *a, struct lane *lane)
{
	struct hooks *h = a->hooks;
	char how[120];
	if (lane->run && hook_run_step(lane->run, a->now, how, sizeof how))
		ended(a, lane, how);
	while (!lane->run && !dray_list_empty(&lane->events) && a->now >= lane->retry_at) {
		if (lane->failure)
			record_failure(a, lane);
		else if (h->running >= a->config->hooks_at_once)
			break; /* one that ends lets us look again */
		else
			start(a, lane);
	}
	if (lane->run)
		by(h, hook_run_due(lane->run));
	else if (!dray_list_empty(&lane->events) && lane->retry_at > a->now)
		by(h, lane->retry_at);
	else if (dray_list_empty(&lane->events))
		free_lane(lane);
}

void hooks_step(struct agent *a)
{
	struct hooks *h = a->hooks;
	if (!h)
		return;
	unsigned was;
	h->due = NEVER;
	read_events(a);
	do { /* a place that got free may be for a lane that was looked at already */
		was = h->running;
		dray_list_for_each_safe (n, &h->lanes)
			step_lane(a, dray_container(n, struct lane, node));
	} while (h->running < was);
	record_delivered(a);
	if (h->record_at)
		by(h, h->record_at);
}

void hooks_close(struct agent *a)
{
	struct hooks *h = a->hooks;
	struct dray_error err;
	if (!h)
		return;
	if (a->repo && h->recorded != delivered(h) && record(a, delivered(h), NULL, &err))
		dray_log(DRAY_LOG_ERROR, "record-failed", "delivered hooks: %s", err.text);
	while (!dray_list_empty(&h->lanes)) {
		struct lane *lane = dray_container(h->lanes.next, struct lane, node);
		while (!dray_list_empty(&lane->events))
			free_waiting(h, dray_container(lane->events.next, struct waiting, in_lane));
		free_lane(lane);
	}
	if (h->epoll >= 0)
		close(h->epoll);
	json_decref(h->told);
	free(h);
	a->hooks = NULL;
}

json_t *hooks_json(const struct agent *a)
{
	const struct hooks *h = a->hooks;
	const char *dir = a->config->hooks_dir;
	return json_pack("{s:o, s:i, s:I, s:I, s:I, s:I}", "dir", dir && *dir ? json_string(dir) : json_null(), "running",
		(int)h->running, "waiting", (json_int_t)h->waiting, "delivered_seq", (json_int_t)delivered(h), "runs",
		(json_int_t)h->runs, "failures", (json_int_t)h->failures);
}
