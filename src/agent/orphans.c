/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What dray-iod has and no session on record owns: left where the repository was lost, or a session was given up whose volume could not
 * be trusted. Nothing is done to it by itself: it may be all that is left of somebody's migration.
 *
 * A leg is a session's by its tag, "SESSION/PAIR/TARGET". The old source after a switch has no tag; it belongs to the pair
 * whose target is the primary.
 */
#include "agent/reconcile.h"

#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *text(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));
	return s ? s : "";
}

/* Is the pair of this tag on record, and not over? */
static bool owned(const struct agent *a, const char *tag, char session[80])
{
	unsigned pair = 0;
	session[0] = 0;
	if (sscanf(tag, "%79[^/]/%u", session, &pair) != 2)
		return false;
	struct job *job = job_in_memory(a, session); /* one that is over owns nothing */
	return job && !strcmp(job->s->id, session) && pair >= 1 && pair <= job->s->n_pairs && !dray_state_final(job->s->pairs[pair - 1].state);
}

static const json_t *primary_of(const json_t *volume)
{
	size_t i;
	json_t *leg;
	json_array_foreach (json_object_get(volume, "legs"), i, leg)
		if (!strcmp(text(leg, "state"), "primary") || json_equal(json_object_get(leg, "id"), json_object_get(volume, "primary")))
			return leg;
	return NULL;
}

static void add(json_t *list, const json_t *volume, const json_t *leg, const char *session)
{
	const json_t *resource = json_object_get(leg ? leg : volume, "resource");
	json_array_append_new(list,
		json_pack("{s:O, s:b, s:o, s:o, s:o}", "volume", json_object_get(volume, "name"), "hidden",
			json_is_true(json_object_get(volume, "hidden")), "leg", leg ? json_incref(json_object_get(leg, "id")) : json_null(), "resource",
			resource ? json_incref((json_t *)resource) : json_null(), "session", *session ? json_string(session) : json_null()));
}

static void see_volume(const struct agent *a, const json_t *volume, json_t *list)
{
	char session[80];
	size_t i;
	json_t *leg;
	const char *name = text(volume, "name");
	if (json_is_true(json_object_get(volume, "hidden"))) {
		char tag[300]; /* "SESSION.PAIR" */
		snprintf(tag, sizeof tag, "%s", name);
		char *dot = strrchr(tag, '.');
		if (dot)
			*dot = '/';
		if (!owned(a, tag, session))
			add(list, volume, NULL, session);
		return;
	}
	const json_t *primary = primary_of(volume);
	json_array_foreach (json_object_get(volume, "legs"), i, leg) {
		const char *tag = text(leg, "tag");
		if (leg == primary)
			continue;
		if (!*tag && primary)
			tag = text(primary, "tag");
		if (!owned(a, tag, session))
			add(list, volume, leg, session);
	}
}

json_t *orphans_of(const struct agent *a, const json_t *volume)
{
	json_t *list = json_array();
	see_volume(a, volume, list);
	return list;
}

json_t *orphans(const struct agent *a)
{
	json_t *list = json_array(), *volume;
	const char *name;
	json_object_foreach (a->volumes, name, volume)
		see_volume(a, volume, list);
	return list;
}

/* ---- letting go ---- */

/* "/volumes/NAME/VERB" -> NAME. */
static void name_of(const struct api_call *call, char *name, size_t size)
{
	const char *from = call->path + strlen("/volumes/");
	snprintf(name, size, "%.*s", (int)strcspn(from, "/"), from);
}

static void iod_failed(struct api_call *call, const struct dray_error *err)
{
	if (err->code == -ENOTCONN || err->code == -ECANCELED)
		api_problem(call, 502, 1, "iod_unreachable", "dray-iod does not answer: %s", err->text);
	else
		api_problem(call, 409, 5, err->kind[0] ? err->kind : "failed", "%s", err->text);
}

static void released(void *arg, const struct dray_error *err, json_t *result)
{
	struct api_call *call = arg;
	if (err)
		iod_failed(call, err);
	else
		api_when_listed(call->agent, call, volume_release); /* the next one, if any */
}

void volume_release(struct agent *a, struct api_call *call)
{
	char name[300];
	name_of(call, name, sizeof name);
	if (!iod_ready(a->iod) || !a->volumes) {
		api_problem(call, 502, 1, "iod_unreachable", "dray-iod does not answer");
		return;
	}
	const json_t *volume = volume_find(a, name);
	if (!volume && !call->core_found) {
		api_problem(call, 404, 4, "not_found", "there is no volume %s", name);
		return;
	}
	json_t *all = json_array();
	if (volume)
		see_volume(a, volume, all);
	json_t *first = json_array_get(all, 0), *legs = json_object_get(volume, "legs"), *leg;
	size_t i;
	if (!first && call->core_found) {
		api_reply(call, 200, json_pack("{s:s, s:i}", "name", name, "released", (int)call->core_found));
	} else if (!first) {
		api_problem(call, 409, 5, "not_legal", "volume %s has no leg that belongs to no session on record", name);
	} else if (json_is_true(json_object_get(first, "hidden"))) {
		/* Its legs first: they keep what they have. */
		const json_t *primary = primary_of(volume), *other = NULL;
		json_array_foreach (legs, i, leg)
			if (leg != primary)
				other = leg;
		call->core_found++;
		if (other)
			iod_call(a->iod, "leg.detach", json_pack("{s:s, s:O}", "volume", name, "leg", json_object_get(other, "id")), released, call);
		else
			iod_call(a->iod, "volume.remove", json_pack("{s:s}", "name", name), released, call);
		agent_event(a, call->actor, "volume-released", "%s: hidden, of session %s", name, text(first, "session"));
	} else {
		call->core_found++;
		iod_call(a->iod, "leg.detach", json_pack("{s:s, s:O}", "volume", name, "leg", json_object_get(first, "leg")), released, call);
		agent_event(a, call->actor, "volume-released", "%s: leg %lld", name, (long long)json_integer_value(json_object_get(first, "leg")));
	}
	json_decref(all);
}

/* ---- taking it as it is ---- */

static void accepted(void *arg, const struct dray_error *err, json_t *result)
{
	struct api_call *call = arg;
	struct agent *a = call->agent;
	struct dray_error why;
	if (err) {
		iod_failed(call, err);
		return;
	}
	const char *name = text(result, "name");
	if (seen_put(a, name, text(result, "uuid"), (uint64_t)json_integer_value(json_object_get(result, "epoch")), &why)) {
		api_problem(call, 500, 1, "repository", "volume %s: %s", name, why.text);
		return;
	}
	agent_event(a, call->actor, "volume-accepted", "%s, at epoch %lld", name, (long long)json_integer_value(json_object_get(result, "epoch")));
	seen_write(a);
	volume_wake(a, name);
	agent_refresh(a);
	api_reply(call, 200, json_incref(result));
}

void volume_accept(struct agent *a, struct api_call *call)
{
	char name[300];
	name_of(call, name, sizeof name);
	if (!iod_ready(a->iod) || !a->volumes)
		api_problem(call, 502, 1, "iod_unreachable", "dray-iod does not answer");
	else if (!volume_find(a, name))
		api_problem(call, 404, 4, "not_found", "there is no volume %s", name);
	else
		iod_call(a->iod, "volume.accept", json_pack("{s:s}", "name", name), accepted, call);
}
