/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sessions on record and sessions in memory.
 *
 * In memory are those with which the agent has something to do still (job_open); they are there from its start. One that is over is
 * kept in the repository alone: a list shows the summary that was written with its last change, and whoever asks for it by
 * name or id has it loaded. It stays for as long as somebody uses it and for a moment after (a->over), and is let go again. So ten
 * thousand past sessions cost nothing but their place on the disk.
 *
 * A name means the live session of that name, else the newest. Live ones are in memory; the newest is found by an index.
 */
#include "agent/agent.h"

#include "agent/api.h"
#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINGER (5 * SECOND) /* whoever asked for it may ask again */
#define AT_ONCE 16          /* as many may linger */

/* ---- loading ---- */

/* A repository walks through one thing at a time: the rows first, then the pairs of each. */
struct rows {
	struct dray_repo_session *rows;
	size_t n;
};

static char *copy(const char *text)
{
	char *c = strdup(text);
	if (!c)
		abort();
	return c;
}

static int keep_row(void *arg, const struct dray_repo_session *row)
{
	struct rows *r = arg;
	struct dray_repo_session *more = realloc(r->rows, (r->n + 1) * sizeof *more);
	if (!more)
		abort();
	r->rows = more;
	more[r->n] = *row;
	more[r->n].id = copy(row->id);
	more[r->n].name = copy(row->name);
	more[r->n++].document = copy(row->document);
	return 0;
}

static void free_rows(struct rows *r)
{
	for (size_t i = 0; i < r->n; i++) {
		free((char *)r->rows[i].id);
		free((char *)r->rows[i].name);
		free((char *)r->rows[i].document);
	}
	free(r->rows);
}

struct parts {
	json_t *pairs, *works;
};

static int keep_pair(void *arg, const struct dray_repo_pair *row)
{
	struct parts *parts = arg;
	json_t *pair = json_loads(row->document, 0, NULL), *work = json_loads(row->work, 0, NULL);
	if (!pair || !work) {
		json_decref(pair);
		json_decref(work);
		return -EUCLEAN;
	}
	json_array_append_new(parts->pairs, pair);
	json_array_append_new(parts->works, work);
	return 0;
}

/* NULL: it can't be read, which is told. */
static struct job *load(struct agent *a, const struct dray_repo_session *row)
{
	struct dray_session *s = NULL;
	struct parts parts = { json_array(), json_array() };
	json_t *head = json_loads(row->document, 0, NULL);
	struct job *job = NULL;
	int rc = dray_repo_pairs(a->repo, row->seq, keep_pair, &parts, NULL);
	if (!rc)
		rc = head ? dray_session_load_parts(head, parts.pairs, &s) : -EUCLEAN;
	if (rc) {
		dray_log(DRAY_LOG_ERROR, "session-unreadable", "session %s (%s) can't be read from the repository", row->id, row->name);
	} else {
		a->work.loads++;
		job = job_new(a, s);
		for (size_t i = 0; i < s->n_pairs; i++)
			run_work_load(&job->runs[i], json_array_get(parts.works, i));
		job_recount(job);
		s->seq = row->seq;
		job->saved_document = copy(row->document);
		job_check_record(job);
		job_enter(job);
	}
	json_decref(head);
	json_decref(parts.pairs);
	json_decref(parts.works);
	return job;
}

int past_load_open(struct agent *a, struct dray_error *err)
{
	struct rows r = { 0 };
	int rc = dray_repo_sessions_open(a->repo, keep_row, &r, err);
	for (size_t i = 0; i < r.n && !rc; i++) {
		struct job *job = load(a, &r.rows[i]);
		if (job)
			job_wake_pairs(job);
		else
			rc = -EUCLEAN;
	}
	free_rows(&r);
	a->past_stale = true;
	return rc;
}

/* ---- finding ---- */

struct job *job_in_memory(const struct agent *a, const char *id)
{
	return dray_table_get(&a->jobs_by_id, id);
}

/* The row of the session on record. false: there is none. */
static bool on_record(struct agent *a, const char *what, struct rows *r)
{
	struct dray_error err;
	int rc = dray_repo_session_get(a->repo, what, keep_row, r, &err);
	if (rc == -ENOENT)
		rc = dray_repo_session_named(a->repo, what, keep_row, r, &err);
	if (rc && rc != -ENOENT)
		dray_log(DRAY_LOG_ERROR, "repository", "session %s: %s", what, err.text);
	return !rc && r->n;
}

static struct job *live_of_name(const struct agent *a, const char *name)
{
	struct job *job = dray_table_get(&a->jobs_by_name, name);
	return job && job_live(job) ? job : NULL;
}

struct job *job_find(struct agent *a, const char *what)
{
	struct job *job = job_in_memory(a, what);
	struct rows r = { 0 };
	if (!job)
		job = live_of_name(a, what);
	if (!job && on_record(a, what, &r)) {
		job = job_in_memory(a, r.rows[0].id);
		if (!job)
			job = load(a, &r.rows[0]);
	}
	free_rows(&r);
	if (job && !job_open(job)) {
		job->used_at = a->now;
		job_lingers(job);
	}
	return job;
}

bool session_names(struct agent *a, const char *what, char **id, char **name)
{
	struct job *job = job_in_memory(a, what);
	struct rows r = { 0 };
	if (!job)
		job = live_of_name(a, what);
	bool found = job || on_record(a, what, &r);
	if (found) {
		*id = copy(job ? job->s->id : r.rows[0].id);
		if (name)
			*name = copy(job ? job->s->name : r.rows[0].name);
	}
	free_rows(&r);
	return found;
}

/* ---- letting go ---- */

void job_lingers(struct job *job)
{
	if (dray_list_empty(&job->over_node))
		dray_list_add_tail(&job->agent->over, &job->over_node);
}

static bool idle(const struct job *job)
{
	if (job->token || job->with_goal.nset || job->looked || !dray_list_empty(&job->look_node))
		return false;
	dray_list_for_each (n, &job->agent->waiters)
		if (dray_container(n, struct waiter, node)->job == job)
			return false;
	for (size_t i = 0; i < job->s->n_pairs; i++)
		if (job->runs[i].busy || job->runs[i].push.under_way || job->runs[i].retirement)
			return false;
	return true;
}

void past_step(struct agent *a)
{
	size_t n_over = 0;
	dray_list_for_each (n, &a->over)
		n_over++;
	dray_list_for_each_safe (n, &a->over) {
		struct job *job = dray_container(n, struct job, over_node);
		if (job_open(job)) {
			dray_list_del(n); /* it was taken up again */
			a->past_stale = true;
			job->used_at = 0;
			n_over--;
			continue;
		}
		if (!job->used_at)
			job->used_at = a->now;
		if ((a->now < job->used_at + LINGER && n_over <= AT_ONCE) || !idle(job)) {
			agent_turn_by(a, job->used_at + LINGER > a->now ? job->used_at + LINGER : a->now + SECOND);
			continue;
		}
		job_free(job);
		n_over--;
	}
}

/* ---- lists ---- */

struct listing {
	FILE *out;
	size_t n;
};

static void put(struct listing *l, const char *text)
{
	fprintf(l->out, "%s%s", l->n++ ? ",\n" : "", text);
}

static void put_job(struct listing *l, struct job *job)
{
	json_t *doc = job_document(job, false);
	char *text = json_dumps(doc, JSON_COMPACT | JSON_PRESERVE_ORDER);
	if (text)
		put(l, text);
	free(text);
	json_decref(doc);
}

struct past_rows {
	struct agent *a;
	struct {
		uint64_t seq;
		char *text;
	} *rows;
	size_t n;
};

static int keep_summary(void *arg, const struct dray_repo_session *row)
{
	struct past_rows *r = arg;
	r->a->work.summaries++;
	void *more = (r->n & (r->n - 1)) ? r->rows : realloc(r->rows, (r->n ? 2 * r->n : 1) * sizeof *r->rows);
	if (!more)
		abort();
	r->rows = more;
	r->rows[r->n].seq = row->seq;
	if (row->summary) {
		r->rows[r->n++].text = copy(row->summary);
		return 0;
	}
	/* It could not be read when the repository was upgraded. */
	json_t *known = json_pack("{s:s, s:s, s:s, s:s}", "name", row->name, "id", row->id, "state", row->state, "reason",
		"its record can't be read");
	r->rows[r->n++].text = json_dumps(known, JSON_COMPACT);
	json_decref(known);
	return 0;
}

static struct job *next_open(const struct agent *a, const struct dray_list *at, const char *state, uint64_t after)
{
	for (const struct dray_list *n = at->next; n != &a->jobs; n = n->next) {
		struct job *job = dray_container(n, struct job, node);
		if (job_open(job) && job->s->seq > after &&
			(!state || !strcmp(state, dray_state_word((enum dray_pair_state)job->s->state))))
			return job;
	}
	return NULL;
}

int past_list(struct agent *a, const struct past_query *q, char **text, size_t *left_out, struct dray_error *err)
{
	struct past_rows past = { .a = a };
	struct listing l = { 0 };
	size_t size, open = 0, past_most = q->past;
	for (struct job *job = next_open(a, &a->jobs, q->state, q->after); job; job = next_open(a, &job->node, q->state, q->after))
		open++;
	if (q->limit && q->limit < past_most)
		past_most = q->limit;
	/* One more than wanted tells whether any is left out. */
	int rc = dray_repo_summaries(a->repo, q->state, q->after, past_most == SIZE_MAX ? UINT64_MAX : past_most + 1, !q->oldest_first,
		keep_summary, &past, err);
	if (rc || !(l.out = open_memstream(text, &size))) {
		for (size_t i = 0; i < past.n; i++)
			free(past.rows[i].text);
		free(past.rows);
		return rc ? rc : dray_error_errno(err, -ENOMEM, "a list");
	}
	/* In order of submission: both kinds are, the newest past ones once they are turned around. */
	size_t shown_past = past.n > past_most ? past_most : past.n, all = shown_past + open, skip = 0, stop = all;
	if (q->limit && q->limit < all) {
		skip = q->oldest_first ? 0 : all - q->limit;
		stop = q->oldest_first ? q->limit : all;
	}
	*left_out = past.n - shown_past + all - (stop - skip);
	struct job *job = next_open(a, &a->jobs, q->state, q->after);
	fputs("[", l.out);
	for (size_t i = 0, k = 0; k < all; k++) {
		size_t at = q->oldest_first ? i : shown_past - 1 - i;
		bool is_past = i < shown_past && (!job || past.rows[at].seq < job->s->seq);
		if (k >= skip && k < stop) {
			if (is_past)
				put(&l, past.rows[at].text);
			else
				put_job(&l, job);
		}
		if (is_past)
			i++;
		else
			job = next_open(a, &job->node, q->state, q->after);
	}
	fputs("]\n", l.out);
	fclose(l.out);
	for (size_t i = 0; i < past.n; i++)
		free(past.rows[i].text);
	free(past.rows);
	return 0;
}
