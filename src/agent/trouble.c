/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * dray-iod does what can be done at once: it reads elsewhere, tries again, goes around, sets aside. Here it is told, and kept.
 *
 * Events of single moments come from dray-iod's notifications, which say when and why; a lost one is no harm, for what lasts (the
 * list of bad ranges, a target that is degraded, or well again) is read from the list of volumes as everything else. A disk
 * that is dying says the same a hundred times a minute: of that, one event a minute is kept.
 */
#include "agent/trouble.h"

#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SAME_AGAIN (60 * SECOND)

static const char *text(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));
	return s ? s : "";
}

static void __attribute__((format(printf, 3, 4))) tell(struct pair_run *run, const char *event, const char *fmt, ...)
{
	char detail[400];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(detail, sizeof detail, fmt, ap);
	va_end(ap);
	struct change c;
	change_begin(&c, run->job->agent, run->job, ACTOR_SELF);
	change_event(&c, run_pair(run)->id, event, NULL, NULL, "%s", detail);
	change_end(&c);
}

/* Whether it is time to say so again. */
static bool again(const struct agent *a, uint64_t *told_at)
{
	if (*told_at && a->now < *told_at + SAME_AGAIN)
		return false;
	*told_at = a->now;
	return true;
}

static void hint_leg(struct pair_run *run, size_t t, const char *state, const char *error)
{
	struct dray_pair *p = run_pair(run);
	struct leg_trouble *trouble = &run->trouble[t];
	const char *what = t < p->n_targets ? "target" : "source", *name = t < p->n_targets ? p->targets[t].at.resource : p->source.resource;
	char event[32];
	if (!strcmp(state, "degraded")) {
		/* Set aside by a pause --detach: that is no trouble. */
		if (!strcmp(error, "set aside") || pair_pause_wanted(run->job, p))
			return;
		if (!trouble->since)
			*trouble = (struct leg_trouble){ .since = run->job->agent->now, .copied = UINT64_MAX };
		if (t < run->view.n_targets && run->view_valid)
			trouble->copied = run->view.targets[t].copied_bytes;
		snprintf(event, sizeof event, "%s-degraded", what);
		tell(run, event, "%s %s: %s", what, name, error[0] ? error : "set aside");
	} else if (!strcmp(state, "copying") && trouble->since) {
		trouble->retries++;
		snprintf(event, sizeof event, "%s-retried", what);
		tell(run, event, "%s %s: tried again, the %u. time in %.1f s", what, name, trouble->retries,
			(double)(run->job->agent->now - trouble->since) / (double)SECOND);
	}
}

static void hint(struct pair_run *run, const json_t *params)
{
	struct agent *a = run->job->agent;
	struct dray_pair *p = run_pair(run);
	const char *event = text(params, "event"), *error = text(params, "error");
	int leg = (int)json_integer_value(json_object_get(params, "leg"));
	if (!strcmp(event, "source-read") && again(a, &run->source_told_at)) {
		tell(run, "source-read-failed", "source %s: %s; tried again, then block by block", p->source.resource, error);
	} else if (!strcmp(event, "read-elsewhere") && again(a, &run->elsewhere_told_at)) {
		tell(run, "read-elsewhere", "an application's read was served by leg %d: %s", leg, error);
	} else if (!strcmp(event, "primary-lost") || !strcmp(event, "primary-found")) {
		bool source = p->state != DRAY_PAIR_SWITCHED;
		const char *what = source ? "source" : "target", *name = source ? p->source.resource : p->targets[0].at.resource;
		char word[32];
		if (!strcmp(event, "primary-lost")) {
			snprintf(word, sizeof word, "%s-lost", what);
			tell(run, word, "%s", error);
		} else {
			snprintf(word, sizeof word, "%s-found", what);
			tell(run, word, "%s %s: opened again", what, name);
		}
	} else if (!strcmp(event, "leg-state")) {
		for (size_t t = 0; t < p->n_targets && t < RUN_LEGS - 1; t++)
			if (p->targets[t].iod_leg == leg && leg > 0)
				hint_leg(run, t, text(params, "state"), error);
		if (p->state == DRAY_PAIR_SWITCHED && p->reverse_leg == leg && p->n_targets < RUN_LEGS)
			hint_leg(run, p->n_targets, text(params, "state"), error);
	}
}

void trouble_hint(struct agent *a, const json_t *params)
{
	const char *volume = text(params, "volume"), *event = text(params, "event");
	static const char *const words[] = { "source-read", "read-elsewhere", "primary-lost", "primary-found", "leg-state" };
	bool known = false;
	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		known |= !strcmp(event, words[i]);
	if (!known)
		return;
	for (struct pair_run *run = dray_table_get(&a->watchers, volume), *next; run; run = next) {
		next = run->watch_next;
		if (!dray_state_final(run_pair(run)->state) && run_pair(run)->state != DRAY_PAIR_FAILED)
			hint(run, params);
	}
}

static void observe_leg(struct pair_run *run, size_t t, const struct dray_leg_view *leg)
{
	struct dray_pair *p = run_pair(run);
	struct leg_trouble *trouble = &run->trouble[t];
	const char *what = t < p->n_targets ? "target" : "source", *name = t < p->n_targets ? p->targets[t].at.resource : p->source.resource;
	if (!trouble->since)
		return;
	if (!leg->found || leg->held) {
		*trouble = (struct leg_trouble){ 0 };
		return;
	}
	/* A list that was made before the trouble may come after the news of it: that it is over is believed of a list when another one had it, or
	 * when there was news of a retry. */
	trouble->seen |= leg->degraded;
	if (!trouble->seen && !trouble->retries)
		return;
	/* To be tried again is not to be well. */
	if (leg->degraded || (!leg->synced && (trouble->copied == UINT64_MAX || leg->copied_bytes <= trouble->copied)))
		return;
	struct leg_trouble was = *trouble;
	*trouble = (struct leg_trouble){ 0 };
	tell(run, t < p->n_targets ? "target-recovered" : "source-recovered", "%s %s: after %.1f s and %u attempts, with %llu bytes to catch up",
		what, name, (double)(run->job->agent->now - was.since) / (double)SECOND, was.retries, (unsigned long long)leg->dirty_bytes);
}

static void observe_bad(struct pair_run *run)
{
	struct dray_pair *p = run_pair(run);
	const struct dray_pair_view *v = &run->view;
	/* When its legs go, at the end, what was found stays told. */
	if (run->goal != GOAL_NONE || p->state == DRAY_PAIR_SWITCHING || !v->n_targets || !v->targets[0].found ||
		!strcmp(v->targets[0].state, "detached"))
		return;
	if (!v->served || (json_equal(p->bad_ranges, v->bad_ranges) && p->bad_bytes == v->bad_bytes))
		return;
	if (!json_array_size(v->bad_ranges) && !json_array_size(p->bad_ranges)) {
		p->bad_bytes = v->bad_bytes;
		return;
	}
	struct change c;
	uint64_t was = p->bad_bytes == DRAY_UNKNOWN ? 0 : p->bad_bytes;
	change_begin(&c, run->job->agent, run->job, ACTOR_SELF);
	change_touch(&c, run);
	json_t *old = p->bad_ranges;
	p->bad_ranges = json_deep_copy(v->bad_ranges);
	p->bad_bytes = v->bad_bytes;
	char before[32], after[32];
	snprintf(before, sizeof before, "%llu", (unsigned long long)was);
	snprintf(after, sizeof after, "%llu", (unsigned long long)v->bad_bytes);
	const json_t *first = json_array_get(v->bad_ranges, 0);
	if (first)
		change_event(&c, p->id, "bad-ranges", before, after, "%llu bytes in %zu ranges can't be read any more, the first at %lld",
			(unsigned long long)v->bad_bytes, json_array_size(v->bad_ranges),
			(long long)json_integer_value(json_object_get(first, "offset")));
	else
		change_event(&c, p->id, "bad-ranges", before, after, "nothing is bad any more");
	change_end(&c);
	json_decref(old);
}

#define WAITS "the source can't be read"

/* What the copy waits for, if that is its source. */
static void observe_source(struct pair_run *run)
{
	struct dray_pair *p = run_pair(run);
	bool told = p->reason && !strncmp(p->reason, WAITS, sizeof WAITS - 1), waits = run->view.trouble_bytes;
	if (p->state != DRAY_PAIR_COPYING || run->goal != GOAL_NONE || told == waits || (p->reason && !told))
		return;
	struct change c;
	change_begin(&c, run->job->agent, run->job, ACTOR_SELF);
	change_touch(&c, run);
	if (waits)
		set_text(&p->reason, WAITS " in some places: %s; it is tried again there, the rest goes on", run->view.source_error);
	else
		set_text(&p->reason, NULL);
	change_end(&c);
}

void trouble_observe(struct pair_run *run)
{
	observe_source(run);
	size_t n = run->view.n_targets;
	for (size_t t = 0; t < n && t < RUN_LEGS - 1; t++)
		observe_leg(run, t, &run->view.targets[t]);
	if (n < RUN_LEGS && run_pair(run)->state == DRAY_PAIR_SWITCHED)
		observe_leg(run, n, &run->view.source);
	observe_bad(run);
}

/* ---- what a switch would leave behind ---- */

static uint64_t behind(const struct job *job, size_t i, bool split)
{
	const struct dray_pair_view *v = &job->runs[i].view;
	return !job->runs[i].view_valid ? 0 : split ? v->bad_bytes : v->bad_behind_bytes;
}

uint64_t trouble_bad_bytes(const struct job *job, size_t i, bool split)
{
	return job->s->accept_bad_ranges ? 0 : behind(job, i, split);
}

void trouble_bad_text(const struct job *job, size_t i, bool split, char *into, size_t size)
{
	snprintf(into, size,
		"bad ranges: pair %u: %llu bytes can't be read on the source and are zeroes on the target: retry it, or accept that (switch "
		"--accept-bad, or switch.accept_bad_ranges=true)",
		job->s->pairs[i].id, (unsigned long long)behind(job, i, split));
}

bool trouble_may_look_again(const struct job *job, size_t i)
{
	const struct dray_pair *p = &job->s->pairs[i];
	const struct pair_run *run = &job->runs[i];
	return (p->state == DRAY_PAIR_SYNCED || p->state == DRAY_PAIR_COPYING || p->state == DRAY_PAIR_SWITCHED) && run->goal == GOAL_NONE &&
	       run->view_valid && run->view.bad_behind_bytes;
}

static void looked(void *arg, const struct dray_error *err, json_t *result)
{
	struct agent *a = arg;
	if (err)
		dray_log(DRAY_LOG_WARN, "retry-refused", "another look at bad ranges: %s", err->text);
	agent_refresh(a);
}

void trouble_look_again(struct job *job, size_t i)
{
	struct pair_run *run = &job->runs[i];
	const struct dray_pair *p = &job->s->pairs[i];
	bool back = p->state == DRAY_PAIR_SWITCHED;
	run_needs_list(run);
	run->vehicle->retry(&job->agent->rpc, p, back ? p->reverse_leg : p->targets[0].iod_leg, looked, job->agent);
}
