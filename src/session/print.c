/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The document as it is shown: what was submitted, in its order, then what the agent knows. Unknown is null.
 */
#include "base/format.h"
#include "base/instant.h"
#include "session/session.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static json_t *text_or_null(const char *s)
{
	json_t *j = s && *s ? json_string(s) : NULL;
	return j ? j : json_null();
}

static json_t *number_or_null(uint64_t n)
{
	return n == DRAY_UNKNOWN ? json_null() : json_integer((json_int_t)n);
}

static json_t *time_or_null(time_t t)
{
	char buf[32];
	return t && *dray_instant_format(t, buf, sizeof buf) ? json_string(buf) : json_null();
}

time_t dray_pair_commit_due(const struct dray_session *s, const struct dray_pair *p)
{
	if (p->state != DRAY_PAIR_SWITCHED || s->commit != DRAY_COMMIT_AFTER || !p->switched_at)
		return 0;
	return p->switched_at + (time_t)(s->commit_after_ns / UINT64_C(1000000000));
}

/* The first of its pairs. */
static time_t commit_due(const struct dray_session *s)
{
	time_t first = 0;
	for (size_t i = 0; i < s->n_pairs; i++) {
		time_t t = dray_pair_commit_due(s, &s->pairs[i]);
		if (t && (!first || t < first))
			first = t;
	}
	return first;
}

static json_t *pause_reasons(unsigned reasons)
{
	static const char *const words[] = { "user", "window", "max_duration", "error" };
	json_t *list = json_array();
	for (unsigned i = 0; i < sizeof words / sizeof words[0]; i++)
		if (reasons & 1U << i)
			json_array_append_new(list, json_string(words[i]));
	return list;
}

static json_t *progress(const struct dray_progress *p)
{
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "bytes_total", number_or_null(p->bytes_total), "bytes_done",
		number_or_null(p->bytes_done), "bytes_copied", number_or_null(p->bytes_copied), "bytes_skipped",
		number_or_null(p->bytes_skipped), "bytes_recopied", number_or_null(p->bytes_recopied), "rate",
		number_or_null(p->rate), "eta_seconds", number_or_null(p->eta_seconds), "dirty_rate", number_or_null(p->dirty_rate));
}

static void add(uint64_t *sum, uint64_t n)
{
	*sum = *sum == DRAY_UNKNOWN || n == DRAY_UNKNOWN ? DRAY_UNKNOWN : *sum + n;
}

/* Of all pairs together. A total is known once each pair's is; a rate counts the pairs that have one; the session is done
 * when its last pair is. */
static struct dray_progress session_progress(const struct dray_session *s)
{
	struct dray_progress sum = { 0 };
	bool unknown_eta = false, any_rate = false, any_eta = false, any_dirty_rate = false;
	for (size_t i = 0; i < s->n_pairs; i++) {
		const struct dray_pair *pair = &s->pairs[i];
		const struct dray_progress *p = &pair->progress;
		bool over = pair->state == DRAY_PAIR_CANCELED || pair->state == DRAY_PAIR_FAILED;
		bool waits = pair->state == DRAY_PAIR_SCHEDULED || pair->state == DRAY_PAIR_QUEUED ||
			pair->state == DRAY_PAIR_STARTING || pair->state == DRAY_PAIR_COPYING ||
			pair->state == DRAY_PAIR_PAUSED;
		add(&sum.bytes_total, p->bytes_total);
		add(&sum.bytes_done, waits && p->bytes_done == DRAY_UNKNOWN ? 0 : p->bytes_done);
		add(&sum.bytes_copied, p->bytes_copied == DRAY_UNKNOWN ? 0 : p->bytes_copied);
		add(&sum.bytes_skipped, p->bytes_skipped == DRAY_UNKNOWN ? 0 : p->bytes_skipped);
		add(&sum.bytes_recopied, p->bytes_recopied == DRAY_UNKNOWN ? 0 : p->bytes_recopied);
		if (p->rate != DRAY_UNKNOWN) {
			sum.rate += p->rate;
			any_rate = true;
		}
		if (p->dirty_rate != DRAY_UNKNOWN) {
			sum.dirty_rate += p->dirty_rate;
			any_dirty_rate = true;
		}
		if (over)
			continue;
		if (p->eta_seconds != DRAY_UNKNOWN) {
			any_eta = true;
			if (p->eta_seconds > sum.eta_seconds)
				sum.eta_seconds = p->eta_seconds;
		} else if (waits) {
			unknown_eta = true;
		}
	}
	if (!any_rate)
		sum.rate = DRAY_UNKNOWN;
	if (!any_dirty_rate)
		sum.dirty_rate = DRAY_UNKNOWN;
	/* Pairs that wait for others: what is left, at the rate of now. */
	bool left = sum.bytes_total != DRAY_UNKNOWN && sum.bytes_done != DRAY_UNKNOWN && sum.bytes_total > sum.bytes_done;
	if (unknown_eta && left && any_rate && sum.rate) {
		uint64_t seconds = (sum.bytes_total - sum.bytes_done + sum.rate - 1) / sum.rate;
		sum.eta_seconds = any_eta && sum.eta_seconds > seconds ? sum.eta_seconds : seconds;
	} else if (unknown_eta || !any_eta) {
		sum.eta_seconds = DRAY_UNKNOWN;
	}
	return sum;
}

static json_t *target(const struct dray_target *t)
{
	json_t *j = json_pack("{s:s}", "resource", t->at.resource);
	if (t->at.slice) {
		json_object_set_new(j, "offset", json_integer((json_int_t)t->at.offset));
		if (t->at.length) /* else: to the end */
			json_object_set_new(j, "length", json_integer((json_int_t)t->at.length));
	}
	json_object_set_new(j, "role", json_string(t->copy_role ? "copy" : "successor"));
	json_object_set_new(j, "state", text_or_null(t->state));
	json_object_set_new(j, "dirty_bytes", number_or_null(t->dirty_bytes));
	if (t->error)
		json_object_set_new(j, "error", text_or_null(t->error));
	return j;
}

static void add_pair_output(json_t *doc, const struct dray_session *s, const struct dray_pair *p)
{
	char id[16];
	snprintf(id, sizeof id, "%u", p->id);
	json_object_set_new(doc, "id", json_string(id));
	json_object_set_new(doc, "state", json_string(dray_state_word(p->state)));
	/* The session's reasons hold its pairs, too. */
	if (p->state == DRAY_PAIR_PAUSED || p->pause_reasons)
		json_object_set_new(doc, "pause_reasons", pause_reasons(p->pause_reasons | s->pause_reasons));
	json_object_set_new(doc, "reason", text_or_null(p->reason));
	if (p->phase && *p->phase)
		json_object_set_new(doc, "phase", text_or_null(p->phase));
	if (p->vehicle_chosen)
		json_object_set_new(doc, "vehicle", text_or_null(p->vehicle_chosen));
	else if (!json_object_get(doc, "vehicle"))
		json_object_set_new(doc, "vehicle", text_or_null(p->vehicle));
	json_object_set_new(doc, "progress", progress(&p->progress));
	json_object_set_new(doc, "dirty_bytes", number_or_null(p->dirty_bytes));
	json_object_set_new(doc, "blackout_us", number_or_null(p->blackout_us));
	json_object_set_new(doc, "predicted_blackout_us", number_or_null(p->predicted_blackout_us));
	if (json_array_size(p->bad_ranges)) {
		json_object_set_new(doc, "bad_bytes", number_or_null(p->bad_bytes));
		json_object_set_new(doc, "bad_ranges", json_deep_copy(p->bad_ranges));
	}
	json_object_set_new(doc, "verified", text_or_null(p->verified));
	if (p->undo_lost)
		json_object_set_new(doc, "undo_lost", json_deep_copy(p->undo_lost));
	if (p->verification)
		json_object_set_new(doc, "verification", json_deep_copy(p->verification));
	json_t *retired = dray_retired_json(&p->retired);
	if (retired)
		json_object_set_new(doc, "retired", retired);
	if (dray_pair_commit_due(s, p))
		json_object_set_new(doc, "commit_due", time_or_null(dray_pair_commit_due(s, p)));
	json_t *targets = json_array();
	for (size_t i = 0; i < p->n_targets; i++)
		json_array_append_new(targets, target(&p->targets[i]));
	json_object_set_new(doc, "targets", targets);
}

json_t *dray_session_to_json(const struct dray_session *session, bool details)
{
	struct dray_progress sum = session_progress(session);
	/* Of thousands of pairs that are not shown no copy is made. */
	json_t *doc = json_copy(session->doc);
	if (!doc || (!details && json_object_get(doc, "pairs") && json_object_del(doc, "pairs")))
		abort();
	json_t *shown = json_deep_copy(doc);
	json_decref(doc);
	if (!(doc = shown))
		abort();
	if (*session->id)
		json_object_set_new(doc, "id", json_string(session->id));
	json_object_set_new(doc, "state", json_string(dray_state_word((enum dray_pair_state)session->state)));
	if (session->state == DRAY_SESSION_PAUSED)
		json_object_set_new(doc, "pause_reasons", pause_reasons(session->pause_reasons));
	json_object_set_new(doc, "created", time_or_null(session->created));
	json_object_set_new(doc, "started", time_or_null(session->started));
	json_object_set_new(doc, "finished", time_or_null(session->finished));
	json_object_set_new(doc, "reason", text_or_null(session->reason));
	if (commit_due(session))
		json_object_set_new(doc, "commit_due", time_or_null(commit_due(session)));
	json_object_set_new(doc, "progress", progress(&sum));
	if (session->start == DRAY_START_EVERY)
		json_object_set_new(doc, "generations", dray_generations_json(&session->generations));
	if (session->warnings)
		json_object_set_new(doc, "warnings", json_deep_copy(session->warnings));
	if (!details)
		return doc;
	json_t *pairs = json_object_get(doc, "pairs");
	for (size_t i = 0; i < session->n_pairs; i++)
		add_pair_output(json_array_get(pairs, i), session, &session->pairs[i]);
	return doc;
}

bool dray_session_warn(struct dray_session *s, const char *pointer, const char *code, const char *detail_fmt, ...)
{
	char *detail;
	va_list ap;
	va_start(ap, detail_fmt);
	detail = dray_vformat(detail_fmt, ap);
	va_end(ap);
	json_t *warning = json_pack("{s:s, s:s, s:s}", "pointer", pointer, "code", code, "detail", detail), *other;
	free(detail);
	if (!warning) /* a name that is not UTF-8 */
		return false;
	size_t i;
	json_array_foreach (s->warnings, i, other)
		if (json_equal(other, warning)) {
			json_decref(warning);
			return false;
		}
	if (!s->warnings)
		s->warnings = json_array();
	json_array_append_new(s->warnings, warning);
	return true;
}

char *dray_session_to_yaml(const struct dray_session *session)
{
	json_t *doc = dray_session_to_json(session, true);
	char *text = dray_yaml_from_json(doc);
	json_decref(doc);
	return text;
}
