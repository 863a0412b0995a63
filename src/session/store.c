/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A session as the repository keeps it: {version, doc, state, pairs}. The settings are not saved beside the document:
 * they are read from it again, so the two can't differ. Unknown numbers are left out.
 *
 * A session may have ten thousand pairs, and most changes concern one of them. So it comes apart: the head is the same without
 * `pairs` and with an empty list of pairs in `doc` (at its place among the keys), and a pair is {doc, state, ...} with what the
 * document says of it. Both forms are read; whole ones are what the first version of the repository has.
 */
#include "session/session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define VERSION 1

static void put_number(json_t *o, const char *key, uint64_t n)
{
	if (n != DRAY_UNKNOWN)
		json_object_set_new(o, key, json_integer((json_int_t)n));
}

static uint64_t get_number(const json_t *o, const char *key)
{
	json_t *v = json_object_get(o, key);
	return json_is_integer(v) ? (uint64_t)json_integer_value(v) : DRAY_UNKNOWN;
}

static uint64_t get_number_or(const json_t *o, const char *key, uint64_t other)
{
	uint64_t n = get_number(o, key);
	return n == DRAY_UNKNOWN ? other : n;
}

static void put_text(json_t *o, const char *key, const char *s)
{
	if (s)
		json_object_set_new(o, key, json_string(s));
}

/* A copy, or NULL. */
static char *get_text(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));
	return s ? strdup(s) : NULL;
}

static json_t *save_target(const struct dray_target *t)
{
	json_t *o = json_object();
	json_object_set_new(o, "leg", json_integer(t->iod_leg));
	put_text(o, "identity", t->identity);
	put_text(o, "made", t->made);
	put_text(o, "state", t->state);
	put_text(o, "error", t->error);
	put_number(o, "dirty_bytes", t->dirty_bytes);
	json_object_set_new(o, "copy_role", json_boolean(t->copy_role));
	return o;
}

static void load_target(const json_t *o, struct dray_target *t)
{
	t->iod_leg = json_is_integer(json_object_get(o, "leg")) ? (int)json_integer_value(json_object_get(o, "leg")) : -1;
	t->identity = get_text(o, "identity");
	t->made = get_text(o, "made");
	t->error = get_text(o, "error");
	t->dirty_bytes = get_number(o, "dirty_bytes");
	t->copy_role = json_is_true(json_object_get(o, "copy_role"));
	const char *state = json_string_value(json_object_get(o, "state"));
	if (state && strlen(state) < sizeof t->state)
		memcpy(t->state, state, strlen(state) + 1);
}

static json_t *save_pair(const struct dray_pair *p)
{
	json_t *o = json_object(), *targets = json_array();
	put_text(o, "state", dray_state_word(p->state));
	put_number(o, "pause_reasons", p->pause_reasons);
	put_text(o, "reason", p->reason);
	put_text(o, "phase", p->phase);
	put_text(o, "vehicle_chosen", p->vehicle_chosen);
	put_number(o, "bytes_total", p->progress.bytes_total);
	put_number(o, "bytes_done", p->progress.bytes_done);
	put_number(o, "bytes_copied", p->progress.bytes_copied);
	put_number(o, "bytes_skipped", p->progress.bytes_skipped);
	put_number(o, "bytes_recopied", p->progress.bytes_recopied);
	put_number(o, "rate", p->progress.rate);
	put_number(o, "eta_seconds", p->progress.eta_seconds);
	put_number(o, "dirty_rate", p->progress.dirty_rate);
	put_number(o, "dirty_bytes", p->dirty_bytes);
	put_number(o, "blackout_us", p->blackout_us);
	put_number(o, "predicted_blackout_us", p->predicted_blackout_us);
	put_number(o, "bad_bytes", p->bad_bytes);
	put_number(o, "accept_bad_bytes", p->accept_bad_bytes);
	json_object_set_new(o, "switch_forced", json_boolean(p->switch_forced));
	if (p->undo_lost)
		json_object_set_new(o, "undo_lost", json_deep_copy(p->undo_lost));
	if (p->bad_ranges)
		json_object_set(o, "bad_ranges", p->bad_ranges);
	put_text(o, "verified", p->verified);
	if (p->verification)
		json_object_set_new(o, "verification", json_deep_copy(p->verification));
	put_text(o, "iod_volume", p->iod_volume);
	put_number(o, "epoch_before", p->epoch_before);
	put_text(o, "switch_token", p->switch_token);
	put_text(o, "source_identity", p->source_identity);
	put_text(o, "source_place", p->source_place);
	put_text(o, "target_place", p->target_place);
	if (p->holds)
		json_object_set(o, "holds", p->holds);
	json_object_set_new(o, "reverse_leg", json_integer(p->reverse_leg));
	json_t *retired = dray_retired_save(p);
	if (retired)
		json_object_set_new(o, "retired", retired);
	put_number(o, "switch_attempts", p->switch_attempts);
	put_number(o, "switched_at", (uint64_t)p->switched_at);
	for (size_t i = 0; i < p->n_targets; i++)
		json_array_append_new(targets, save_target(&p->targets[i]));
	json_object_set_new(o, "targets", targets);
	return o;
}

static int load_pair(const json_t *o, struct dray_pair *p)
{
	const char *word = json_string_value(json_object_get(o, "state"));
	const json_t *targets = json_object_get(o, "targets");
	int state = word ? dray_state_from_word(word) : -1;
	if (state < 0 || json_array_size(targets) != p->n_targets)
		return -EINVAL;
	p->state = (enum dray_pair_state)state;
	p->pause_reasons = (unsigned)get_number_or(o, "pause_reasons", 0);
	p->reason = get_text(o, "reason");
	p->phase = get_text(o, "phase");
	p->vehicle_chosen = get_text(o, "vehicle_chosen");
	p->progress.bytes_total = get_number(o, "bytes_total");
	p->progress.bytes_done = get_number(o, "bytes_done");
	p->progress.bytes_copied = get_number(o, "bytes_copied");
	p->progress.bytes_skipped = get_number(o, "bytes_skipped");
	p->progress.bytes_recopied = get_number(o, "bytes_recopied");
	p->progress.rate = get_number(o, "rate");
	p->progress.eta_seconds = get_number(o, "eta_seconds");
	p->progress.dirty_rate = get_number(o, "dirty_rate");
	p->dirty_bytes = get_number(o, "dirty_bytes");
	p->blackout_us = get_number(o, "blackout_us");
	p->predicted_blackout_us = get_number(o, "predicted_blackout_us");
	p->bad_bytes = get_number(o, "bad_bytes");
	p->switch_forced = json_is_true(json_object_get(o, "switch_forced"));
	p->undo_lost = json_deep_copy(json_object_get(o, "undo_lost"));
	p->accept_bad_bytes = get_number_or(o, "accept_bad_bytes", 0);
	p->bad_ranges = json_deep_copy(json_object_get(o, "bad_ranges"));
	p->verified = get_text(o, "verified");
	p->verification = json_deep_copy(json_object_get(o, "verification"));
	p->iod_volume = get_text(o, "iod_volume");
	p->epoch_before = get_number_or(o, "epoch_before", 0);
	p->switch_token = get_text(o, "switch_token");
	p->source_identity = get_text(o, "source_identity");
	p->source_place = get_text(o, "source_place");
	p->target_place = get_text(o, "target_place");
	p->holds = json_deep_copy(json_object_get(o, "holds"));
	json_t *reverse = json_object_get(o, "reverse_leg");
	p->reverse_leg = json_is_integer(reverse) ? (int)json_integer_value(reverse) : -1;
	dray_retired_load(json_object_get(o, "retired"), p);
	p->switch_attempts = (unsigned)get_number_or(o, "switch_attempts", 0);
	p->switched_at = (time_t)get_number_or(o, "switched_at", 0);
	for (size_t i = 0; i < p->n_targets; i++)
		load_target(json_array_get(targets, i), &p->targets[i]);
	return 0;
}

json_t *dray_pair_save(const struct dray_session *s, size_t i)
{
	json_t *o = save_pair(&s->pairs[i]), *doc = json_array_get(json_object_get(s->doc, "pairs"), i);
	json_object_set_new(o, "doc", doc ? json_deep_copy(doc) : json_null());
	return o;
}

/* With `doc`, which is taken over. */
static json_t *save_head(const struct dray_session *s, json_t *doc)
{
	json_t *o = json_object();
	if (!o || !doc)
		abort();
	json_object_set_new(o, "version", json_integer(VERSION));
	json_object_set_new(o, "doc", doc);
	put_text(o, "id", s->id);
	put_text(o, "state", dray_state_word((enum dray_pair_state)s->state));
	json_object_set_new(o, "held_by_undo", json_boolean(s->held_by_undo));
	json_object_set_new(o, "event_seen", json_boolean(s->event_seen));
	json_object_set_new(o, "start_event_seen", json_boolean(s->start_event_seen));
	json_t *generations = dray_generations_save(&s->generations);
	if (generations)
		json_object_set_new(o, "generations", generations);
	put_number(o, "start_at", (uint64_t)s->start_at);
	put_number(o, "scheduled_at", (uint64_t)s->scheduled_at);
	put_number(o, "ran_ms", s->ran_ms);
	put_number(o, "run_since_ms", (uint64_t)s->run_since_ms);
	put_number(o, "created", (uint64_t)s->created);
	put_number(o, "started", (uint64_t)s->started);
	put_number(o, "finished", (uint64_t)s->finished);
	put_number(o, "pause_reasons", s->pause_reasons);
	put_text(o, "reason", s->reason);
	put_text(o, "boot_id", s->boot_id);
	if (s->warnings)
		json_object_set_new(o, "warnings", json_deep_copy(s->warnings));
	put_number(o, "seq", s->seq);
	return o;
}

json_t *dray_session_save_head(const struct dray_session *s)
{
	json_t *doc = json_copy(s->doc);
	if (json_object_get(doc, "pairs"))
		json_object_set_new(doc, "pairs", json_array());
	return save_head(s, doc);
}

json_t *dray_session_save(const struct dray_session *s)
{
	json_t *o = save_head(s, json_deep_copy(s->doc)), *pairs = json_array();
	for (size_t i = 0; i < s->n_pairs; i++)
		json_array_append_new(pairs, save_pair(&s->pairs[i]));
	json_object_set_new(o, "pairs", pairs);
	return o;
}

int dray_session_load(const json_t *o, struct dray_session **session)
{
	return dray_session_load_parts(o, json_object_get(o, "pairs"), session);
}

/* The document, whole again. New reference. */
static json_t *whole_doc(const json_t *head, const json_t *pairs)
{
	size_t i;
	json_t *pair, *doc = json_copy(json_object_get(head, "doc"));
	if (!json_is_object(json_object_get(json_array_get(pairs, 0), "doc")))
		return doc; /* it was saved whole */
	json_t *list = json_array();
	json_array_foreach (pairs, i, pair)
		json_array_append(list, json_object_get(pair, "doc"));
	json_object_set_new(doc, "pairs", list);
	return doc;
}

int dray_session_load_parts(const json_t *o, const json_t *pairs, struct dray_session **session)
{
	struct dray_problems problems = DRAY_PROBLEMS_INIT;
	const char *word = json_string_value(json_object_get(o, "state"));
	int state = word ? dray_state_from_word(word) : -1;
	*session = NULL;
	if (get_number(o, "version") != VERSION || state < 0)
		return -EINVAL;
	struct dray_session *s = NULL;
	json_t *doc = whole_doc(o, pairs);
	int rc = dray_session_from_json(doc, false, &s, &problems);
	json_decref(doc);
	dray_problems_free(&problems);
	if (rc) {
		dray_session_free(s);
		return rc;
	}
	char *id = get_text(o, "id");
	if (id) {
		free(s->id);
		s->id = id;
	}
	s->state = (enum dray_session_state)state;
	s->held_by_undo = json_is_true(json_object_get(o, "held_by_undo"));
	s->event_seen = json_is_true(json_object_get(o, "event_seen"));
	s->start_event_seen = json_is_true(json_object_get(o, "start_event_seen"));
	dray_generations_load(json_object_get(o, "generations"), &s->generations);
	s->start_at = (time_t)get_number_or(o, "start_at", 0);
	s->scheduled_at = (time_t)get_number_or(o, "scheduled_at", 0);
	s->ran_ms = get_number_or(o, "ran_ms", 0);
	s->run_since_ms = (int64_t)get_number_or(o, "run_since_ms", 0);
	s->created = (time_t)get_number_or(o, "created", 0);
	s->started = (time_t)get_number_or(o, "started", 0);
	s->finished = (time_t)get_number_or(o, "finished", 0);
	s->pause_reasons = (unsigned)get_number_or(o, "pause_reasons", 0);
	s->reason = get_text(o, "reason");
	s->boot_id = get_text(o, "boot_id");
	s->warnings = json_deep_copy(json_object_get(o, "warnings"));
	s->seq = get_number_or(o, "seq", 0);
	rc = json_array_size(pairs) == s->n_pairs ? 0 : -EINVAL;
	for (size_t i = 0; !rc && i < s->n_pairs; i++)
		rc = load_pair(json_array_get(pairs, i), &s->pairs[i]);
	if (rc) {
		dray_session_free(s);
		return rc;
	}
	*session = s;
	return 0;
}
