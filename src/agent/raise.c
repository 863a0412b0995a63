/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Named events: something outside of dray happened, and sessions that wait for it begin, or are switched. Nothing is kept of an event that nobody
 * waits for: it is for the sessions that are there when it comes.
 */
#include "agent/agent.h"

#include "agent/api.h"

#include <string.h>

/* One telling is for one thing: where the switch waits for an event of the same name, it waits for the next one. */
static bool start_waits_for(const struct job *job, const char *name)
{
	const struct dray_session *s = job->s;
	return job_live(job) && !s->started && s->start == DRAY_START_EVENT && !s->start_event_seen && !strcmp(s->start_event, name);
}

static bool switch_waits_for(const struct job *job, const char *name)
{
	const struct dray_session *s = job->s;
	return job_live(job) && job_when(job) == DRAY_WHEN_EVENT && !s->event_seen && !strcmp(s->when_event, name);
}

void raise_call(struct agent *a, struct api_call *call)
{
	const char *name = json_string_value(json_object_get(call->body, "name"));
	if (!name || json_object_size(call->body) != 1) {
		api_problem(call, 400, 2, "syntax", "an object with the name of an event is expected: {\"name\": NAME}");
		return;
	}
	if (!dray_event_name_good(name)) {
		dray_problems_add(&call->problems, "/name", 0, "bad_value", name, DRAY_EVENT_LEGAL,
			"this can't be the name of an event");
		api_problems(call, &call->problems);
		return;
	}
	agent_event(a, call->actor, "event", "%s", name);
	json_t *sessions = json_array();
	dray_list_for_each (n, &a->jobs) {
		struct job *job = dray_container(n, struct job, node);
		struct change c;
		bool start = start_waits_for(job, name);
		if (!start && !switch_waits_for(job, name))
			continue;
		change_begin(&c, a, job, call->actor);
		if (start) {
			job->s->start_event_seen = true;
			job->s->scheduled_at = wall_now();
		} else {
			job->s->event_seen = true;
		}
		change_event(&c, 0, "event", NULL, NULL, "%s", name);
		if (change_end(&c)) {
			json_decref(sessions);
			api_problem(call, 500, 1, "repository", "event %s for session %s: %s; tell it again", name, job->s->name,
				c.err.text);
			return;
		}
		json_array_append_new(sessions, json_string(job->s->id));
	}
	api_reply(call, 200, json_pack("{s:s, s:o}", "name", name, "sessions", sessions));
}
