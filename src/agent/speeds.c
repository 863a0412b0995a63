/* SPDX-License-Identifier: BSD-3-Clause */
#include "agent/speeds.h"

#include "agent/clock.h"
#include "agent/places.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define META       "speeds"
#define META_FIXED "fixed"
#define KEPT       256
#define FIXED_KEPT 64
#define KEPT_FOR   (400 * 86400)
#define TEXT_MOST  (512u << 10)
#define EVERY      (5 * SECOND)
#define NS_LEAST   SECOND                /* a shorter one says more of how often it was looked at */
#define BYTES_LEAST (UINT64_C(8) << 20)
#define BYTES_TINY  (UINT64_C(1) << 20)  /* of what has no more than that the bytes take no time that counts */

struct speed_place {
	uint64_t copied; /* pairs that are */
	char name[];
};

static const char *word(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));
	return s ? s : "";
}

/* Its rate is not left to it. */
static bool limited(const struct pair_run *run)
{
	return run->push.valid && run->push.last.rate != DRAY_UNKNOWN;
}

static json_t *load(struct agent *a, const char *key, char *text)
{
	struct dray_error err;
	json_t *list = dray_repo_meta_get(a->repo, key, text, TEXT_MOST, &err) ? NULL : json_loads(text, 0, NULL);
	if (json_is_array(list))
		return list;
	json_decref(list);
	return json_array();
}

void speeds_load(struct agent *a)
{
	char *text = malloc(TEXT_MOST);
	if (!text)
		abort();
	a->speeds = load(a, META, text);
	a->fixed = load(a, META_FIXED, text);
	free(text);
}

void speeds_free(struct agent *a)
{
	json_decref(a->speeds);
	json_decref(a->fixed);
	a->speeds = a->fixed = NULL;
	dray_table_free(&a->speed_places);
}

/* ---- where a pair lies ---- */

void speeds_places(struct dray_session *s, const struct probe_set *probes)
{
	char place[300];
	for (size_t i = 0; i < s->n_pairs && i < probes->n; i++) {
		struct dray_pair *p = &s->pairs[i];
		probe_place(&probes->pairs[i].source, place, sizeof place);
		set_text(&p->source_place, "%s", place[0] ? place : p->source.resource);
		if (!p->n_targets || !probes->pairs[i].n_targets)
			continue;
		probe_place(&probes->pairs[i].targets[0], place, sizeof place);
		set_text(&p->target_place, place[0] ? "%s" : NULL, place);
	}
}

static void enter(struct pair_run *run)
{
	struct agent *a = run->job->agent;
	const char *name = run_pair(run)->source_place;
	if (run->copied.place || !name)
		return;
	struct speed_place *place = dray_table_get(&a->speed_places, name);
	if (!place) {
		size_t n = strlen(name) + 1;
		place = malloc(sizeof *place + n);
		if (!place)
			abort();
		place->copied = 0;
		memcpy(place->name, name, n);
		dray_table_put(&a->speed_places, name, place);
	}
	place->copied++;
	run->copied.place = place;
}

void speeds_leave(struct pair_run *run)
{
	struct speed_place *place = run->copied.place;
	run->copied.place = NULL;
	if (!place || --place->copied)
		return;
	dray_table_put(&run->job->agent->speed_places, place->name, NULL);
	free(place);
}

/* ---- what it took ---- */

void speeds_begin(struct pair_run *run)
{
	run->copied.began = run->job->agent->now;
	run->copied.active = run->job->agent->places.active;
}

void speeds_look(struct pair_run *run)
{
	const struct dray_pair *p = run_pair(run);
	struct copied *c = &run->copied;
	if (p->state != DRAY_PAIR_COPYING) {
		c->from = 0;
		return;
	}
	enter(run);
	if (!c->from || limited(run)) {
		c->from = run->job->agent->now; /* with a limit it never gets anywhere: that is no speed */
		c->then = p->progress.bytes_copied;
		c->beside = c->looks = 0;
	}
	c->beside += c->place ? c->place->copied : 1;
	c->looks++;
}

static void keep(struct agent *a, json_t *list, size_t most, json_t *one)
{
	json_array_append_new(list, one);
	while (json_array_size(list) > most)
		json_array_remove(list, 0);
	a->speeds_stale = true;
}

/* Of one that had next to nothing to copy: what it took beside those that were active with it, which all took as long. */
static void note_fixed(struct pair_run *run)
{
	struct agent *a = run->job->agent;
	const struct dray_progress *g = &run_pair(run)->progress;
	uint64_t active = a->places.active > run->copied.active ? a->places.active : run->copied.active;
	uint64_t us = run->copied.began ? (a->now - run->copied.began) / 1000 : 0;
	run->copied.began = 0;
	if (us && g->bytes_total != DRAY_UNKNOWN && g->bytes_total <= BYTES_TINY && !limited(run))
		keep(a, a->fixed, FIXED_KEPT, json_integer((json_int_t)(us / (active ? active : 1))));
}

void speeds_note(struct pair_run *run)
{
	struct agent *a = run->job->agent;
	const struct dray_pair *p = run_pair(run);
	struct copied *c = &run->copied;
	const char *source = p->origin.identity ? p->origin.identity : p->source_identity, *target = p->targets[0].identity;
	uint64_t ns = c->from ? a->now - c->from : 0, bytes = p->progress.bytes_copied == DRAY_UNKNOWN ? 0 : p->progress.bytes_copied - c->then;
	bytes /= p->n_targets; /* that of all of them is counted */
	double beside = c->looks ? (double)c->beside / (double)c->looks : 1;
	note_fixed(run);
	c->from = 0;
	if (!target || ns < NS_LEAST || bytes < BYTES_LEAST)
		return;
	keep(a, a->speeds, KEPT, json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:I}", "source", source ? source : "", "target", target, "source_place",
		p->source_place ? p->source_place : "", "target_place", p->target_place ? p->target_place : "", "vehicle",
		p->vehicle_chosen ? p->vehicle_chosen : "", "time", (json_int_t)wall_now(), "rate", (json_int_t)((double)bytes * beside * 1e9 / (double)ns)));
}

/* ---- the record ---- */

static void forget_old(struct agent *a)
{
	json_int_t oldest = (json_int_t)wall_now() - KEPT_FOR;
	while (json_array_size(a->speeds) && json_integer_value(json_object_get(json_array_get(a->speeds, 0), "time")) < oldest)
		json_array_remove(a->speeds, 0);
}

static int put(struct agent *a, const char *key, const json_t *list, struct dray_error *err)
{
	char *text = json_dumps(list, JSON_COMPACT);
	int rc = !text || strlen(text) >= TEXT_MOST ? dray_error_set(err, -ENOSPC, "too many") : dray_repo_meta_set(a->repo, key, text, err);
	free(text);
	return rc;
}

void speeds_step(struct agent *a)
{
	struct dray_error err;
	if (!a->speeds_stale)
		return;
	if (a->now < a->speeds_at) {
		agent_turn_by(a, a->speeds_at);
		return;
	}
	forget_old(a);
	a->speeds_stale = false;
	a->speeds_at = a->now + EVERY;
	int rc = dray_repo_begin(a->repo, &err);
	if (!rc && ((rc = put(a, META, a->speeds, &err)) || (rc = put(a, META_FIXED, a->fixed, &err))))
		dray_repo_rollback(a->repo);
	else if (!rc)
		rc = dray_repo_commit(a->repo, &err);
	if (rc)
		dray_log(DRAY_LOG_WARN, "speeds-lost", "what copies took is not kept: %s", err.text);
}

/* ---- what is known ---- */

json_t *speeds_all(const struct agent *a)
{
	return json_deep_copy(a->speeds);
}

static int by_size(const void *x, const void *y)
{
	uint64_t a = *(const uint64_t *)x, b = *(const uint64_t *)y;
	return a < b ? -1 : a > b;
}

struct speeds_list {
	size_t n;
	struct known {
		const char *source, *target, *source_place, *target_place, *vehicle; /* "": not known */
		uint64_t rate;
	} list[KEPT];
};

struct speeds_list *speeds_list(const json_t *all)
{
	struct speeds_list *l = calloc(1, sizeof *l);
	size_t i;
	json_t *one;
	if (!l)
		abort();
	json_array_foreach (all, i, one) {
		json_int_t rate = json_integer_value(json_object_get(one, "rate"));
		if (l->n < KEPT && rate > 0)
			l->list[l->n++] = (struct known){ word(one, "source"), word(one, "target"), word(one, "source_place"), word(one, "target_place"),
				word(one, "vehicle"), (uint64_t)rate };
	}
	return l;
}

static bool same(const char *known, const char *value)
{
	return value && value[0] && !strcmp(known, value);
}

static bool alike(const struct known *k, enum speeds_basis by, const struct dray_pair *p)
{
	const char *source = p->origin.identity ? p->origin.identity : p->source_identity, *target = p->n_targets ? p->targets[0].identity : NULL;
	switch (by) {
	case SPEEDS_SAME: return same(k->source, source) && same(k->target, target);
	case SPEEDS_SAME_TARGET: return same(k->target, target);
	default:
		return same(k->source_place, p->source_place) && same(k->target_place, p->target_place) && same(k->vehicle, p->vehicle_chosen);
	}
}

struct speeds_found speeds_find(const struct speeds_list *all, const struct dray_pair *p)
{
	struct speeds_found f = { 0 };
	uint64_t rates[KEPT];
	for (int by = SPEEDS_SAME; by <= SPEEDS_PLACES && !f.n; by++) {
		f.by = (enum speeds_basis)by;
		for (size_t i = 0; i < all->n; i++)
			if (alike(&all->list[i], f.by, p))
				rates[f.n++] = all->list[i].rate;
	}
	if (!f.n)
		return f;
	qsort(rates, f.n, sizeof *rates, by_size);
	/* Once is not always, and the next one may be slower than all before: a third more or less, or, of one or two, half as much again. */
	f.mid = f.n % 2 ? rates[f.n / 2] : rates[f.n / 2 - 1] / 2 + rates[f.n / 2] / 2;
	f.low = f.n > 2 ? rates[0] / 4 * 3 : rates[0] / 3 * 2;
	f.high = f.n > 2 ? rates[f.n - 1] / 3 * 4 : rates[f.n - 1] / 2 * 3;
	return f;
}

/* What it takes without any history: some writes that must be durable, each of a few milliseconds. */
struct speeds_fixed speeds_fixed(const struct agent *a)
{
	struct speeds_fixed f = { .low = 0.002, .mid = 0.012, .high = 0.1 };
	uint64_t us[FIXED_KEPT];
	size_t n = 0, i;
	json_t *one;
	json_array_foreach (a->fixed, i, one)
		if (n < FIXED_KEPT && json_integer_value(one) > 0)
			us[n++] = (uint64_t)json_integer_value(one);
	if (n < 4)
		return f;
	qsort(us, n, sizeof *us, by_size);
	f.n = n;
	f.mid = (double)us[n / 2] / 1e6;
	f.low = (double)us[n / 10] / 2e6;
	f.high = (double)us[n - 1 - n / 10] * 1.5 / 1e6;
	return f;
}
