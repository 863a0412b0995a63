/* SPDX-License-Identifier: BSD-3-Clause */
/* Volumes are dray-iod's; the agent passes on, and looks after what sessions have locked. */
#include "agent/agent.h"

#include "agent/advise.h"
#include "agent/api.h"
#include "agent/reconcile.h"
#include "agent/validate.h"
#include "base/log.h"
#include "base/name.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *text(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));
	return s ? s : "";
}

/* As the API shows a volume: the names people know, and all that dray-iod says. */
static json_t *shown(struct agent *a, const json_t *volume)
{
	json_t *v = json_pack("{s:O, s:O, s:O}", "name", json_object_get(volume, "name"), "size",
		json_object_get(volume, "size_bytes"), "uri", json_object_get(volume, "uri"));
	if (!v)
		return json_deep_copy(volume);
	json_int_t primary = json_integer_value(json_object_get(volume, "primary"));
	json_object_set_new(v, "primary", json_null());
	size_t i;
	json_t *leg, *value;
	json_t *legs = json_deep_copy(json_object_get(volume, "legs"));
	json_array_foreach (legs, i, leg)
		if (json_integer_value(json_object_get(leg, "id")) == primary)
			json_object_set(v, "primary", json_object_get(leg, "resource"));
	json_object_set_new(v, "primary_leg", json_integer(primary));
	json_object_set_new(v, "legs", legs);
	const char *key;
	json_object_foreach ((json_t *)volume, key, value)
		if (!json_object_get(v, key) && strcmp(key, "size_bytes"))
			json_object_set(v, key, value);
	json_object_set_new(v, "orphans", orphans_of(a, volume));
	/* An epoch that went back: served by dray-iod, but not touched by the agent (H9). */
	const json_t *seen = json_object_get(a->seen, text(volume, "name"));
	json_int_t epoch = json_integer_value(json_object_get(volume, "epoch"));
	if (seen && (strcmp(text(seen, "uuid"), text(volume, "uuid")) ||
			    epoch < json_integer_value(json_object_get(seen, "epoch"))))
		json_object_set_new(v, "reason",
			json_sprintf("epoch %lld of this volume was seen before; this is another or an older state of it: not touched",
				(long long)json_integer_value(json_object_get(seen, "epoch"))));
	return v;
}

static const json_t *find(const struct agent *a, const char *name)
{
	const json_t *v = volume_find(a, name);
	return json_is_true(json_object_get(v, "hidden")) ? NULL : v;
}

static const char *legal_for(const char *kind)
{
	return advise_legal(kind, strcmp(kind, "not_found") != 0, false); /* it is written, but never made */
}

static void iod_failed(struct api_call *call, const struct dray_error *err, bool adding)
{
	if (err->code == -ENOTCONN || err->code == -ECANCELED) {
		api_problem(call, 502, 1, "iod_unreachable", "dray-iod does not answer: %s", err->text);
	} else if (!strcmp(err->kind, "connected") || !strcmp(err->kind, "busy")) {
		api_problem(call, 409, 5, err->kind, "%s", err->text);
	} else if (!strcmp(err->kind, "failed")) {
		api_problem(call, 500, 1, err->kind, "%s", err->text);
	} else if (!adding) {
		api_problem(call, 409, 5, err->kind, "%s", err->text);
	} else {
		const char *name = text(call->body, "name");
		bool taken = !strcmp(err->kind, "exists") && find(call->agent, name);
		bool of_name = taken || !strcmp(err->kind, "bad_name");
		json_t *resource = json_object_get(call->body, "resource");
		const char *what = json_is_object(resource) ? text(resource, "resource") : json_string_value(resource);
		if (taken)
			dray_problems_add(&call->problems, "/name", 0, "exists", name, "a name that no volume has",
				"there is a volume %s already", name);
		else
			dray_problems_add(&call->problems, of_name ? "/name" : "/resource", 0, err->kind, of_name ? name : what,
				of_name ? NULL : legal_for(err->kind), "%s", err->text);
		api_problems(call, &call->problems);
	}
}

static bool need_iod(struct agent *a, struct api_call *call)
{
	if (iod_ready(a->iod) && a->volumes)
		return true;
	api_problem(call, 502, 1, "iod_unreachable", "dray-iod does not answer");
	return false;
}

/* ---- looking ---- */

static int by_name(const void *x, const void *y)
{
	return strcmp(*(const char *const *)x, *(const char *const *)y);
}

static void list(struct agent *a, struct api_call *call)
{
	if (!need_iod(a, call))
		return;
	/* By name: dray-iod's order is another one after each of its starts. */
	size_t n = 0, all = json_object_size(a->volumes);
	const char *name, **names = calloc(all ? all : 1, sizeof *names);
	json_t *out = json_array(), *v;
	if (!names)
		abort();
	json_object_foreach (a->volumes, name, v)
		if (!json_is_true(json_object_get(v, "hidden")))
			names[n++] = name;
	qsort(names, n, sizeof *names, by_name);
	for (size_t i = 0; i < n; i++)
		json_array_append_new(out, shown(a, volume_find(a, names[i])));
	free(names);
	api_reply(call, 200, out);
}

static void show(struct agent *a, struct api_call *call)
{
	if (!need_iod(a, call))
		return;
	const char *name = call->path + strlen("/volumes/");
	const json_t *v = find(a, name);
	if (v)
		api_reply(call, 200, shown(a, v));
	else
		api_problem(call, 404, 4, "not_found", "there is no volume %s", name);
}

/* ---- adding ---- */

static void added(void *arg, const struct dray_error *err, json_t *result)
{
	struct api_call *call = arg;
	struct agent *a = call->agent;
	if (err) {
		iod_failed(call, err, true);
		return;
	}
	/* One that was lost with dray-iod's state directory may have had the name. */
	struct dray_error why;
	if (seen_put(a, text(result, "name"), text(result, "uuid"), (uint64_t)json_integer_value(json_object_get(result, "epoch")), &why))
		dray_log(DRAY_LOG_ERROR, "record-failed", "volume %s: %s", text(result, "name"), why.text);
	seen_write(a);
	agent_event(a, call->actor, "volume-added", "%s", text(result, "name"));
	agent_refresh(a);
	json_t *v = shown(a, result);
	if (call->probe && call->probe->content.image[0]) /* legal: a guest's disk may hold anything */
		json_object_set_new(v, "warnings",
			json_pack("[{s:s, s:s, s:o}]", "pointer", "/resource", "code", "disk_image", "detail",
				json_sprintf("it begins like a disk image (%s), and is served as the raw bytes that it has", call->probe->content.image)));
	api_reply(call, 201, v);
}

struct owner {
	struct agent *a;
	size_t own; /* so many of what is asked for are the storage itself, the rest is what it lies on or what lies on it */
	char words[300], other[300];
};

static int see_owner(void *arg, size_t wanted, const struct dray_repo_lock *holder)
{
	struct owner *o = arg;
	struct job *job = job_in_memory(o->a, holder->session);
	if (holder->lies_on || wanted >= o->own)
		snprintf(o->other, sizeof o->other, "of one line with %s, and that is ", holder->resource);
	snprintf(o->words, sizeof o->words, "locked by session %s (%s), pair %u, as its %s", job ? job->s->name : holder->session,
		holder->session, holder->pair, lock_role(holder));
	return 1;
}

/* As it was given. */
static void wrong(struct api_call *call, const char *pointer, const char *code, const json_t *given, const char *legal, const char *detail)
{
	char *value = dray_value_text(given);
	dray_problems_add(&call->problems, pointer, 0, code, value, legal, "%s", detail);
	free(value);
}

/* The name of the resource, if it is one that can be looked up; else NULL, with problems. */
static const char *check_resource(struct api_call *call, const json_t *resource)
{
	static const char form[] = "an absolute path, a URI, or {resource:, offset:, length:}";
	const json_t *name = json_is_object(resource) ? json_object_get(resource, "resource") : resource, *v;
	const char *key, *at = json_is_object(resource) ? "/resource/resource" : "/resource", *what = json_string_value(name);
	size_t had = call->problems.n;
	json_object_foreach ((json_t *)resource, key, v) {
		const char *number = !strcmp(key, "offset") ? "/resource/offset" : !strcmp(key, "length") ? "/resource/length" : NULL;
		if (number && !json_is_integer(v))
			wrong(call, number, "wrong_type", v, "a whole number of bytes", "it must be a whole number");
		else if (number && json_integer_value(v) < 0)
			wrong(call, number, "out_of_range", v, "0 or more bytes", "it is out of range");
		else if (!number && strcmp(key, "resource"))
			dray_problems_add(&call->problems, "/resource", 0, "unknown_key", key, "resource, offset and length", "unknown key %s", key);
	}
	if (!name)
		wrong(call, at, "missing", NULL, form, "resource is missing");
	else if (!what)
		wrong(call, at, "wrong_type", name, form, "it must be a text");
	else if (strlen(what) > 4095)
		wrong(call, at, "bad_value", NULL, form, "a resource's name can't be so long");
	else if (*what != '/' && !strchr(what, ':')) /* dray-iod's working directory is nobody's business */
		wrong(call, at, "bad_value", name, form, "a path must be absolute");
	return call->problems.n == had ? what : NULL;
}

static void add(struct agent *a, struct api_call *call)
{
	json_t *name = json_object_get(call->body, "name"), *resource = json_object_get(call->body, "resource"), *value;
	const char *key;
	json_object_foreach (call->body, key, value)
		if (strcmp(key, "name") && strcmp(key, "resource") && strcmp(key, "block_bytes"))
			dray_problems_add(&call->problems, "", 0, "unknown_key", key, "name, resource and block_bytes", "unknown key %s", key);
	json_t *block = json_object_get(call->body, "block_bytes");
	json_int_t bytes = json_integer_value(block);
	if (block && (!json_is_integer(block) || bytes < 512 || bytes > 65536 || (bytes & (bytes - 1))))
		wrong(call, "/block_bytes", "bad_value", block, "a power of two from 512 to 65536", "block_bytes can't be that");
	static const char name_legal[] = DRAY_VOLUME_NAME_LEGAL; /* told here so that it comes together with what else is wrong */
	if (!name)
		wrong(call, "/name", "missing", NULL, name_legal, "name is missing");
	else if (!json_is_string(name))
		wrong(call, "/name", "wrong_type", name, name_legal, "a name is a text");
	else if (!dray_volume_name_ok(json_string_value(name)))
		wrong(call, "/name", "bad_name", name, name_legal, "this can't be a volume's name");
	const char *what = check_resource(call, resource);
	const struct probe *probe = what ? call->probe : NULL;
	/* What does not answer would take dray-iod as long again; and where it is not asked at all it can't tell what else is wrong. */
	bool refused = probe && probe->rc && (call->problems.n || !strcmp(probe->err.kind, "unreachable") || !strcmp(probe->err.kind, "mounted"));
	if (refused)
		dray_problems_add(&call->problems, "/resource", 0, probe->err.kind, what, legal_for(probe->err.kind), "%s", probe->err.text);
	if (probe && !probe->rc) {
		struct lock_list locks = { 0 };
		struct owner owner = { .a = a };
		lock_for(&locks, probe->info.identity);
		if (probe->alias[0])
			lock_for(&locks, probe->alias);
		if (probe->process[0])
			lock_for(&locks, probe->process);
		owner.own = locks.n;
		const struct dray_lineage *line = &probe->lineage;
		for (size_t i = 0; i < line->n_below + line->n_above; i++)
			lock_for(&locks, i < line->n_below ? line->below[i] : line->above[i - line->n_below])->lies_on = true;
		if (dray_repo_locks_check(a->repo, locks.locks, locks.n, see_owner, &owner, NULL) == -EBUSY)
			dray_problems_add(&call->problems, "/resource", 0, "locked", what,
				"a resource of no session, or this one when that session is over", "it is %s%s", owner.other, owner.words);
		lock_list_free(&locks);
	}
	if (call->problems.n) {
		api_problems(call, &call->problems);
		return;
	}
	if (!need_iod(a, call))
		return;
	json_t *params = json_pack("{s:O, s:O}", "name", name, "resource", resource);
	if (block)
		json_object_set(params, "block_bytes", block);
	iod_call(a->iod, "volume.add", params, added, call);
}

/* ---- removing ---- */

static void removed(void *arg, const struct dray_error *err, json_t *result)
{
	struct api_call *call = arg;
	struct agent *a = call->agent;
	const char *name = call->path + strlen("/volumes/");
	struct dray_error why;
	if (err) {
		iod_failed(call, err, false);
		return;
	}
	int rc = dray_repo_begin(a->repo, &why);
	if (!rc && !(rc = dray_repo_volume_forget(a->repo, name, &why)))
		rc = dray_repo_commit(a->repo, &why);
	if (rc) {
		dray_repo_rollback(a->repo);
		dray_log(DRAY_LOG_ERROR, "record-failed", "volume %s: %s", name, why.text);
	}
	json_object_del(a->seen, name);
	seen_write(a);
	agent_event(a, call->actor, "volume-removed", "%s", name);
	agent_refresh(a);
	api_reply(call, 204, NULL);
}

static void remove_volume(struct agent *a, struct api_call *call)
{
	const char *name = call->path + strlen("/volumes/");
	if (!need_iod(a, call))
		return;
	if (!find(a, name)) {
		api_problem(call, 404, 4, "not_found", "there is no volume %s", name);
		return;
	}
	char identity[300];
	struct owner owner = { .a = a, .own = 1 };
	snprintf(identity, sizeof identity, "volume:%s", name);
	struct dray_repo_lock lock = { .identity = identity, .resource = identity, .start = 0, .end = DRAY_REPO_END, .session = "",
		.role = "" };
	if (dray_repo_locks_check(a->repo, &lock, 1, see_owner, &owner, NULL) == -EBUSY) {
		api_problem(call, 409, 5, "locked", "volume %s is %s", name, owner.words);
		return;
	}
	iod_call(a->iod, "volume.remove", json_pack("{s:s, s:b}", "name", name, "force", call->force), removed, call);
}

/* "/volumes/NAME/VERB" */
static void volume_verb(struct agent *a, struct api_call *call, const char *verb)
{
	if (strcmp(verb, "release") && strcmp(verb, "accept"))
		api_problem(call, 404, 4, "not_found", "there is no verb %s", verb);
	else if (strcmp(call->method, "POST"))
		api_problem(call, 405, 2, "method", "%s is not possible here", call->method);
	else
		api_when_listed(a, call, strcmp(verb, "accept") ? volume_release : volume_accept);
}

void api_volumes(struct agent *a, struct api_call *call, const char *name)
{
	const char *verb = strchr(name, '/');
	if (verb)
		volume_verb(a, call, verb + 1);
	else if (!strcmp(call->method, "GET"))
		api_when_listed(a, call, *name ? show : list);
	else if (!strcmp(call->method, "POST") && !*name)
		api_when_listed(a, call, add);
	else if (!strcmp(call->method, "DELETE") && *name)
		api_when_listed(a, call, remove_volume);
	else
		api_problem(call, 405, 2, "method", "%s is not possible here", call->method);
}
