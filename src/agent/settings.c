/* SPDX-License-Identifier: BSD-3-Clause */
#include "agent/settings.h"

#include "agent/api.h"
#include "agent/hooks.h"
#include "agent/metrics.h"
#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define META "settings" /* {key: text}: what the API has set */

struct settings {
	char *file;
	json_t *given;              /* key -> text: of the file */
	json_t *command;            /* key -> true: of the command line */
	json_t *set;                /* key -> text: over the API */
	struct agent_config *base;  /* defaults and file */
};

struct settings *settings_new(char *file, json_t *given, json_t *command, struct agent_config *base)
{
	struct settings *s = calloc(1, sizeof *s);
	if (s)
		*s = (struct settings){ file, given, command, json_object(), base };
	return s;
}

void settings_free(struct settings *s)
{
	if (!s)
		return;
	free(s->file);
	json_decref(s->given);
	json_decref(s->command);
	json_decref(s->set);
	agent_config_free(s->base);
	free(s);
}

/* As people write it, for events and logs. */
static char *words_of(const struct agent_config *c, const struct setting *row)
{
	json_t *v = setting_value(c, row);
	char *text = json_is_null(v) ? strdup("none") : json_is_string(v) ? strdup(json_string_value(v)) : json_dumps(v, JSON_ENCODE_ANY | JSON_REAL_PRECISION(9));
	json_decref(v);
	if (!text)
		abort();
	return text;
}

/* The value that holds with `set` over the base. */
static void effective(const struct settings *s, const json_t *set, const struct setting *row, struct agent_config *into)
{
	const char *text = json_string_value(json_object_get(set, row->key));
	setting_copy(into, s->base, row);
	if (text && row->live && setting_take(into, row, text))
		dray_log(DRAY_LOG_ERROR, "setting-ignored", "%s: %s, as it was set over the API, is not %s", row->key, text, row->legal);
}

static void in_force(struct agent *a)
{
	dray_log_level(a->config->log_level);
	agent_push_log_level(a);
	hooks_changed(a);
	retention_wake(a);
	agent_turn(a); /* the queue and the limits are worked out anew */
}

/* Events of what is different between two configs: in the caller's transaction. */
static int record_events(struct agent *a, const struct agent_config *new, const char *actor, struct dray_error *err)
{
	int rc = 0;
	for (size_t i = 0; !rc && i < agent_settings_n; i++) {
		const struct setting *row = &agent_settings[i];
		char *before = words_of(a->config, row), *after = words_of(new, row);
		if (row->live && strcmp(before, after)) {
			struct dray_repo_event e = { .time_ms = wall_ms(), .event = "setting", .actor = actor, .before = before,
				.after = after, .detail = row->key };
			rc = dray_repo_event_add(a->repo, &e, err);
		}
		free(before);
		free(after);
	}
	return rc;
}

static void tell_changes(struct agent *a, const struct agent_config *new, const char *actor)
{
	for (size_t i = 0; i < agent_settings_n; i++) {
		const struct setting *row = &agent_settings[i];
		char *before = words_of(a->config, row), *after = words_of(new, row);
		const char *keys[] = { "actor", actor, "before", before, "after", after, NULL };
		if (row->live && strcmp(before, after)) {
			dray_log_fields(DRAY_LOG_INFO, "setting", keys, "%s", row->key);
			metrics_event(a, "setting");
		}
		free(before);
		free(after);
	}
}

/* Records and then puts in force what `set` over `base` means. On failure nothing is changed. */
static int change(struct agent *a, const struct agent_config *new, const json_t *set, const char *actor, struct dray_error *err)
{
	char *text = json_dumps(set, JSON_COMPACT);
	if (!text)
		return dray_error_errno(err, -ENOMEM, "settings");
	int rc = dray_repo_begin(a->repo, err);
	if (!rc) {
		rc = dray_repo_meta_set(a->repo, META, text, err);
		if (!rc)
			rc = record_events(a, new, actor, err);
		if (rc)
			dray_repo_rollback(a->repo);
		else
			rc = dray_repo_commit(a->repo, err);
	}
	free(text);
	if (rc)
		return rc;
	tell_changes(a, new, actor);
	for (size_t i = 0; i < agent_settings_n; i++)
		if (agent_settings[i].live)
			setting_copy(a->config, new, &agent_settings[i]);
	agent_events_changed(a);
	in_force(a);
	return 0;
}

/* A config with what `set` over the base means, for the live ones. */
static struct agent_config *combine(const struct settings *s, const json_t *set)
{
	struct agent_config *c = calloc(1, sizeof *c);
	if (!c)
		abort();
	for (size_t i = 0; i < agent_settings_n; i++)
		effective(s, set, &agent_settings[i], c);
	return c;
}

int settings_load(struct agent *a, struct dray_error *err)
{
	struct settings *s = a->settings;
	char text[8192];
	int rc = dray_repo_meta_get(a->repo, META, text, sizeof text, err);
	if (rc == -ENOENT)
		return 0;
	if (rc)
		return rc;
	json_t *set = json_loads(text, 0, NULL);
	if (!json_is_object(set)) {
		json_decref(set);
		return dray_error_set(err, -EUCLEAN, "repository: the settings can't be read");
	}
	json_decref(s->set);
	s->set = set;
	for (size_t i = 0; i < agent_settings_n; i++)
		if (agent_settings[i].live && json_object_get(set, agent_settings[i].key))
			effective(s, set, &agent_settings[i], a->config);
	dray_log_level(a->config->log_level);
	return 0;
}

/* ---- SIGHUP ---- */

static void refused(struct agent *a, const char *actor, const struct dray_problems *problems)
{
	for (size_t i = 0; i < problems->n; i++) {
		const char *keys[] = { "actor", actor, "pointer", problems->items[i].pointer, "code", problems->items[i].code, NULL };
		dray_log_fields(DRAY_LOG_ERROR, "settings-refused", keys, "%s", problems->items[i].detail);
	}
	agent_event(a, actor, "settings-refused", "%zu %s, the settings stay as they are: %s", problems->n,
		problems->n == 1 ? "problem" : "problems", problems->items[0].detail);
}

/* What is different in the file and can't be taken over now is told by its name. */
static void tell_restart(const struct agent *a, const struct agent_config *new)
{
	const struct settings *s = a->settings;
	for (size_t i = 0; i < agent_settings_n; i++) {
		const struct setting *row = &agent_settings[i];
		char *was = words_of(s->base, row), *is = words_of(new, row);
		bool over = json_object_get(s->command, row->key) || (row->live && json_object_get(s->set, row->key));
		if (strcmp(was, is) && over)
			dray_log(DRAY_LOG_WARN, "setting-overridden", "%s: %s in the file is not in force: %s goes before it", row->key, is,
				row->live ? "what was set over the API" : "the command line");
		else if (strcmp(was, is) && !row->live)
			dray_log(DRAY_LOG_WARN, "setting-needs-restart", "%s: %s in the file; until a restart of the agent it is %s", row->key,
				is, was);
		free(was);
		free(is);
	}
}

void settings_reload(struct agent *a, const char *actor)
{
	struct settings *s = a->settings;
	struct dray_problems problems = DRAY_PROBLEMS_INIT;
	struct dray_error err;
	struct agent_config *base = NULL;
	json_t *given = json_object();
	if (!s->file) {
		dray_log(DRAY_LOG_WARN, "settings-reloaded", "there is no file: drayd was started without --config");
		json_decref(given);
		return;
	}
	if (agent_config_new(&base, &err))
		abort();
	if (agent_config_read(base, s->file, given, &problems)) {
		refused(a, actor, &problems);
		dray_problems_free(&problems);
		agent_config_free(base);
		json_decref(given);
		return;
	}
	tell_restart(a, base);
	struct agent_config *old = s->base;
	s->base = base;
	struct agent_config *new = combine(s, s->set);
	if (change(a, new, s->set, actor, &err)) {
		dray_log(DRAY_LOG_ERROR, "settings-refused", "the settings stay as they are: %s", err.text);
		s->base = old;
		agent_config_free(base);
		json_decref(given);
	} else {
		agent_config_free(old);
		json_decref(s->given);
		s->given = given;
		dray_log(DRAY_LOG_INFO, "settings-reloaded", "%s", s->file);
	}
	agent_config_free(new);
}

/* ---- the API ---- */

json_t *settings_json(const struct agent *a)
{
	const struct settings *s = a->settings;
	json_t *all = json_object();
	for (size_t i = 0; i < agent_settings_n; i++) {
		const struct setting *row = &agent_settings[i];
		const char *source = json_object_get(s->command, row->key)           ? "command line" :
				     row->live && json_object_get(s->set, row->key) ? "api" :
				     json_object_get(s->given, row->key)             ? "file" :
										       "default";
		json_object_set_new(all, row->key, json_pack("{s:o, s:s, s:b, s:s}", "value", setting_value(a->config, row), "source",
							   source, "live", row->live, "legal", row->legal));
	}
	return all;
}

/* null and "default" take back what was set; the file, or the default, is in force again. */
static bool takes_back(const json_t *value)
{
	return json_is_null(value) || (json_is_string(value) && !strcmp(json_string_value(value), "default"));
}

static void set_one(struct agent *a, struct api_call *call, struct agent_config *scratch, json_t *set, const char *key,
	const json_t *value)
{
	const struct setting *row = setting_find(key);
	const char *wrong;
	char pointer[200], *text = dray_value_text(value);
	snprintf(pointer, sizeof pointer, "/%.190s", key);
	if (!row)
		dray_problems_add(&call->problems, pointer, 0, "unknown_key", key, setting_words(), "there is no setting %s", key);
	else if (!row->live)
		dray_problems_add(&call->problems, pointer, 0, "needs_restart", text, NULL,
			"%s can't be changed while the agent runs: it is read from the file at the start", key);
	else if (takes_back(value))
		json_object_del(set, key);
	else if ((wrong = setting_take(scratch, row, text)))
		dray_problems_add(&call->problems, pointer, 0, wrong, text, row->legal, "\"%s\" can't be that", key);
	else
		json_object_set_new(set, key, json_string(text));
	free(text);
}

static void patch(struct agent *a, struct api_call *call)
{
	struct settings *s = a->settings;
	struct dray_error err;
	const char *key;
	json_t *value;
	if (!json_is_object(call->body) || !json_object_size(call->body)) {
		api_problem(call, 400, 2, "syntax", "an object of settings and values is expected");
		return;
	}
	json_t *set = json_deep_copy(s->set);
	struct agent_config *scratch = combine(s, set);
	json_object_foreach (call->body, key, value)
		set_one(a, call, scratch, set, key, value);
	agent_config_free(scratch);
	if (call->problems.n) {
		json_decref(set);
		api_problems(call, &call->problems);
		return;
	}
	struct agent_config *new = combine(s, set);
	int rc = change(a, new, set, call->actor, &err);
	agent_config_free(new);
	if (rc) {
		json_decref(set);
		api_problem(call, 500, 1, "repository", "settings: %s", err.text);
		return;
	}
	json_decref(s->set);
	s->set = set;
	api_reply(call, 200, settings_json(a));
}

void api_settings(struct agent *a, struct api_call *call)
{
	if (!strcmp(call->method, "GET"))
		api_reply(call, 200, settings_json(a));
	else if (!strcmp(call->method, "PATCH"))
		patch(a, call);
	else
		api_problem(call, 405, 2, "method", "%s is not possible here", call->method);
}
