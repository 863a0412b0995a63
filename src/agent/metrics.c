/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The Prometheus text (version 0.0.4).
 *
 * How many series there are is bounded, however large sessions are: figures of single pairs only of live sessions with at most PAIRS_OF_ONE
 * pairs, PAIRS_IN_ALL together; of sessions, only of live ones, SESSIONS of them, the newest; of volumes, VOLUMES of them. How many were left out is a figure, too. Counters
 * of single pairs and sessions are those of the document, which outlive the agent; the others begin at its start.
 */
#include "agent/metrics.h"

#include "agent/api.h"
#include "agent/hook_find.h"
#include "agent/hooks.h"
#include "agent/supervisor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAIRS_OF_ONE 256
#define PAIRS_IN_ALL 2048
#define SESSIONS     1024
#define VOLUMES      2048
#define WORDS        64

/* Upper bounds of a blackout. Whole numbers, like all the figures here. */
static const uint64_t bounds_us[] = { 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 500000, 1000000, 2500000, 5000000, 10000000 };
#define BOUNDS (sizeof bounds_us / sizeof bounds_us[0])

struct metrics {
	uint64_t events[WORDS], other_events;
	uint64_t blackouts[BOUNDS], n_blackouts, blackout_us;
};

struct metrics *metrics_new(void)
{
	return calloc(1, sizeof(struct metrics));
}

void metrics_free(struct metrics *m)
{
	free(m);
}

void metrics_event(struct agent *a, const char *event)
{
	struct metrics *m = a->metrics;
	for (size_t i = 0; m && agent_event_words[i] && i < WORDS; i++)
		if (!strcmp(agent_event_words[i], event)) {
			m->events[i]++;
			return;
		}
	if (m)
		m->other_events++;
}

void metrics_blackout(struct agent *a, uint64_t us)
{
	struct metrics *m = a->metrics;
	if (!m || us == DRAY_UNKNOWN)
		return;
	m->n_blackouts++;
	m->blackout_us += us;
	for (size_t i = 0; i < BOUNDS; i++)
		m->blackouts[i] += us <= bounds_us[i];
}

/* ---- the format ---- */

/* A label's value: backslash, quote and newline escaped. */
static void label(FILE *out, const char *key, const char *value)
{
	fprintf(out, "%s=\"", key);
	for (; *value; value++) {
		if (*value == '\\' || *value == '"')
			fputc('\\', out);
		if (*value == '\n')
			fputs("\\n", out);
		else
			fputc(*value, out);
	}
	fputc('"', out);
}

static void head(FILE *out, const char *name, const char *type, const char *help)
{
	fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void one(FILE *out, const char *name, const char *type, const char *help, uint64_t value)
{
	head(out, name, type, help);
	fprintf(out, "%s %llu\n", name, (unsigned long long)value);
}

static void labelled(FILE *out, const char *name, const char *key, const char *value, uint64_t n)
{
	fprintf(out, "%s{", name);
	label(out, key, value);
	fprintf(out, "} %llu\n", (unsigned long long)n);
}

/* ---- sessions and pairs ---- */

static void states(FILE *out, struct agent *a)
{
	uint64_t pairs[DRAY_PAIR_STATE_COUNT], sessions[DRAY_PAIR_STATE_COUNT];
	if (!api_count_states(a, pairs, sessions))
		return; /* no figure is better than a wrong one; dray_repository_errors_total says why */
	head(out, "dray_sessions", "gauge", "Sessions on record, by state.");
	for (int s = 0; s < DRAY_PAIR_STATE_COUNT; s++)
		labelled(out, "dray_sessions", "state", dray_state_word((enum dray_pair_state)s), sessions[s]);
	head(out, "dray_pairs", "gauge", "Pairs on record, by state.");
	for (int s = 0; s < DRAY_PAIR_STATE_COUNT; s++)
		labelled(out, "dray_pairs", "state", dray_state_word((enum dray_pair_state)s), pairs[s]);
}

/* Pairs that wait, by what they wait for. */
static void queue(FILE *out, const struct agent *a)
{
	uint64_t session = 0, agent = 0, iod = 0;
	for (size_t p = 0; p < PLACES_PRIORITIES; p++)
		dray_list_for_each (n, &a->places.waiting[p]) {
			const struct places_session *s = dray_container(n, struct places_session, waiting_node);
			uint64_t waits = s->waiting.nset;
			if (s->active.nset >= s->limit)
				session += waits;
			else if (a->places.active >= a->places.limit)
				agent += waits;
			else
				iod += waits;
		}
	head(out, "dray_queued_pairs", "gauge", "Pairs that wait, by the limit that they wait for.");
	labelled(out, "dray_queued_pairs", "limit", "session", session);
	labelled(out, "dray_queued_pairs", "limit", "agent", agent);
	labelled(out, "dray_queued_pairs", "limit", "iod", iod);
	one(out, "dray_active_pairs", "gauge", "Pairs that transfer.", a->places.active);
	one(out, "dray_active_pairs_limit", "gauge", "Most pairs that may transfer at once.", a->places.limit);
}

static uint64_t total(const struct dray_pair *p)
{
	return p->progress.bytes_total;
}

static uint64_t done(const struct dray_pair *p)
{
	return p->progress.bytes_done;
}

static uint64_t copied(const struct dray_pair *p)
{
	return p->progress.bytes_copied;
}

static uint64_t recopied(const struct dray_pair *p)
{
	return p->progress.bytes_recopied;
}

static uint64_t rate(const struct dray_pair *p)
{
	return p->progress.rate;
}

static uint64_t dirty(const struct dray_pair *p)
{
	return p->dirty_bytes;
}

static uint64_t dirty_rate(const struct dray_pair *p)
{
	return p->progress.dirty_rate;
}

static uint64_t blackout(const struct dray_pair *p)
{
	return p->blackout_us;
}

static uint64_t predicted(const struct dray_pair *p)
{
	return p->predicted_blackout_us;
}

static const struct {
	const char *pair, *session; /* NULL: makes no sense as a sum */
	const char *type, *help;
	uint64_t (*value)(const struct dray_pair *p);
} figures[] = {
	{ "dray_pair_bytes", "dray_session_bytes", "gauge", "Size.", total },
	{ "dray_pair_done_bytes", "dray_session_done_bytes", "gauge", "Bytes that are equal on source and targets.", done },
	{ "dray_pair_copied_bytes_total", "dray_session_copied_bytes_total", "counter", "Bytes written to targets by the copy.", copied },
	{ "dray_pair_recopied_bytes_total", "dray_session_recopied_bytes_total", "counter", "Bytes that were copied before.", recopied },
	{ "dray_pair_dirty_bytes", "dray_session_dirty_bytes", "gauge", "Bytes that differ or may differ.", dirty },
	{ "dray_pair_rate_bytes", "dray_session_rate_bytes", "gauge", "Bytes per second over the last seconds.", rate },
	{ "dray_pair_dirty_rate_bytes", "dray_session_dirty_rate_bytes", "gauge", "Bytes per second that have to be brought again.", dirty_rate },
	{ "dray_pair_blackout_microseconds", NULL, "gauge", "Longest wait because of the last switch.", blackout },
	{ "dray_pair_predicted_blackout_microseconds", NULL, "gauge", "Longest wait that a switch would cause now.", predicted },
};
#define FIGURES (sizeof figures / sizeof figures[0])

/* The live sessions whose figures are shown, newest first. */
static size_t choose(const struct agent *a, const struct job **jobs, unsigned *left_out)
{
	size_t n = 0;
	*left_out = 0;
	for (const struct dray_list *node = a->jobs.prev; node != &a->jobs; node = node->prev) {
		const struct job *job = dray_container(node, struct job, node);
		if (!job_live(job))
			continue;
		if (n < SESSIONS)
			jobs[n++] = job;
		else
			++*left_out;
	}
	return n;
}

static void names(FILE *out, const char *metric, const struct job *job)
{
	fprintf(out, "%s{", metric);
	label(out, "session", job->s->name);
	fprintf(out, ",id=\"%s\"", job->s->id);
}

static void figure_of_sessions(FILE *out, size_t which, const struct job *const *jobs, size_t n)
{
	const char *name = figures[which].session;
	if (!name)
		return;
	head(out, name, figures[which].type, figures[which].help);
	for (size_t k = 0; k < n; k++) {
		uint64_t sum = 0;
		for (size_t i = 0; i < jobs[k]->s->n_pairs; i++) {
			uint64_t v = figures[which].value(&jobs[k]->s->pairs[i]);
			sum += v == DRAY_UNKNOWN ? 0 : v;
		}
		names(out, name, jobs[k]);
		fprintf(out, "} %llu\n", (unsigned long long)sum);
	}
}

static bool shows_pairs(const struct job *job, size_t *room)
{
	if (job->s->n_pairs > PAIRS_OF_ONE || job->s->n_pairs > *room)
		return false;
	*room -= job->s->n_pairs;
	return true;
}

static void figure_of_pairs(FILE *out, size_t which, const struct job *const *jobs, size_t n)
{
	size_t room = PAIRS_IN_ALL;
	head(out, figures[which].pair, figures[which].type, figures[which].help);
	for (size_t k = 0; k < n; k++) {
		if (!shows_pairs(jobs[k], &room))
			continue;
		for (size_t i = 0; i < jobs[k]->s->n_pairs; i++) {
			uint64_t v = figures[which].value(&jobs[k]->s->pairs[i]);
			if (v == DRAY_UNKNOWN)
				continue;
			names(out, figures[which].pair, jobs[k]);
			fprintf(out, ",pair=\"%u\"} %llu\n", jobs[k]->s->pairs[i].id, (unsigned long long)v);
		}
	}
}

/* What `bound_by` of a session says. */
static void bounds(FILE *out, const struct job *const *jobs, size_t n)
{
	static const char name[] = "dray_session_bound_pairs";
	head(out, name, "gauge", "Pairs that this limit holds back now, and whose it is; limit none: their storages.");
	for (size_t k = 0; k < n; k++) {
		json_t *list = job_bound(jobs[k]), *one, *seen = json_object(), *pairs;
		const char *labels;
		size_t i;
		json_array_foreach (list, i, one) { /* of several values of a limit, as pairs have each its own, the sum */
			const char *limit = json_string_value(json_object_get(one, "limit")), *of = json_string_value(json_object_get(one, "of"));
			char text[100];
			snprintf(text, sizeof text, ",limit=\"%s\",of=\"%s\"} ", limit, of ? of : "");
			json_int_t sum = json_integer_value(json_object_get(seen, text)) + json_integer_value(json_object_get(one, "pairs"));
			json_object_set_new(seen, text, json_integer(sum));
		}
		json_object_foreach (seen, labels, pairs) {
			names(out, name, jobs[k]);
			fprintf(out, "%s%lld\n", labels, (long long)json_integer_value(pairs));
		}
		json_decref(seen);
		json_decref(list);
	}
}

static void sessions(FILE *out, const struct agent *a)
{
	const struct job **jobs = calloc(SESSIONS, sizeof(struct job *));
	unsigned sessions_out;
	if (!jobs)
		abort();
	size_t n = choose(a, jobs, &sessions_out), room = PAIRS_IN_ALL, pairs_out = 0;
	for (size_t k = 0; k < n; k++)
		pairs_out += shows_pairs(jobs[k], &room) ? 0 : jobs[k]->s->n_pairs;
	for (size_t f = 0; f < FIGURES; f++) {
		figure_of_sessions(out, f, jobs, n);
		figure_of_pairs(out, f, jobs, n);
	}
	bounds(out, jobs, n);
	one(out, "dray_left_out_sessions", "gauge", "Live sessions without figures of their own here: there are too many.", sessions_out);
	one(out, "dray_left_out_pairs", "gauge", "Pairs of live sessions without figures of their own here.", pairs_out);
	free(jobs);
}

/* ---- volumes ---- */

/* One whose figures are shown: `*n` are before it. */
static bool shows_volume(json_t *volume, size_t *n)
{
	return !json_is_true(json_object_get(volume, "hidden")) && (*n)++ < VOLUMES;
}

static void of_volumes(FILE *out, const struct agent *a, const char *name, const char *type, const char *help, const char *key,
	const char *inner)
{
	const char *volume;
	json_t *v;
	size_t n = 0;
	head(out, name, type, help);
	json_object_foreach (a->volumes, volume, v) {
		if (!shows_volume(v, &n))
			continue;
		json_t *value = json_object_get(inner ? json_object_get(v, key) : v, inner ? inner : key);
		if (json_is_integer(value))
			labelled(out, name, "volume", volume, (uint64_t)json_integer_value(value));
	}
}

static void latency(FILE *out, const struct agent *a)
{
	static const struct {
		const char *key, *op, *quantile;
	} what[] = { { "read_p50", "read", "0.5" }, { "read_p99", "read", "0.99" }, { "write_p50", "write", "0.5" },
		{ "write_p99", "write", "0.99" } };
	const char *volume;
	json_t *v;
	size_t n = 0;
	head(out, "dray_volume_latency_microseconds", "gauge", "How long applications' requests took lately, by share of them.");
	json_object_foreach (a->volumes, volume, v) {
		bool shown = shows_volume(v, &n);
		for (size_t k = 0; shown && k < sizeof what / sizeof what[0]; k++) {
			json_t *us = json_object_get(json_object_get(v, "latency_us"), what[k].key);
			if (!json_is_integer(us))
				continue;
			fputs("dray_volume_latency_microseconds{", out);
			label(out, "volume", volume);
			fprintf(out, ",op=\"%s\",quantile=\"%s\"} %lld\n", what[k].op, what[k].quantile,
				(long long)json_integer_value(us));
		}
	}
}

static void volumes(FILE *out, const struct agent *a)
{
	of_volumes(out, a, "dray_volume_size_bytes", "gauge", "Size of a volume.", "size_bytes", NULL);
	of_volumes(out, a, "dray_volume_clients", "gauge", "Connected clients.", "clients", NULL);
	of_volumes(out, a, "dray_volume_reads_total", "counter", "Reads of applications.", "counters", "reads");
	of_volumes(out, a, "dray_volume_writes_total", "counter", "Writes of applications.", "counters", "writes");
	of_volumes(out, a, "dray_volume_read_bytes_total", "counter", "Bytes read by applications.", "counters", "read_bytes");
	of_volumes(out, a, "dray_volume_write_bytes_total", "counter", "Bytes written by applications.", "counters", "write_bytes");
	of_volumes(out, a, "dray_volume_flushes_total", "counter", "Flushes of applications.", "counters", "flushes");
	of_volumes(out, a, "dray_volume_errors_total", "counter", "Requests that failed.", "counters", "errors");
	of_volumes(out, a, "dray_volume_epoch", "gauge", "Raised by each switch.", "epoch", NULL);
	latency(out, a);
	of_volumes(out, a, "dray_volume_copy_window_app_microseconds", "gauge", "What the copy sees applications' requests take, and follows.",
		"copy_window", "app_us");
	of_volumes(out, a, "dray_volume_copy_window_allowed_microseconds", "gauge", "What they may take before the copy gives way.", "copy_window",
		"allowed_us");
	size_t n = 0;
	const char *name;
	json_t *v;
	json_object_foreach (a->volumes, name, v)
		shows_volume(v, &n);
	one(out, "dray_left_out_volumes", "gauge", "Volumes without figures of their own here: there are too many.", n > VOLUMES ? n - VOLUMES : 0);
}

/* ---- the agent ---- */

static void blackouts(FILE *out, const struct metrics *m)
{
	head(out, "dray_switch_blackout_microseconds", "histogram", "Longest wait of a request because of a switch or an undo, of each volume.");
	for (size_t i = 0; i < BOUNDS; i++)
		fprintf(out, "dray_switch_blackout_microseconds_bucket{le=\"%llu\"} %llu\n", (unsigned long long)bounds_us[i],
			(unsigned long long)m->blackouts[i]);
	fprintf(out, "dray_switch_blackout_microseconds_bucket{le=\"+Inf\"} %llu\n", (unsigned long long)m->n_blackouts);
	fprintf(out, "dray_switch_blackout_microseconds_sum %llu\ndray_switch_blackout_microseconds_count %llu\n", (unsigned long long)m->blackout_us,
		(unsigned long long)m->n_blackouts);
}

static void events(FILE *out, const struct metrics *m)
{
	head(out, "dray_events_total", "counter", "Events recorded since the agent's start.");
	for (size_t i = 0; agent_event_words[i] && i < WORDS; i++)
		labelled(out, "dray_events_total", "event", agent_event_words[i], m->events[i]);
	labelled(out, "dray_events_total", "event", "other", m->other_events);
}

static void of_hooks(FILE *out, const struct agent *a)
{
	json_t *h = hooks_json(a);
	one(out, "dray_hook_runs_total", "counter", "Runs of hooks.", (uint64_t)json_integer_value(json_object_get(h, "runs")));
	one(out, "dray_hook_failures_total", "counter", "Hooks that were given up.",
		(uint64_t)json_integer_value(json_object_get(h, "failures")));
	one(out, "dray_hooks_running", "gauge", "Hooks that run.", (uint64_t)json_integer_value(json_object_get(h, "running")));
	one(out, "dray_hooks_waiting_events", "gauge", "Events that wait for a hook.",
		(uint64_t)json_integer_value(json_object_get(h, "waiting")));
	json_decref(h);
}

void api_metrics(struct agent *a, struct api_call *call)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	if (!out) {
		api_problem(call, 500, 1, "failed", "no memory");
		return;
	}
	head(out, "dray_build_info", "gauge", "The version.");
	labelled(out, "dray_build_info", "version", DRAY_VERSION, 1);
	head(out, "dray_start_time_seconds", "gauge", "When the agent was started, in seconds since 1970.");
	fprintf(out, "dray_start_time_seconds %lld\n", (long long)a->started);
	one(out, "dray_iod_up", "gauge", "1 while dray-iod answers the agent.", iod_answers(a));
	one(out, "dray_iod_starts_total", "counter", "How often this agent started dray-iod.", supervisor_starts(a->supervisor));
	states(out, a);
	queue(out, a);
	sessions(out, a);
	blackouts(out, a->metrics);
	volumes(out, a);
	events(out, a->metrics);
	of_hooks(out, a);
	one(out, "dray_event_followers", "gauge", "Streams of events that are open.", api_followers(a->api));
	one(out, "dray_repository_errors_total", "counter", "Operations of the repository that failed.", dray_repo_errors(a->repo));
	fclose(out);
	api_reply_text(call, 200, "text/plain; version=0.0.4; charset=utf-8", text);
}
