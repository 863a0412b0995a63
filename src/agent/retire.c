/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From `pending` to `done` or `failed`.
 *
 *   1. The intent is on record: how, and of which storage (retire_begin), in the same transaction as the pair's commit where it is
 *      automatic. The source stays locked for this pair; its volume and its targets are free.
 *   2. Before the work is begun, and after every restart of drayd once more: a list of dray-iod's volumes that is newer than the
 *      intent, of which the source may be no leg; the lock; no target of this session.
 *   3. A thread does the work (storage/retire.c), since it may take hours and must not hold up the core. What it has to record, the
 *      core records, while the thread waits; so the record has one writer.
 *   4. The outcome, its event, the lock's end: one transaction.
 *
 * A pair stays `committed` or `completed` whatever comes of it. drayd may be killed anywhere: at its return the pair is pending, and
 * the work is begun again with the last step on record.
 */
#include "agent/retire.h"

#include "agent/queue.h"
#include "agent/validate.h"
#include "agent/worker.h"
#include "base/prio.h"
#include "base/crash.h"
#include "base/log.h"
#include "storage/identity.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WAIT_HELD  (3 * SECOND)  /* for somebody who has it open */
#define WAIT_LEG   60            /* s: for dray-iod to have let it go */
#define LOOK_AGAIN SECOND
#define NOT_RETIRED "its source is not retired: "
#define TELL_EVERY (SECOND / 5)

struct retirement {
	struct worker worker;  /* on agent.retirements */
	unsigned pair;
	struct dray_retire_order order;
	unsigned priority;     /* of the session, when it began */
	char *resource, *identity, *step, *path; /* of the order */

	pthread_cond_t cond;
	/* under the worker's lock */
	bool abandoned;        /* nobody will answer any more */
	bool asks, answered;   /* to record: what is in ask_*; the answer */
	int answer;
	char ask_step[16], ask_path[PATH_MAX];
	uint64_t ask_done;
	uint64_t done_bytes, total_bytes, told_at;
	/* the thread's until finished */
	int rc;
	struct dray_error err;
	struct dray_retire_result result;
};

/* ---- the thread's side ---- */

static int thread_record(void *ctx, const char *step, const char *path, uint64_t done)
{
	struct retirement *r = ctx;
	pthread_mutex_lock(&r->worker.lock);
	snprintf(r->ask_step, sizeof r->ask_step, "%s", step);
	snprintf(r->ask_path, sizeof r->ask_path, "%s", path);
	r->ask_done = done;
	r->answered = false;
	r->asks = true;
	queue_poke(r->worker.agent->queue);
	while (!r->answered && !r->abandoned)
		pthread_cond_wait(&r->cond, &r->worker.lock);
	int rc = r->answered ? r->answer : -ECANCELED;
	r->asks = false;
	pthread_mutex_unlock(&r->worker.lock);
	return rc;
}

static void thread_progress(void *ctx, uint64_t done, uint64_t total)
{
	struct retirement *r = ctx;
	uint64_t now = mono_now();
	pthread_mutex_lock(&r->worker.lock);
	r->done_bytes = done;
	r->total_bytes = total;
	bool tell = now >= r->told_at + TELL_EVERY;
	if (tell)
		r->told_at = now;
	pthread_mutex_unlock(&r->worker.lock);
	if (tell)
		queue_poke(r->worker.agent->queue);
}

static bool thread_stop(void *ctx)
{
	return worker_told_to_stop(&((struct retirement *)ctx)->worker);
}

static void thread_point(void *ctx, const char *name)
{
	dray_crash_point(name);
	dray_stall_point(name);
}

static void thread_run(struct worker *w)
{
	struct retirement *r = dray_container(w, struct retirement, worker);
	dray_prio_take(r->priority);
	r->rc = dray_retire_do(&r->order, &r->result, &r->err);
}

static void retirement_free(struct retirement *r)
{
	worker_end(&r->worker);
	pthread_cond_destroy(&r->cond);
	free(r->resource);
	free(r->identity);
	free(r->step);
	free(r->path);
	free(r);
}

/* ---- 1: the intent ---- */

/* Into `list`: the lock that the source needs. */
static struct dray_repo_lock *source_lock(struct lock_list *list, const struct job *job, const struct dray_pair *p)
{
	struct dray_repo_lock *lock = lock_for(list, p->origin.identity);
	lock->resource = p->origin.resource;
	lock->session = job->s->id;
	lock->pair = p->id;
	lock->role = "source";
	lock->since = wall_now();
	return lock;
}

void retire_begin(struct change *c, struct pair_run *run, const char *how, bool automatic)
{
	struct lock_list list = { 0 };
	char *word = strdup(how); /* it may be the pair's own */
	change_touch(c, run);
	struct dray_pair *p = run_pair(run);
	struct dray_retired *r = &p->retired;
	dray_retired_clear(r);
	r->how = word;
	r->automatic = automatic;
	r->time = wall_now();
	if (!p->origin.identity || !p->origin.resource) {
		r->state = DRAY_RETIRED_FAILED;
		run_note_retire(run);
		set_text(&r->reason, "what the source was is not on record, so it can't be told from another storage");
		change_event(c, p->id, "retire-failed", NULL, how, "%s", r->reason);
		return;
	}
	r->state = DRAY_RETIRED_PENDING;
	run_note_retire(run);
	change_event(c, p->id, "retiring", NULL, how, "source %s (%s)", p->origin.resource, p->origin.identity);
	if (!c->err.code) {
		source_lock(&list, run->job, p);
		dray_repo_locks_take(c->a->repo, list.locks, list.n, NULL, NULL, &c->err);
		lock_list_free(&list);
	}
	/* Judged by a list that is newer than this. */
	run_needs_list(run);
	run->retire_at = 0;
	agent_refresh(c->a);
}

/* ---- 4: the outcome ---- */

static void unlock_and_end(struct change *c, struct pair_run *run)
{
	change_unlock(c, run);
	if (change_end(c)) {
		run->retire_at = c->a->now + SECOND;
		job_wake_by(run->job, run->retire_at);
	} else {
		dray_crash_point("retire-recorded");
	}
}

static void failed(struct pair_run *run, const char *why)
{
	struct change c;
	change_begin(&c, run->job->agent, run->job, ACTOR_SELF);
	change_touch(&c, run);
	struct dray_retired *r = &run_pair(run)->retired;
	r->state = DRAY_RETIRED_FAILED;
	run_note_retire(run);
	r->time = wall_now();
	set_text(&r->reason, "%s", why);
	set_text(&r->step, NULL);
	set_text(&r->path, NULL);
	change_event(&c, run_pair(run)->id, "retire-failed", NULL, r->how, "source %s: %s", run_pair(run)->origin.resource, why);
	change_session_reason(&c, "pair %u: " NOT_RETIRED "%s", run_pair(run)->id, why);
	unlock_and_end(&c, run);
}

static void succeeded(struct pair_run *run, const struct retirement *t)
{
	struct change c;
	change_begin(&c, run->job->agent, run->job, ACTOR_SELF);
	change_touch(&c, run);
	struct dray_pair *p = run_pair(run);
	struct dray_retired *r = &p->retired;
	r->state = DRAY_RETIRED_DONE;
	run_note_retire(run);
	r->time = wall_now();
	set_text(&r->reason, NULL);
	set_text(&r->step, NULL);
	set_text(&r->path, NULL);
	if (r->bytes_total != DRAY_UNKNOWN)
		r->bytes_done = r->bytes_total;
	const char *was = run->job->s->reason ? strstr(run->job->s->reason, NOT_RETIRED) : NULL;
	if (was && atoi(run->job->s->reason + strlen("pair ")) == (int)p->id)
		change_session_reason(&c, NULL);
	change_event(&c, p->id, "retired", NULL, r->how, "source %s: %s", p->origin.resource, t->result.detail);
	if (t->result.name[0]) {
		set_text(&r->name, "%s", t->result.name);
		set_text(&p->origin.resource, "%s", t->result.name); /* for whoever retires it further */
	}
	unlock_and_end(&c, run);
}

/* ---- 2: may it be begun? ---- */

/* Keeps the reason for which it waits; in memory, like a queued pair's. */
static void waits(struct pair_run *run, const char *why)
{
	struct dray_retired *r = &run_pair(run)->retired;
	if (!r->reason || strcmp(r->reason, why))
		set_text(&r->reason, "%s", why);
}

static void look_again(struct pair_run *run)
{
	run->retire_at = run->job->agent->now + LOOK_AGAIN;
	job_wake_by(run->job, run->retire_at);
	agent_refresh(run->job->agent);
}

/* The volume of which the source is a leg. */
static const char *leg_of(const struct agent *a, const char *identity, bool *leaving)
{
	const char *name;
	size_t k;
	json_t *v, *leg;
	json_object_foreach (a->volumes, name, v)
		json_array_foreach (json_object_get(v, "legs"), k, leg) {
			const char *own = json_string_value(json_object_get(leg, "identity"));
			const char *state = json_string_value(json_object_get(leg, "state"));
			if (!own || !*own || !dray_identity_overlaps(own, identity))
				continue;
			*leaving = state && !strcmp(state, "detached");
			return name;
		}
	return NULL;
}

struct owner {
	const struct job *job;
	unsigned pair;
	bool ours;
	char other[160];
};

static int see_owner(void *arg, size_t wanted, const struct dray_repo_lock *holder)
{
	struct owner *o = arg;
	if (!strcmp(holder->session, o->job->s->id) && holder->pair == o->pair)
		o->ours = true;
	else
		snprintf(o->other, sizeof o->other, "it is locked by session %s, pair %u, as its %s", holder->session, holder->pair,
			lock_role(holder));
	return 0;
}

/* NULL: it may. */
static const char *against(struct pair_run *run, char *buf, size_t size, bool *again)
{
	const struct job *job = run->job;
	struct agent *a = job->agent;
	const struct dray_pair *p = run_pair(run);
	bool leaving = false;
	*again = false;
	for (size_t i = 0; i < job->s->n_pairs; i++)
		for (size_t t = 0; t < job->s->pairs[i].n_targets; t++) {
			const char *target = job->s->pairs[i].targets[t].identity;
			if (target && dray_identity_overlaps(target, p->origin.identity)) {
				snprintf(buf, size, "it is a target of this session (pair %u)", job->s->pairs[i].id);
				return buf;
			}
		}
	const char *volume = leg_of(a, p->origin.identity, &leaving);
	if (volume) {
		*again = leaving && wall_now() < (int64_t)p->retired.time + WAIT_LEG;
		snprintf(buf, size, "it is %s volume %s", leaving ? "still being let go by" : "a leg of", volume);
		return buf;
	}
	struct lock_list list = { 0 };
	struct owner owner = { .job = job, .pair = p->id };
	struct dray_error err = DRAY_ERROR_INIT;
	source_lock(&list, job, p);
	int rc = dray_repo_locks_check(a->repo, list.locks, list.n, see_owner, &owner, &err);
	if (!rc) { /* lost, with a repository that was put back perhaps: taken anew */
		rc = dray_repo_begin(a->repo, &err);
		if (!rc && !(rc = dray_repo_locks_take(a->repo, list.locks, list.n, NULL, NULL, &err)))
			rc = dray_repo_commit(a->repo, &err);
		if (rc)
			dray_repo_rollback(a->repo);
	} else if (rc == -EBUSY && !owner.other[0]) {
		rc = 0;
	}
	lock_list_free(&list);
	if (!rc)
		return NULL;
	*again = rc != -EBUSY; /* the repository can't be read */
	snprintf(buf, size, "%.290s", owner.other[0] ? owner.other : err.text);
	return buf;
}

/* ---- 3: the work ---- */

static char *copy(const char *s)
{
	char *c = strdup(s ? s : "");
	if (!c)
		abort();
	return c;
}

static void start(struct pair_run *run)
{
	struct agent *a = run->job->agent;
	struct dray_pair *p = run_pair(run);
	struct retirement *t = calloc(1, sizeof *t);
	if (!t)
		abort();
	t->pair = p->id;
	t->priority = run->job->s->priority;
	t->resource = copy(p->origin.resource);
	t->identity = copy(p->origin.identity);
	t->step = copy(p->retired.step);
	t->path = copy(p->retired.path);
	t->err = DRAY_ERROR_INIT;
	pthread_cond_init(&t->cond, NULL);
	worker_init(&t->worker, run->job, &a->retirements);
	t->order = (struct dray_retire_order){ .way = (enum dray_retire_way)dray_retire_from_word(p->retired.how),
		.resource = t->resource, .offset = p->origin.offset, .length = p->origin.length, .identity = t->identity,
		.same_boot = p->origin.boot && !strcmp(p->origin.boot, a->boot_id), .session = t->worker.session, .pair = p->id,
		.step = t->step, .path = t->path, .done_bytes = p->retired.bytes_done == DRAY_UNKNOWN ? 0 : p->retired.bytes_done,
		.rate = run->job->s->limits.rate, .wait_ns = WAIT_HELD, .allow_faults = a->config->allow_faults, .ctx = t,
		.record = thread_record, .progress = thread_progress, .stop = thread_stop, .point = thread_point };
	dray_crash_point("retire-pending");
	run->retirement = t;
	set_text(&p->retired.reason, NULL);
	if (!worker_start(&t->worker, thread_run)) {
		run->retirement = NULL;
		retirement_free(t);
		waits(run, "no thread can be made for it");
		look_again(run);
	}
}

void retire_wake(struct job *job)
{
	struct agent *a = job->agent;
	job_each_of (&job->retiring, i) {
		struct pair_run *run = &job->runs[i];
		struct dray_pair *p = &job->s->pairs[i];
		char why[300];
		bool again;
		if (run->retirement || a->stopping)
			continue;
		if (a->now < run->retire_at) {
			job_wake_by(job, run->retire_at);
			continue;
		}
		if (!iod_ready(a->iod) || !a->volumes || a->list_number < run->list_needed) {
			waits(run, "waits for dray-iod, which may have it still"); /* a new list wakes us */
			continue;
		}
		if (!worker_has_place(&a->retirements)) {
			waits(run, "waits for others that are being retired");
			continue;
		}
		const char *no = p->origin.identity ? against(run, why, sizeof why, &again) : "what it was is not on record";
		if (!no && !job->s->limits.rate) {
			waits(run, "waits: limits.rate is 0 just now");
			look_again(run);
		} else if (!no) {
			start(run);
		} else if (p->origin.identity && again) {
			waits(run, why);
			look_again(run);
		} else {
			failed(run, no);
		}
	}
}

static struct pair_run *run_of(struct retirement *t)
{
	struct job *job = job_find(t->worker.agent, t->worker.session);
	return job && t->pair <= job->s->n_pairs ? &job->runs[t->pair - 1] : NULL;
}

/* 0 when it is durable. */
static int record_step(struct pair_run *run, const char *step, const char *path, uint64_t done)
{
	struct change c;
	change_begin(&c, run->job->agent, run->job, ACTOR_SELF);
	change_touch(&c, run);
	struct dray_retired *r = &run_pair(run)->retired;
	bool wipes = !strcmp(r->how, "zero") || !strcmp(r->how, "discard");
	set_text(&r->step, "%s", step);
	set_text(&r->path, "%s", path);
	if (wipes)
		r->bytes_done = done;
	return change_end(&c);
}

static void harvest(struct agent *a, struct retirement *t)
{
	struct pair_run *run = run_of(t);
	pthread_mutex_lock(&t->worker.lock);
	bool asks = t->asks && !t->answered, finished = t->worker.finished;
	uint64_t done = t->done_bytes, total = t->total_bytes;
	pthread_mutex_unlock(&t->worker.lock);
	if (run && total) {
		struct dray_retired *r = &run_pair(run)->retired;
		r->bytes_done = done;
		r->bytes_total = total;
	}
	if (asks) {
		int rc = run ? record_step(run, t->ask_step, t->ask_path, t->ask_done) : -ESTALE;
		pthread_mutex_lock(&t->worker.lock);
		t->answer = rc;
		t->answered = true;
		if (rc)
			dray_error_set(&t->err, rc, "a step of it could not be recorded");
		pthread_cond_signal(&t->cond);
		pthread_mutex_unlock(&t->worker.lock);
	}
	if (!finished || (run && a->now < run->retire_at))
		return;
	if (run && t->rc != -ECANCELED) {
		if (t->rc)
			failed(run, t->err.text[0] ? t->err.text : strerror(-t->rc));
		else
			succeeded(run, t);
		/* Not recorded: once more, a little later; the thread has nothing more to say. */
		if (run_pair(run)->retired.state == DRAY_RETIRED_PENDING)
			return;
	}
	if (run)
		run->retirement = NULL;
	retirement_free(t);
	/* Its place is free. */
	dray_list_for_each (n, &a->jobs) {
		struct job *job = dray_container(n, struct job, node);
		if (job->retiring.nset)
			job_wake(job);
	}
}

void retire_step(struct agent *a)
{
	dray_list_for_each_safe (n, &a->retirements)
		harvest(a, dray_container(n, struct retirement, worker.node));
}

void retire_stop(struct agent *a)
{
	/* They leave off between two pieces, and have to record how far they came. */
	workers_stop(a, &a->retirements, retire_step);
	dray_list_for_each (n, &a->retirements) {
		struct retirement *t = dray_container(n, struct retirement, worker.node);
		pthread_mutex_lock(&t->worker.lock);
		t->abandoned = true;
		pthread_cond_signal(&t->cond);
		pthread_mutex_unlock(&t->worker.lock);
		/* What it uses stays: the process ends now. */
		dray_log(DRAY_LOG_WARN, "retire-left",
			"session %s pair %u: its source is still being worked on; that is repeated after the next start", t->worker.session, t->pair);
	}
}
