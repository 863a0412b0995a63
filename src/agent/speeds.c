/* SPDX-License-Identifier: BSD-3-Clause */
#include "agent/speeds.h"

#include "agent/clock.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define META       "speeds"
#define KEPT       256
#define KEPT_FOR   (400 * 86400)
#define TEXT_MOST  (512u << 10)
#define EVERY      (5 * SECOND)
#define NS_LEAST   SECOND                /* a shorter one says more of how often it was looked at */
#define BYTES_LEAST (UINT64_C(8) << 20)

static const char *word(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));
	return s ? s : "";
}

void speeds_load(struct agent *a)
{
	struct dray_error err;
	char *text = malloc(TEXT_MOST);
	if (!text)
		abort();
	int rc = dray_repo_meta_get(a->repo, META, text, TEXT_MOST, &err);
	a->speeds = rc ? NULL : json_loads(text, 0, NULL);
	free(text);
	if (!json_is_array(a->speeds)) {
		json_decref(a->speeds);
		a->speeds = json_array();
	}
}

void speeds_free(struct agent *a)
{
	json_decref(a->speeds);
	a->speeds = NULL;
}

void speeds_look(struct pair_run *run)
{
	const struct dray_pair *p = run_pair(run);
	if (p->state != DRAY_PAIR_COPYING) {
		run->copied_from = 0;
	} else if (!run->copied_from || (run->push.valid && run->push.last.rate != DRAY_UNKNOWN)) {
		run->copied_from = run->job->agent->now; /* with a limit it never gets anywhere: that is no speed */
		run->copied_then = p->progress.bytes_copied;
	}
}

void speeds_note(struct pair_run *run)
{
	struct agent *a = run->job->agent;
	const struct dray_pair *p = run_pair(run);
	const char *source = p->origin.identity ? p->origin.identity : p->source_identity, *target = p->targets[0].identity;
	uint64_t ns = run->copied_from ? a->now - run->copied_from : 0;
	uint64_t bytes = p->progress.bytes_copied == DRAY_UNKNOWN ? 0 : p->progress.bytes_copied - run->copied_then;
	run->copied_from = 0;
	if (!source || !target || ns < NS_LEAST || bytes < BYTES_LEAST)
		return;
	json_array_append_new(a->speeds, json_pack("{s:s, s:s, s:I, s:I}", "source", source, "target", target, "time", (json_int_t)wall_now(), "rate",
		(json_int_t)((double)bytes * 1e9 / (double)ns)));
	while (json_array_size(a->speeds) > KEPT)
		json_array_remove(a->speeds, 0);
	a->speeds_stale = true;
}

static void forget_old(struct agent *a)
{
	json_int_t oldest = (json_int_t)wall_now() - KEPT_FOR;
	while (json_array_size(a->speeds) && json_integer_value(json_object_get(json_array_get(a->speeds, 0), "time")) < oldest)
		json_array_remove(a->speeds, 0);
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
	char *text = json_dumps(a->speeds, JSON_COMPACT);
	a->speeds_stale = false;
	a->speeds_at = a->now + EVERY;
	int rc = !text || strlen(text) >= TEXT_MOST ? dray_error_set(&err, -ENOSPC, "too many") : dray_repo_begin(a->repo, &err);
	if (!rc && (rc = dray_repo_meta_set(a->repo, META, text, &err)))
		dray_repo_rollback(a->repo);
	else if (!rc)
		rc = dray_repo_commit(a->repo, &err);
	if (rc)
		dray_log(DRAY_LOG_WARN, "speeds-lost", "what copies took is not kept: %s", err.text);
	free(text);
}

json_t *speeds_all(const struct agent *a)
{
	return json_deep_copy(a->speeds);
}

static int by_size(const void *x, const void *y)
{
	uint64_t a = *(const uint64_t *)x, b = *(const uint64_t *)y;
	return a < b ? -1 : a > b;
}

struct speeds_found speeds_find(const json_t *all, const char *source, const char *target)
{
	struct speeds_found f = { 0 };
	uint64_t rates[KEPT];
	size_t i;
	json_t *one;
	for (int target_only = 0; target_only <= 1 && !f.n; target_only++) {
		json_array_foreach (all, i, one) {
			if (f.n == KEPT || !target || strcmp(word(one, "target"), target) || (!target_only && (!source || strcmp(word(one, "source"), source))))
				continue;
			json_int_t rate = json_integer_value(json_object_get(one, "rate"));
			if (rate > 0)
				rates[f.n++] = (uint64_t)rate;
		}
		f.target_only = target_only;
	}
	if (!f.n)
		return f;
	qsort(rates, f.n, sizeof *rates, by_size);
	/* Once is not always. */
	f.mid = rates[(f.n - 1) / 2];
	f.low = f.n > 2 ? rates[0] : rates[0] / 3 * 2;
	f.high = f.n > 2 ? rates[f.n - 1] : rates[f.n - 1] / 2 * 3;
	return f;
}
