/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `dray set` and `dray apply`: a session is changed while it is there. All of it, or nothing.
 */
#include "agent/agent.h"

#include "agent/advise.h"
#include "agent/api.h"
#include "agent/retire.h"
#include "base/instant.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* All keys on a copy first: either all are set, or none. *retire: what switch.retire would be. */
static bool try_all(struct job *job, struct api_call *call, enum dray_retire_way *retire)
{
	struct dray_session *copy = NULL;
	json_t *saved = dray_session_save(job->s);
	if (!saved || dray_session_load(saved, &copy))
		abort();
	json_decref(saved);
	const char *key;
	json_t *value;
	json_object_foreach (call->body, key, value) {
		char *text = dray_value_text(value);
		dray_session_set(copy, key, text ? text : "", &call->problems);
		free(text);
	}
	/* Each key for itself may be legal, and the document that comes of them not: it could never be read again. */
	struct dray_session *whole = NULL;
	if (!call->problems.n)
		dray_session_from_json(copy->doc, false, &whole, &call->problems);
	dray_session_free(whole);
	*retire = (enum dray_retire_way)copy->retire;
	dray_session_free(copy);
	return !call->problems.n;
}

static void begun_already(const struct job *job, struct api_call *call)
{
	char at[40], *text = dray_value_text(json_object_get(call->body, "start"));
	dray_problems_add(&call->problems, "/start", 0, "not_settable", text, "leave it out", "session %s began at %s: its start can't be changed any more",
		job->s->name, dray_instant_format(job->s->started, at, sizeof at));
	free(text);
}

/* `wanted`: the pairs get their limits from there, too; or NULL. */
static void change_session(struct agent *a, struct job *job, struct api_call *call, struct dray_session *wanted)
{
	enum dray_pair_state state = (enum dray_pair_state)job->s->state;
	if (dray_verb_legal(DRAY_VERB_SET, state) == DRAY_ILLEGAL) {
		api_problem(call, 409, 5, "not_legal", "set is not legal: session %s (%s) is %s; legal now: %s", job->s->name, job->s->id,
			dray_state_word(state), dray_verbs_legal_words(state));
		return;
	}
	enum dray_retire_way retire;
	bool good = try_all(job, call, &retire);
	if (good && json_object_get(call->body, "switch.retire")) {
		if (!retire_may_change(job, call, retire))
			return;
		good = !call->problems.n;
	}
	if (good && json_object_get(call->body, "start") && job->s->started && !job_periodic(job)) {
		begun_already(job, call);
		good = false;
	}
	if (!good) {
		api_problems(call, &call->problems);
		return;
	}
	struct change c;
	change_begin(&c, a, job, call->actor);
	uint64_t every = job->s->every_ns;
	int at = job->s->at;
	const char *key;
	json_t *value;
	json_object_foreach (call->body, key, value) {
		char *text = dray_value_text(value);
		unsigned pair = dray_session_key_pair(key);
		if (pair) {
			change_touch(&c, &job->runs[pair - 1]);
			job->limits_seen = (struct shared_limits){ 0 };
		}
		dray_session_set(job->s, key, text ? text : "", &call->problems);
		bool anew = !strncmp(key, "switch.", 7) && strcmp(key, "switch.retire");
		for (size_t i = 0; anew && i < job->s->n_pairs; i++) {
			if (!job->s->pairs[i].switch_attempts)
				continue;
			change_touch(&c, &job->runs[i]);
			job->s->pairs[i].switch_attempts = 0;
		}
		if (!strcmp(key, "start") && (!job_periodic(job) || every != job->s->every_ns || at != job->s->at))
			schedule_start_anew(job->s);
		if (!strcmp(key, "window"))
			schedule_window_anew(job->s);
		change_event(&c, pair, "set", NULL, NULL, "%s=%s", pair ? strchr(key + strlen("pairs."), '.') + 1 : key, text ? text : "");
		free(text);
	}
	advise_switch(job->s, &c);
	for (size_t i = 0; wanted && i < job->s->n_pairs; i++) {
		if (!dray_session_take_pair_limits(job->s, wanted, i))
			continue;
		change_touch(&c, &job->runs[i]);
		char *text = json_dumps(json_object_get(json_array_get(json_object_get(job->s->doc, "pairs"), i), "limits"), JSON_COMPACT);
		change_event(&c, job->s->pairs[i].id, "set", NULL, NULL, "limits=%s", text ? text : "none");
		free(text);
		job->limits_seen = (struct shared_limits){ 0 };
	}
	if (change_end(&c)) {
		api_problem(call, 500, 1, "repository", "set of session %s: %s", job->s->name, c.err.text);
		return;
	}
	job_wake_pairs(job);
	call->core_note = strdup(job->s->id);
	dray_list_add_tail(&a->parked, &call->node);
}

void set_call(struct agent *a, struct job *job, struct api_call *call)
{
	if (!json_is_object(call->body) || !json_object_size(call->body))
		api_problem(call, 400, 2, "syntax", "an object of keys and values is expected");
	else
		change_session(a, job, call, NULL);
}

/* ---- dray apply ---- */

void apply_call(struct agent *a, struct api_call *call)
{
	struct dray_session *wanted = call->submitted;
	if (!wanted || call->problems.n) {
		api_problems(call, &call->problems);
		return;
	}
	struct job *job = job_find(a, wanted->id[0] ? wanted->id : wanted->name);
	if (!job) {
		api_problem(call, 404, 4, "not_found", "there is no session %s that could be changed: `dray start` makes one",
			wanted->id[0] ? wanted->id : wanted->name);
		return;
	}
	bool pair_limits;
	json_decref(call->body);
	if (dray_session_compare(job->s, wanted, &call->body, &pair_limits, &call->problems)) {
		dray_session_add_lines(wanted, &call->problems);
		api_problems(call, &call->problems);
	} else if (!json_object_size(call->body) && !pair_limits) {
		api_document(call, 200, job, NULL);
	} else {
		change_session(a, job, call, pair_limits ? wanted : NULL);
	}
}
