/* SPDX-License-Identifier: BSD-3-Clause */
#include "agent/plan.h"

#include "base/format.h"
#include "base/instant.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static json_t *id_of(const struct dray_pair *p)
{
	char id[16];
	snprintf(id, sizeof id, "%u", p->id);
	return json_string(id);
}

/* ---- vehicles ---- */

static json_t *vehicles_for(const struct agent *a, const struct job *job, const struct dray_pair *p)
{
	struct dray_vehicle_facts facts = { .online = !pair_offline(p), .iod_ready = iod_ready(a->iod), .n_targets = (unsigned)p->n_targets,
		.mode = job->s->mode, .size_bytes = p->progress.bytes_total == DRAY_UNKNOWN ? 0 : p->progress.bytes_total };
	json_t *list = json_array();
	for (const struct dray_vehicle *const *v = dray_vehicles(); *v; v++) {
		struct dray_vehicle_offer offer;
		(*v)->probe(&facts, &offer);
		bool chosen = p->vehicle_chosen && !strcmp(p->vehicle_chosen, (*v)->name);
		json_array_append_new(list,
			json_pack("{s:s, s:b, s:b, s:i, s:s}", "name", (*v)->name, "possible", offer.possible, "chosen", chosen, "rank",
				(int)offer.rank, "why", offer.why));
	}
	return list;
}

/* ---- order ---- */

/* Fills in `order` and `waits` of the pairs, as the queue would take them now: they stand in it for a moment, behind all of their
 * priority. */
static void put_order(struct agent *a, struct job *job, json_t *pairs)
{
	char why[200];
	bool scheduled = schedule_waits(job, why, sizeof why);
	job_place(job, UINT64_MAX);
	for (size_t i = 0; i < job->s->n_pairs; i++)
		places_pair_set(&a->places, &job->places, i, PLACES_WAITING);
	for (size_t i = 0; i < job->s->n_pairs; i++) {
		json_t *pair = json_array_get(pairs, i);
		bool waits = scheduled || places_reason(&a->places, &job->places, i, why, sizeof why);
		json_object_set_new(pair, "order", json_integer((json_int_t)i + 1));
		json_object_set_new(pair, "waits", waits ? json_string(why) : json_null());
	}
	for (size_t i = 0; i < job->s->n_pairs; i++)
		places_pair_set(&a->places, &job->places, i, PLACES_OUT);
}

/* ---- pairs and locks ---- */

static json_t *target_of(const struct dray_pair *p, size_t t, const struct probe *probe)
{
	const struct dray_target *target = &p->targets[t];
	json_t *o = json_pack("{s:s, s:s}", "resource", target->at.resource, "role", target->copy_role ? "copy" : "successor");
	if (target->at.slice) {
		json_object_set_new(o, "offset", json_integer((json_int_t)target->at.offset));
		if (target->at.length)
			json_object_set_new(o, "length", json_integer((json_int_t)target->at.length));
	}
	const char *overwritten = probe->content.what[0] ? probe->content.what : probe->content.whole;
	json_object_set_new(o, "create", probe->missing ? json_string(p->create == DRAY_CREATE_FULL ? "full" : "thin") : json_null());
	json_object_set_new(o, "overwrites", *overwritten ? json_string(overwritten) : json_null());
	return o;
}

/* ---- the start ---- */

static json_t *start_of(const struct job *job)
{
	char at[40], waits[300];
	time_t due = schedule_due(job);
	bool event = !due && job_count(job, DRAY_PAIR_SCHEDULED);
	const char *when = due || event ? NULL : dray_instant_format(job->s->created, at, sizeof at);
	if (due)
		when = dray_instant_format(due, at, sizeof at);
	return json_pack("{s:s?, s:s?, s:s?}", "at", when, "event", event ? job->s->start_event : NULL, "waits",
		schedule_waits(job, waits, sizeof waits) ? waits : NULL);
}

static json_t *pairs_of(struct agent *a, struct job *job, const struct probe_set *probes)
{
	json_t *list = json_array();
	for (size_t i = 0; i < job->s->n_pairs; i++) {
		const struct dray_pair *p = &job->s->pairs[i];
		json_t *targets = json_array();
		for (size_t t = 0; t < p->n_targets; t++)
			json_array_append_new(targets, target_of(p, t, &probes->pairs[i].targets[t]));
		json_array_append_new(list,
			json_pack("{s:o, s:s, s:b, s:o, s:o, s:s, s:o, s:s?}", "id", id_of(p), "source", p->source.resource, "online",
				!pair_offline(p), "targets", targets, "bytes_total",
				p->progress.bytes_total == DRAY_UNKNOWN ? json_null() : json_integer((json_int_t)p->progress.bytes_total),
				"vehicle", p->vehicle_chosen ? p->vehicle_chosen : "", "vehicles", vehicles_for(a, job, p), "retire", p->retired.plan));
	}
	put_order(a, job, list);
	return list;
}

static json_t *locks_of(const struct lock_list *locks)
{
	json_t *list = json_array();
	for (size_t i = 0; i < locks->n; i++) {
		const struct dray_repo_lock *l = &locks->locks[i];
		if (l->lies_on || lock_is_beside(l))
			continue;
		char identity[700], pair[16];
		if (l->end == DRAY_REPO_END)
			snprintf(identity, sizeof identity, "%s", l->identity);
		else
			snprintf(identity, sizeof identity, "%s+%llu,%llu", l->identity, (unsigned long long)l->start,
				(unsigned long long)(l->end - l->start));
		snprintf(pair, sizeof pair, "%u", l->pair);
		json_array_append_new(list,
			json_pack("{s:s, s:s, s:s, s:s}", "resource", l->resource, "identity", identity, "pair", pair, "role", l->role));
	}
	return list;
}

/* ---- the switch ---- */

static json_t *groups_of(const struct job *job, bool alone)
{
	json_t *groups = json_array(), *all = json_array();
	for (size_t i = 0; i < job->s->n_pairs; i++) {
		const struct dray_pair *p = &job->s->pairs[i];
		if (pair_offline(p))
			continue;
		if (alone)
			json_array_append_new(groups, json_pack("[o]", id_of(p)));
		else
			json_array_append_new(all, id_of(p));
	}
	if (json_array_size(all))
		json_array_append(groups, all);
	json_decref(all);
	return groups;
}

static void step(json_t *steps, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void step(json_t *steps, const char *fmt, ...)
{
	char *text;
	va_list ap;
	va_start(ap, fmt);
	text = dray_vformat(fmt, ap);
	va_end(ap);
	json_array_append_new(steps, json_string(text));
	free(text);
}

/* A member of the document's map `switch` as submitted, or its default. */
static const char *said(const struct dray_session *s, const char *key, const char *otherwise, char *buf, size_t size)
{
	json_t *v = json_object_get(json_object_get(s->doc, "switch"), key);
	if (!v)
		return otherwise;
	if (json_is_string(v))
		return json_string_value(v);
	char *text = dray_value_text(v);
	snprintf(buf, size, "%s", text);
	free(text);
	return buf;
}

static json_t *switch_of(const struct job *job)
{
	const struct dray_session *s = job->s;
	char b1[120], b2[120], b3[120], b4[120];
	bool copy = s->mode == DRAY_MODE_COPY, alone = job_when(job) == DRAY_WHEN_PAIR;
	const char *when = said(s, "when", copy ? "synced" : "manual", b1, sizeof b1), *commit = said(s, "commit", "manual", b2, sizeof b2),
		   *retire = said(s, "retire", "none", b3, sizeof b3), *window = said(s, "window", NULL, b4, sizeof b4);
	json_t *groups = groups_of(job, alone), *steps = json_array();
	size_t online = 0;
	for (size_t i = 0; i < s->n_pairs; i++)
		online += !pair_offline(&s->pairs[i]);
	if (online < s->n_pairs)
		step(steps, "%zu of %zu pairs are not in use: they are completed when they are copied, without a switch", s->n_pairs - online,
			s->n_pairs);
	if (online && !strcmp(when, "manual"))
		step(steps, "nothing is switched by itself: `dray switch %s` does, when all is synced", s->name);
	if (online && s->verify != DRAY_VERIFY_NONE)
		step(steps, "before that source and target are compared; what differs refuses the switch");
	if (online)
		step(steps, "%s: %s%s%s%s, suspended for %llu ms at most; past that all go on where they were", job_periodic(job) ? "at each moment the working images are set aside and cloned" : copy ? "the targets are split off" : "switch",
			online == 1 ? "one volume" : alone ? "each volume alone, when it is ready" : "all volumes at one instant",
			strcmp(when, "manual") && !job_periodic(job) ? ", when: " : "",
			strcmp(when, "manual") && !job_periodic(job) ? when : "", window ? ", in its window" : "",
			(unsigned long long)(s->deadline_ns / 1000000));
	if (online && job_periodic(job))
		step(steps, "a split that fails is tried %u times; then: %s", s->attempts, s->on_failure == DRAY_ON_FAILURE_FAIL ? "fail" : "the next moment");
	else if (online && strcmp(when, "manual"))
		step(steps, "a switch that fails is tried %u times; then: %s", s->attempts, s->on_failure == DRAY_ON_FAILURE_FAIL ? "fail" : "wait for the operator");
	if (online && !copy && s->commit == DRAY_COMMIT_SWITCHED)
		step(steps, "commit: with the switch; there is no way back");
	else if (online && !copy)
		step(steps, "the sources are kept in sync, and `dray undo %s` goes back, until the commit: %s", s->name,
			s->commit == DRAY_COMMIT_AFTER ? "by itself after the time that `commit` names" : "by `dray commit`");
	for (size_t i = 0; i < s->n_pairs; i++)
		if (s->pairs[i].retired.plan)
			step(steps, "pair %u, after its commit: %s", s->pairs[i].id, s->pairs[i].retired.plan);
	if (!strcmp(retire, "none"))
		step(steps, "the sources are left as they are (retire: none)");
	return json_pack("{s:s, s:o, s:b, s:I, s:i, s:s, s:s, s:s, s:o}", "when", when, "groups", groups, "one_instant", !alone && online > 1,
		"deadline_ms", (json_int_t)(s->deadline_ns / 1000000), "attempts", (int)s->attempts, "on_failure",
		s->on_failure == DRAY_ON_FAILURE_FAIL ? "fail" : "wait", "commit", commit, "retire", retire, "steps", steps);
}

json_t *plan_make(struct agent *a, struct job *job, const struct probe_set *probes, const struct lock_list *locks)
{
	return json_pack("{s:o, s:o, s:o, s:o}", "start", start_of(job), "pairs", pairs_of(a, job, probes), "locks", locks_of(locks), "switch", switch_of(job));
}
