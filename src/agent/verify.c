/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Verification: legs compared by dray-iod while applications run.
 *
 * The legs of a pair are compared one after the other: its targets, the successor first; after a switch the old source. What is known of it
 * is the pair's `verification`, a JSON object that is shown and recorded as it is:
 *
 *   {running, sample, repair, bytes_total, bytes_compared, bytes_differing, bytes_repaired, ranges: [{offset, length}],
 *    targets: [{resource, done, bytes_compared, bytes_differing, bytes_repaired, ranges}]}, and bytes_skipped where something could not be
 * compared, because the side in use can't read it.
 *
 * It is recorded when it begins, when a leg is done, and at its end; between these the figures move in memory only. So a restart of the agent
 * goes on with the leg that was being compared (dray-iod did not stop), and a restart of dray-iod begins that leg again. A pause,
 * a switch, an undo and a cancel end one that runs. Where a leg has to catch up, or is opened anew, it begins again from the first leg
 * when all are in sync: whoever asked for it goes on waiting. What it found so far is void then.
 *
 * A pair whose legs differ is not switched, in neither direction, until a verification found them equal or made them so: one of all of them,
 * on all legs. Until then `verified` stays "differs", whatever ends a verification, begins one anew, or looks at less and finds nothing.
 */
#include "agent/verify.h"

#include "agent/call.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SAMPLE_EVERY 64
#define RANGES_MOST 64

/* ---- which legs ---- */

/* Legs are counted as targets are; behind the last target comes the source. */
static size_t leg_count(const struct pair_run *run)
{
	return run->view.n_targets + 1;
}

static const struct dray_leg_view *leg_at(const struct pair_run *run, size_t i)
{
	return i < run->view.n_targets ? &run->view.targets[i] : &run->view.source;
}

static bool concerned(const struct pair_run *run, size_t i)
{
	bool switched = run->view.primary_target >= 0;
	const struct dray_leg_view *leg = leg_at(run, i);
	return leg->found && !leg->primary && !leg->held && switched == (i == run->view.n_targets);
}

static const char *resource_of(struct pair_run *run, size_t i)
{
	const struct dray_pair *p = run_pair(run);
	return i < p->n_targets ? p->targets[i].at.resource : p->source.resource;
}

/* ---- the record ---- */

static json_int_t number(const json_t *o, const char *key)
{
	return json_integer_value(json_object_get(o, key));
}

static bool runs(const struct dray_pair *p)
{
	return json_is_true(json_object_get(p->verification, "running"));
}

/* The leg's entry, made where it is missing. Borrowed. */
static json_t *entry_of(struct pair_run *run, size_t leg)
{
	json_t *list = json_object_get(run_pair(run)->verification, "targets"), *e;
	size_t i;
	const char *resource = resource_of(run, leg);
	json_array_foreach (list, i, e)
		if (number(e, "leg") == (json_int_t)leg)
			return e;
	json_array_append_new(list, json_pack("{s:I, s:s, s:b, s:I, s:I, s:I, s:[]}", "leg", (json_int_t)leg, "resource", resource, "done", 0,
		"bytes_compared", (json_int_t)0, "bytes_differing", (json_int_t)0, "bytes_repaired", (json_int_t)0, "ranges"));
	return json_array_get(list, json_array_size(list) - 1);
}

struct range {
	json_int_t offset, length;
};

static int by_offset(const void *a, const void *b)
{
	const struct range *x = a, *y = b;
	return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* dray-iod tells them as its steps ended: in order, and those that touch as one. */
static json_t *sorted(const json_t *ranges)
{
	struct range list[RANGES_MOST];
	size_t n = 0, i;
	json_t *r, *out = json_array();
	json_array_foreach ((json_t *)ranges, i, r)
		if (n < RANGES_MOST)
			list[n++] = (struct range){ number(r, "offset"), number(r, "length") };
	qsort(list, n, sizeof *list, by_offset);
	for (i = 0; i < n; i++) {
		struct range one = list[i];
		while (i + 1 < n && list[i + 1].offset == one.offset + one.length)
			one.length += list[++i].length;
		json_array_append_new(out, json_pack("{s:I, s:I}", "offset", one.offset, "length", one.length));
	}
	return out;
}

static void set_number(json_t *o, const char *key, uint64_t n)
{
	json_object_set_new(o, key, json_integer((json_int_t)n));
}

/* The pair's figures, from its legs'. */
static void add_up(struct dray_pair *p)
{
	static const char *const keys[] = { "bytes_compared", "bytes_differing", "bytes_repaired" };
	json_t *v = p->verification, *e, *range, *ranges = json_array();
	size_t i, k;
	for (size_t key = 0; key < 3; key++) {
		json_int_t sum = 0;
		json_array_foreach (json_object_get(v, "targets"), i, e)
			sum += number(e, keys[key]);
		json_object_set_new(v, keys[key], json_integer(sum));
	}
	json_int_t skipped = 0;
	json_array_foreach (json_object_get(v, "targets"), i, e)
		skipped += number(e, "bytes_skipped");
	if (skipped)
		json_object_set_new(v, "bytes_skipped", json_integer(skipped));
	json_array_foreach (json_object_get(v, "targets"), i, e)
		json_array_foreach (json_object_get(e, "ranges"), k, range)
			if (json_array_size(ranges) < RANGES_MOST)
				json_array_append(ranges, range);
	json_object_set_new(v, "ranges", ranges);
}

static void note(struct pair_run *run, size_t leg)
{
	const struct dray_leg_view *view = leg_at(run, leg);
	json_t *e = entry_of(run, leg);
	set_number(e, "bytes_compared", view->verify_compared_bytes);
	set_number(e, "bytes_differing", view->verify_differing_bytes);
	set_number(e, "bytes_repaired", view->verify_repaired_bytes);
	if (view->verify_skipped_bytes)
		set_number(e, "bytes_skipped", view->verify_skipped_bytes);
	json_object_set_new(e, "ranges", sorted(view->verify_ranges));
	add_up(run_pair(run));
}

static void set_verification(struct dray_pair *p, json_t *v)
{
	json_decref(p->verification);
	p->verification = v;
}

/* It has its part of what limits allow, as one that is copied has (limits.c). */
static void count_comparing(struct job *job, int n)
{
	struct agent *a = job->agent;
	job->n_comparing += (unsigned)n;
	a->n_comparing += (size_t)n;
	a->needs_changed++;
	dray_list_del(&job->compare_node);
	if (job->n_comparing)
		dray_list_add_tail(&a->comparing, &job->compare_node);
}

static void set_verifying(struct pair_run *run, bool on)
{
	if (run->verifying != on)
		count_comparing(run->job, on ? 1 : -1);
	run->verifying = on;
	set_text(&run_pair(run)->phase, on ? "%s" : NULL, "verifying");
}

/* ---- what others ask ---- */

bool verify_differs(const struct dray_pair *p)
{
	return p->verified && !strcmp(p->verified, "differs");
}

void verify_void(struct dray_pair *p)
{
	if (!verify_differs(p))
		set_text(&p->verified, NULL);
}

void verify_forget(struct pair_run *run)
{
	run->verify_asked = false;
	if (runs(run_pair(run)))
		set_verification(run_pair(run), NULL);
	set_verifying(run, false);
}

void verify_anew(struct pair_run *run)
{
	bool asked = run->verify_asked;
	verify_forget(run);
	run->verify_asked = asked;
}

void verify_stop(struct change *c, struct pair_run *run, const char *by)
{
	if (!run->verify_asked && !run->verifying && !runs(run_pair(run)))
		return;
	change_touch(c, run);
	if (run->verify_asked)
		snprintf(run->verify_ended, sizeof run->verify_ended, "pair %u: ended by %s", run_pair(run)->id, by);
	verify_forget(run);
}

void verify_ask(struct change *c, struct pair_run *run, unsigned sample, bool repair)
{
	struct dray_pair *p = run_pair(run);
	change_touch(c, run);
	bool same = runs(p) && number(p->verification, "sample") == (json_int_t)sample &&
		    json_is_true(json_object_get(p->verification, "repair")) == repair;
	if (!same)
		verify_forget(run);
	run->verify_asked = true;
	run->verify_sample = sample;
	run->verify_repair = repair;
	run->verify_ended[0] = 0;
	run->verify_done = false;
	verify_void(p);
}

bool verify_missing(const struct pair_run *run)
{
	const struct job *job = run->job;
	const struct dray_pair *p = &job->s->pairs[run->index];
	if (job->s->verify == DRAY_VERIFY_NONE)
		return false;
	if (!p->verified || strcmp(p->verified, "clean"))
		return true;
	return job->s->verify == DRAY_VERIFY_FULL && number(p->verification, "sample") > 1;
}

char *verify_where(const struct dray_pair *p, char *buf, size_t size)
{
	size_t i;
	json_t *e;
	snprintf(buf, size, "bytes that differ, and none since then has looked at all of them");
	json_array_foreach (json_object_get(p->verification, "targets"), i, e) {
		json_int_t left = number(e, "bytes_differing") - number(e, "bytes_repaired");
		const json_t *ranges = json_object_get(e, "ranges"), *first = json_array_get(ranges, 0);
		size_t n = json_array_size(ranges);
		if (left <= 0)
			continue;
		snprintf(buf, size, "%lld bytes that differ, in %zu%s place%s, the first at %lld of %s", (long long)left, n,
			n < RANGES_MOST ? "" : " or more", n == 1 ? "" : "s", (long long)number(first, "offset"),
			json_string_value(json_object_get(e, "resource")));
		break;
	}
	return buf;
}

/* ---- step by step ---- */

/* A pause of the session does not hold what is switched. */
static bool wanted(const struct pair_run *run, const struct dray_pair *p)
{
	if (p->state == DRAY_PAIR_SWITCHED)
		return run->verify_asked;
	if (p->state != DRAY_PAIR_SYNCED || pair_pause_wanted(run->job, p))
		return false;
	return run->verify_asked || verify_missing(run);
}

static bool begin(struct pair_run *run)
{
	struct dray_pair *p = run_pair(run);
	const struct dray_session *s = run->job->s;
	unsigned sample = run->verify_asked ? run->verify_sample : s->verify == DRAY_VERIFY_SAMPLE ? SAMPLE_EVERY : 1;
	bool repair = run->verify_asked ? run->verify_repair : s->verify_repair;
	json_int_t legs = 0;
	for (size_t i = 0; i < leg_count(run); i++)
		legs += concerned(run, i);
	struct change c;
	change_begin(&c, run->job->agent, run->job, ACTOR_SELF);
	change_touch(&c, run);
	verify_void(p);
	set_verification(p, json_pack("{s:b, s:i, s:b, s:o, s:I, s:I, s:I, s:[], s:[]}", "running", 1, "sample", (int)sample, "repair", repair,
		"bytes_total", sample > 1 ? json_null() : json_integer(legs * (json_int_t)run->view.size_bytes), "bytes_compared",
		(json_int_t)0, "bytes_differing", (json_int_t)0, "bytes_repaired", (json_int_t)0, "ranges", "targets"));
	return change_end(&c) == 0;
}

static void started(struct pair_run *run, const struct dray_error *err)
{
	if (err)
		set_verifying(run, false); /* begun again after the back-off; a leg that isn't synced shows as copying */
}

/* One that nobody waits for any more. true: a call was made. */
static bool end_stray(struct pair_run *run)
{
	for (size_t i = 0; i < leg_count(run); i++) {
		const struct dray_leg_view *leg = leg_at(run, i);
		if (!leg->found || !leg->verify_running)
			continue;
		run->vehicle->verify_stop(&run->job->agent->rpc, run_pair(run), leg->leg, call_done, call_new(run, NULL));
		return true;
	}
	return false;
}

bool verify_step(struct pair_run *run)
{
	struct dray_pair *p = run_pair(run);
	if (!wanted(run, p)) {
		if (runs(p)) { /* `dray set verify=none` */
			struct change c;
			change_begin(&c, run->job->agent, run->job, ACTOR_SELF);
			verify_stop(&c, run, "what was asked since");
			change_end(&c);
		}
		return end_stray(run);
	}
	if (run->verifying)
		return false;
	bool goes_on = runs(p);
	if (!goes_on && end_stray(run))
		return true;
	for (size_t i = 0; i < leg_count(run); i++) {
		const struct dray_leg_view *leg = leg_at(run, i);
		if (!concerned(run, i))
			continue;
		if (goes_on && json_is_true(json_object_get(entry_of(run, i), "done")))
			continue;
		if (!leg->synced)
			return false; /* a further target catches up: then */
		if (!goes_on && !begin(run))
			return false;
		p = run_pair(run);
		run->verify_leg = i;
		set_verifying(run, true);
		if (leg->verify_running)
			return false; /* it went on without us */
		run->vehicle->verify_start(&run->job->agent->rpc, p, leg->leg, (unsigned)number(p->verification, "sample"),
			json_is_true(json_object_get(p->verification, "repair")), call_done, call_new(run, started));
		return true;
	}
	return false;
}

static bool last_leg(struct pair_run *run, size_t leg)
{
	for (size_t i = leg + 1; i < leg_count(run); i++)
		if (concerned(run, i))
			return false;
	return true;
}

/* All has been looked at that there is. */
static bool of_all(struct pair_run *run)
{
	bool switched = run->view.primary_target >= 0;
	for (size_t i = switched ? run->view.n_targets : 0; i < leg_count(run) - !switched; i++)
		if (!concerned(run, i))
			return false;
	return number(run_pair(run)->verification, "sample") == 1;
}

/* The leg is done. Whether all are is told by the record. */
static void leg_done(struct pair_run *run)
{
	struct dray_pair *p = run_pair(run);
	const struct dray_leg_view *view = leg_at(run, run->verify_leg);
	bool last = last_leg(run, run->verify_leg);
	struct change c;
	change_begin(&c, run->job->agent, run->job, ACTOR_SELF);
	change_touch(&c, run);
	note(run, run->verify_leg);
	json_object_set_new(entry_of(run, run->verify_leg), "done", json_true());
	json_t *v = p->verification;
	bool differs = number(v, "bytes_differing") > number(v, "bytes_repaired") || (verify_differs(p) && !of_all(run));
	if (view->verify_differing_bytes > view->verify_repaired_bytes || last)
		change_event(&c, p->id, view->verify_differing_bytes > view->verify_repaired_bytes ? "verify-failed" : "verified", NULL,
			!last ? NULL : differs ? "differs" : "clean", "%s: %llu bytes compared, %llu differing, %llu repaired",
			resource_of(run, run->verify_leg), (unsigned long long)view->verify_compared_bytes,
			(unsigned long long)view->verify_differing_bytes, (unsigned long long)view->verify_repaired_bytes);
	if (last) {
		json_object_set_new(v, "running", json_false());
		set_text(&p->verified, "%s", differs ? "differs" : "clean");
		run->verify_asked = false;
		run->verify_done = true;
	}
	if (change_end(&c) || !last || !differs)
		return;
	p = run_pair(run);
	char where[200];
	const struct dray_session *s = run->job->s;
	if (p->state == DRAY_PAIR_SYNCED && s->verify != DRAY_VERIFY_NONE)
		pair_fail(run, false,
			"the verification found %s; nothing was switched; `dray set %s verify='{mode: full, repair: true}'` and `dray retry` write them "
			"from the source",
			verify_where(p, where, sizeof where), s->name);
}

void verify_observe(struct pair_run *run)
{
	const struct dray_leg_view *leg = leg_at(run, run->verify_leg);
	if (!run->verifying || !run_settled(run) || !leg->found)
		return;
	if (leg->verify_running) {
		note(run, run->verify_leg);
		return;
	}
	set_verifying(run, false);
	if (!leg->verify_seen)
		return; /* dray-iod was restarted: this leg again */
	/* A range that was written to, a stall or a switch can cut it short: what was not looked at is not verified. */
	bool all = number(run_pair(run)->verification, "sample") > 1 ||
		   leg->verify_compared_bytes + leg->verify_skipped_bytes >= run->view.size_bytes;
	if (!all && leg->verify_differing_bytes == leg->verify_repaired_bytes) {
		run->retry_at = run->job->agent->now + SECOND;
		return;
	}
	leg_done(run);
}

json_t *verify_report(const struct job *job, const bool *pairs)
{
	json_t *list = json_array();
	for (size_t i = 0; i < job->s->n_pairs; i++) {
		const struct dray_pair *p = &job->s->pairs[i];
		char id[16];
		if (!pairs[i] || !p->verification)
			continue;
		json_t *one = json_deep_copy(p->verification);
		snprintf(id, sizeof id, "%u", p->id);
		json_object_set_new(one, "id", json_string(id));
		json_object_del(one, "running");
		json_array_append_new(list, one);
	}
	return json_pack("{s:o}", "pairs", list);
}
