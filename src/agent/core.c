/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The core's loop: requests, dray-iod, timers, signals; and the wake-up.
 *
 * The wake-up runs at the end of a turn in which anything happened that could lead further: an answer or an event of dray-iod, a
 * request, a recorded change, a timer. It may be run at any time and any number of times. One turn runs it at most a few times
 * over, since its own changes ask for it again; the rest waits for the next turn, so that requests are never starved.
 */
#include "agent/clones.h"
#include "agent/generation.h"
#include "agent/agent.h"
#include "agent/trouble.h"

#include "agent/api.h"
#include "agent/audit.h"
#include "agent/clock.h"
#include "agent/hooks.h"
#include "agent/metrics.h"
#include "agent/queue.h"
#include "agent/settings.h"
#include "agent/speeds.h"
#include "agent/retire.h"
#include "agent/supervisor.h"
#include "base/log.h"
#include "base/min.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

#define POLL_IDLE   (10 * SECOND)
#define LOCK_TRIES  60
#define LOCK_PAUSE_MS 50
#define LIST_PATIENCE (5 * SECOND) /* a request waits so long for dray-iod, which may be starting */
#define TURN_PATIENCE (60 * SECOND) /* a submit waits so long for an earlier one whose resources don't answer */

/* ---- dray-iod ---- */

static void iod_up(void *ctx)
{
	struct agent *a = ctx;
	const json_t *hello = iod_hello(a->iod);
	supervisor_alive(a->supervisor);
	/* A new one has only what was recorded: figures may go back. */
	agent_event(a, ACTOR_SELF, "iod-connected", "dray-iod pid %lld, incarnation %s",
		(long long)json_integer_value(json_object_get(hello, "pid")), iod_incarnation(a->iod));
	a->iod_was_up = true;
	int level = dray_log_from_word(json_string_value(json_object_get(hello, "log_level")) ?: "");
	a->iod_log_level = level < 0 ? NULL : dray_log_word((enum dray_log_level)level);
	agent_push_log_level(a);
	dray_list_for_each (n, &a->jobs) {
		struct job *job = dray_container(n, struct job, node);
		for (size_t i = 0; i < job->s->n_pairs; i++) {
			struct pair_run *run = &job->runs[i];
			run->push.valid = false;
			run->push.again_at = run->push.backoff = 0;
			run->retry_at = 0;
			bool waits = job->s->pairs[i].iod_volume && !dray_state_final(job->s->pairs[i].state);
			if (waits || dray_bitmap_test(&job->retiring, i))
				run_needs_list(run);
		}
		job_wake(job);
	}
	agent_refresh(a);
	agent_turn(a);
}

static void log_level_told(void *arg, const struct dray_error *err, json_t *result)
{
	struct agent *a = arg;
	if (!err)
		return;
	a->iod_log_level = NULL;
	dray_log(DRAY_LOG_WARN, "log-level", "dray-iod keeps its log level: %s", err->text);
}

void agent_push_log_level(struct agent *a)
{
	const char *word = dray_log_word(a->config->log_level);
	if (!iod_ready(a->iod) || !a->iod_log_level || !strcmp(a->iod_log_level, word))
		return; /* an older one does not know the call */
	a->iod_log_level = word;
	iod_call(a->iod, "log.level", json_pack("{s:s}", "level", word), log_level_told, a);
}

static void iod_down(void *ctx)
{
	struct agent *a = ctx;
	list_lost(a);
	if (a->iod_was_up)
		agent_event(a, ACTOR_SELF, "iod-lost", "the connection to dray-iod is lost");
	a->iod_was_up = false;
	agent_turn(a);
}

static void iod_event(void *ctx, const json_t *params)
{
	struct agent *a = ctx;
	const char *event = json_string_value(json_object_get(params, "event"));
	const char *volume = json_string_value(json_object_get(params, "volume"));
	const char *error = json_string_value(json_object_get(params, "error"));
	const char *keys[] = { "volume", volume, "error", error, NULL };
	dray_log_fields(DRAY_LOG_DEBUG, "iod-event", keys, "%s", event ? event : "?");
	trouble_hint(a, params);
	agent_refresh(a); /* a hint to look again */
	/* A client may be one that hands its connection to the kernel, a moment from now: then the volume is a device (H29). */
	if (event && !strcmp(event, "client-connected") && a->list_at > a->now + SECOND)
		a->list_at = a->now + SECOND;
}

static void iod_absent(void *ctx)
{
	struct agent *a = ctx;
	supervisor_absent(a->supervisor, a->now);
}

static void rpc_call(struct dray_rpc *rpc, const char *method, json_t *params, dray_vehicle_done *done, void *arg)
{
	struct agent *a = dray_container(rpc, struct agent, rpc);
	iod_call(a->iod, method, params, done, arg);
}

/* ---- the wake-up ---- */

/* Takes the list: what is put on it from here on is for the next wake-up. */
static void take_looks(struct agent *a, struct dray_list *jobs)
{
	struct dray_list *n;
	dray_list_init(jobs);
	while ((n = dray_list_pop(&a->looks))) {
		struct job *job = dray_container(n, struct job, look_node);
		dray_list_add_tail(jobs, n);
		schedule_look(job); /* first: it may pause all its pairs */
		if (job->pause_seen != job->s->pause_reasons)
			for (size_t i = 0; i < job->s->n_pairs; i++)
				dray_bitmap_set(&job->look, i);
		job->pause_seen = job->s->pause_reasons;
		struct dray_bitmap taken = job->look;
		job->look = job->looking; /* which is empty */
		job->looking = taken;
		job->looked = true;
		a->work.sessions++;
		a->work.pairs += taken.nset;
	}
}

static void look_first(struct job *job)
{
	job_place(job, job->s->seq);
	limits_look(job);
	job_each_of (&job->looking, i) {
		observe_run(&job->runs[i]);
		run_place(&job->runs[i]);
	}
}

static void look_then(struct job *job)
{
	struct agent *a = job->agent;
	job_each_of (&job->looking, i)
		pair_step(&job->runs[i]);
	switch_wake(job);
	generation_look(job);
	retire_wake(job);
	observe_record(job);
	bool moves = job_count(job, DRAY_PAIR_STARTING) || job_count(job, DRAY_PAIR_COPYING) || job_count(job, DRAY_PAIR_SYNCED) ||
		     job_count(job, DRAY_PAIR_SWITCHING) || job_count(job, DRAY_PAIR_SWITCHED) || job->with_goal.nset;
	a->moving += moves;
	a->moving -= job->moves;
	job->moves = moves;
}

#define each_look(job, jobs)                                                                                   \
	dray_list_for_each_safe (n, jobs)                                                                      \
		for (struct job *job = dray_container(n, struct job, look_node); job; job = NULL)

static void wake(struct agent *a)
{
	struct dray_list jobs;
	a->wake_at = a->now + POLL_IDLE;
	a->work.wakeups++;
	take_looks(a, &jobs);
	a->list_viewed = a->list_number;
	each_look (job, &jobs)
		look_first(job);
	agent_schedule(a);
	limits_push(a); /* before what is started runs */
	each_look (job, &jobs)
		limits_push_job(job);
	each_look (job, &jobs)
		look_then(job);
	change_flush(a);
	waiters_check(a);
	each_look (job, &jobs) {
		dray_bitmap_clear_all(&job->looking);
		job->looked = false;
		dray_list_del(&job->look_node);
		/* What was put on the list meanwhile could not be, for it was on this one. */
		if (job->look_again)
			job_wake(job);
		job->look_again = false;
	}
}

static void wake_up(struct agent *a)
{
	for (int i = 0; i < 4; i++) {
		wake_due(a);
		if (!a->wake_wanted && a->now < a->wake_at)
			return;
		a->wake_wanted = false;
		wake(a);
	}
}

static void unpark(struct agent *a)
{
	dray_list_for_each_safe (n, &a->parked) {
		struct api_call *call = dray_container(n, struct api_call, node);
		struct job *job = job_find(a, call->core_note);
		dray_list_del(n);
		free(call->core_note);
		call->core_note = NULL;
		api_document(call, strcmp(call->path, "/sessions") ? 200 : 201, job, NULL);
	}
}

static void gate(struct agent *a, struct api_call *call, uint64_t list, uint64_t ns, void (*next)(struct agent *a, struct api_call *call))
{
	call->core_next = next;
	call->core_list = list;
	call->core_deadline = a->now + ns;
	dray_list_add_tail(&a->gated, &call->node);
	agent_turn_by(a, call->core_deadline);
}

void api_when_listed(struct agent *a, struct api_call *call, void (*next)(struct agent *a, struct api_call *call))
{
	gate(a, call, a->lists_asked + 1, LIST_PATIENCE, next);
	agent_refresh(a);
}

void api_later(struct agent *a, struct api_call *call, uint64_t ns, void (*next)(struct agent *a, struct api_call *call))
{
	gate(a, call, UINT64_MAX, ns, next);
}

static bool job_settled(struct agent *a, const char *id)
{
	const struct job *job = id ? job_find(a, id) : NULL;
	for (size_t i = 0; job && i < job->s->n_pairs; i++)
		if (job->s->pairs[i].iod_volume && !dray_state_final(job->s->pairs[i].state) && !run_settled(&job->runs[i]))
			return false;
	return true;
}

/* A submit waits for those that came before it: of two that want the same device the first one gets it. */
static bool waits_its_turn(struct agent *a, const struct api_call *call)
{
	if (!call->ticket)
		return false;
	dray_list_for_each (n, &a->gated) {
		const struct api_call *other = dray_container(n, struct api_call, node);
		if (other->ticket && other->ticket < call->ticket)
			return true;
	}
	return api_older_pending(a->api, call->ticket);
}

/* true: somebody went on, for whom others may have waited. */
static bool go_on(struct agent *a)
{
	bool went_on = false;
	dray_list_for_each_safe (n, &a->gated) {
		struct api_call *call = dray_container(n, struct api_call, node);
		bool listed = iod_ready(a->iod) && a->list_viewed >= call->core_list;
		bool late = a->now >= call->core_deadline, too_late = a->now >= call->core_deadline + TURN_PATIENCE;
		bool ready = (listed && job_settled(a, call->core_note)) || late;
		if (!too_late)
			agent_turn_by(a, call->core_deadline + (late ? TURN_PATIENCE : 0));
		if (ready && (too_late || !waits_its_turn(a, call))) {
			dray_list_del(n);
			call->core_next(a, call);
			went_on = true;
		}
	}
	return went_on;
}

/* ---- the loop ---- */

static void signals(struct agent *a, int fd)
{
	struct signalfd_siginfo info;
	while (read(fd, &info, sizeof info) == sizeof info)
		if (info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT) {
			dray_log(DRAY_LOG_INFO, "stopping", "told by signal %u; dray-iod goes on", info.ssi_signo);
			a->stopping = true;
		} else if (info.ssi_signo == SIGHUP) {
			char actor[32];
			snprintf(actor, sizeof actor, "uid:%u", info.ssi_uid);
			sd_notify(0, "RELOADING=1");
			settings_reload(a, actor);
			sd_notify(0, "READY=1");
		}
}

/* What waits for an hour looks at the clock again. */
static void look_at_clock(struct agent *a)
{
	int64_t set_ms, slept_ms;
	if (!clock_look(a->clock, &set_ms, &slept_ms))
		return;
	if (slept_ms)
		agent_event(a, ACTOR_SELF, "host-slept", "for %lld s", (long long)(slept_ms / 1000));
	if (set_ms)
		agent_event(a, ACTOR_SELF, "clock-set", "by %lld s", (long long)(set_ms / 1000));
	schedule_clock_set(a, set_ms);
	agent_turn(a); /* which records that */
	a->sweep_at = a->now;
}

static void turn(struct agent *a, int signal_fd)
{
	uint64_t due = min_u64(min_u64(wake_next(a), hooks_due(a)), iod_due(a->iod));
	if (iod_ready(a->iod) && !a->list_under_way)
		due = a->list_wanted ? 0 : min_u64(due, a->list_at);
	a->now = mono_now();
	/* The last step of the turn before may have brought what answers a call: nobody else would wake us for that. */
	uint64_t wait = a->wake_wanted || due <= a->now || audit_waits(a) ? 0 : due - a->now;
	int ms = wait > 10 * SECOND ? 10000 : (int)((wait + MS - 1) / MS);
	struct pollfd fds[] = { { signal_fd, POLLIN, 0 }, { queue_fd(a->queue), POLLIN, 0 },
		{ iod_fd(a->iod), iod_events(a->iod), 0 }, { hooks_fd(a), POLLIN, 0 }, { clock_fd(a->clock), POLLIN, 0 } };
	if (poll(fds, sizeof fds / sizeof fds[0], ms < clock_sleep_ms() ? ms : clock_sleep_ms()) < 0 && errno != EINTR)
		abort();
	a->now = mono_now();
	signals(a, signal_fd);
	look_at_clock(a);
	struct api_call *call;
	while ((call = queue_take(a->queue)))
		api_dispatch(a, call);
	iod_step(a->iod, a->now);
	retire_step(a);
	clones_step(a);
	list_ask(a);
	wake_up(a);
	bool went_on = go_on(a); /* they want what the new list was judged to mean */
	wake_up(a);
	if (went_on)
		agent_turn(a); /* after the wake-up, which would take it for done */
	unpark(a);
	audit_flush(a);
	hooks_step(a);
	retention_step(a);
	speeds_step(a);
	past_step(a);
	list_ask(a);
	iod_step(a->iod, a->now);
}

static int make_dir(const char *path, mode_t mode, struct dray_error *err)
{
	char part[4096];
	if (strlen(path) >= sizeof part)
		return dray_error_errno(err, -ENAMETOOLONG, "%s", path);
	strcpy(part, path);
	for (char *p = part + 1;; p++) {
		if (*p && *p != '/')
			continue;
		char c = *p;
		*p = 0;
		if (mkdir(part, c ? 0755 : mode) < 0 && errno != EEXIST)
			return dray_error_errno(err, -errno, "%s", part);
		*p = c;
		if (!c)
			return 0;
	}
}

/* One agent for each state directory. The lock ends with the process. */
static int lock_state(struct agent *a, int *fd, struct dray_error *err)
{
	char path[4200], pid[16];
	snprintf(path, sizeof path, "%s/agent.lock", a->config->state_dir);
	*fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
	if (*fd < 0)
		return dray_error_errno(err, -errno, "%s", path);
	/* A program that a killed agent was just starting has the lock until it runs. */
	int rc = flock(*fd, LOCK_EX | LOCK_NB);
	for (int i = 0; rc < 0 && errno == EWOULDBLOCK && i < LOCK_TRIES; i++) {
		poll(NULL, 0, LOCK_PAUSE_MS);
		rc = flock(*fd, LOCK_EX | LOCK_NB);
	}
	if (rc < 0) {
		ssize_t n = pread(*fd, pid, sizeof pid - 1, 0);
		pid[n > 0 ? n : 0] = 0;
		pid[strcspn(pid, "\n")] = 0;
		return dray_error_kind(err, -EBUSY, "busy", "another drayd (pid %s) uses the state directory %s", pid,
			a->config->state_dir);
	}
	int n = snprintf(pid, sizeof pid, "%d\n", (int)getpid());
	if (ftruncate(*fd, 0) < 0 || pwrite(*fd, pid, (size_t)n, 0) != n)
		return dray_error_errno(err, -errno, "%s", path);
	return 0;
}

static int open_all(struct agent *a, int *lock_fd, int *signal_fd, struct dray_error *err)
{
	static const struct iod_ops ops = { iod_up, iod_down, iod_event, iod_absent };
	char path[4200];
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL); /* before any thread */
	signal(SIGPIPE, SIG_IGN);
	*signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (*signal_fd < 0)
		return dray_error_errno(err, -errno, "signals");
	int rc = make_dir(a->config->state_dir, 0750, err);
	if (!rc)
		rc = make_dir(a->config->run_dir, 0755, err);
	if (!rc)
		rc = lock_state(a, lock_fd, err);
	if (!rc)
		rc = agent_load(a, err);
	if (!rc)
		rc = settings_load(a, err);
	if (rc)
		return rc;
	snprintf(path, sizeof path, "%s/iod.sock", a->config->run_dir);
	if ((rc = clock_watch(&a->clock, err)))
		return rc;
	a->queue = queue_new();
	a->audit = audit_new();
	a->supervisor = supervisor_new(a->config);
	a->iod = iod_new(path, &ops, a);
	if (!a->audit || !a->queue || !a->supervisor || !a->iod)
		return dray_error_errno(err, -ENOMEM, "the agent");
	a->rpc.call = rpc_call;
	snprintf(path, sizeof path, "%s/agent.sock", a->config->run_dir);
	return api_start(&a->api, path, a->config->allow_faults, queue_put, queue_poke, a->queue, err);
}

static void close_all(struct agent *a, int lock_fd, int signal_fd)
{
	struct api_call *call;
	sd_notify(0, "STOPPING=1");
	retire_stop(a);
	clones_stop(a);
	if (a->supervisor)
		supervisor_stop(a->supervisor);
	if (a->queue) {
		queue_close(a->queue);
		while ((call = queue_take(a->queue)))
			api_problem(call, 503, 6, "stopping", "the agent stops");
	}
	waiters_stop(a);
	unpark(a);
	dray_list_for_each_safe (n, &a->gated) {
		dray_list_del(n);
		api_problem(dray_container(n, struct api_call, node), 503, 6, "stopping", "the agent stops");
	}
	iod_free(a->iod); /* calls that wait for dray-iod are answered here */
	a->iod = NULL;
	if (a->audit && a->repo)
		audit_flush(a); /* api_stop waits for all answers */
	if (a->api)
		api_stop(a->api);
	while (!dray_list_empty(&a->jobs))
		job_free(dray_container(a->jobs.next, struct job, node));
	if (a->audit && a->repo)
		audit_flush(a);
	audit_free(a->audit);
	a->audit = NULL;
	metrics_free(a->metrics);
	a->metrics = NULL;
	hooks_close(a);
	dray_table_free(&a->jobs_by_id);
	dray_table_free(&a->jobs_by_name);
	dray_table_free(&a->watchers);
	free(a->moments);
	queue_free(a->queue);
	clock_free(a->clock);
	supervisor_free(a->supervisor);
	json_decref(a->volumes);
	json_decref(a->seen);
	speeds_free(a);
	dray_repo_close(a->repo);
	if (signal_fd >= 0)
		close(signal_fd);
	if (lock_fd >= 0)
		close(lock_fd);
}

int agent_run(struct agent *a, struct dray_error *err)
{
	int lock_fd = -1, signal_fd = -1;
	dray_list_init(&a->jobs);
	dray_list_init(&a->waiters);
	dray_list_init(&a->parked);
	dray_list_init(&a->gated);
	dray_list_init(&a->retirements);
	dray_list_init(&a->clones);
	dray_list_init(&a->looks);
	dray_list_init(&a->over);
	dray_list_init(&a->soon);
	dray_list_init(&a->unlisted);
	dray_list_init(&a->comparing);
	clock_init(a->config->allow_faults);
	places_init(&a->places, a->config->active_pairs);
	a->seen = json_object();
	a->started = wall_now();
	a->metrics = metrics_new();
	if (!a->metrics)
		abort();
	a->now = mono_now();
	int rc = open_all(a, &lock_fd, &signal_fd, err);
	if (!rc) {
		dray_log(DRAY_LOG_INFO, "ready", "state %s, sockets in %s", a->config->state_dir, a->config->run_dir);
		sd_notify(0, "READY=1");
		while (!a->stopping)
			turn(a, signal_fd);
	}
	close_all(a, lock_fd, signal_fd);
	return rc ? 1 : a->exit_code;
}
