/* SPDX-License-Identifier: BSD-3-Clause */
#include "agent/api_table.h"

#include "agent/api.h"
#include "agent/settings.h"

#include <stdio.h>
#include <string.h>

static void index_of_all(struct agent *a, struct api_call *call)
{
	api_reply(call, 200, json_pack("{s:o}", "paths", api_table_json()));
}

static void volumes(struct agent *a, struct api_call *call)
{
	api_volumes(a, call, call->path[8] ? call->path + 9 : "");
}

static const struct api_route table[] = {
	{ "GET", "/v1", 0, index_of_all },
	{ "GET", "/v1/status", 0, api_status },
	{ "GET", "/v1/settings", 0, api_settings },
	{ "PATCH", "/v1/settings", 0, api_settings },
	{ "GET", "/v1/volumes", 0, volumes },
	{ "POST", "/v1/volumes", 0, volumes },
	{ "GET", "/v1/volumes/{name}", 0, volumes },
	{ "DELETE", "/v1/volumes/{name}", Q_FORCE, volumes },
	{ "POST", "/v1/volumes/{name}/release", 0, volumes },
	{ "POST", "/v1/volumes/{name}/accept", 0, volumes },
	{ "GET", "/v1/sessions", Q_STATE | Q_LIMIT | Q_PAST | Q_AFTER_SESSION, api_sessions },
	{ "POST", "/v1/sessions", Q_DRY_RUN, api_sessions },
	{ "POST", "/v1/estimate", 0, submit_call },
	{ "POST", "/v1/apply", 0, apply_call },
	{ "GET", "/v1/sessions/{session}", 0, api_sessions },
	{ "PATCH", "/v1/sessions/{session}", 0, api_sessions },
	{ "POST", "/v1/sessions/{session}/{verb}", 0, api_sessions },
	{ "GET", "/v1/events", Q_SESSION | Q_AFTER | Q_LIMIT | Q_FOLLOW, api_events },
	{ "POST", "/v1/events", 0, raise_call },
	{ "GET", "/v1/locks", 0, api_locks },
	{ "GET", "/v1/vehicles", 0, api_vehicles },
	{ "POST", "/v1/shutdown", 0, api_shutdown },
	{ "GET", "/metrics", 0, api_metrics },
	{ "GET", "/healthz", 0, api_health },
};
#define ROUTES (sizeof table / sizeof table[0])

static bool matches(const char *pattern, const char *path)
{
	while (*pattern) {
		if (*pattern != '{') {
			if (*pattern++ != *path++)
				return false;
			continue;
		}
		size_t n = strcspn(path, "/");
		if (!n)
			return false;
		path += n;
		pattern = strchr(pattern, '}') + 1;
	}
	return !*path;
}

const struct api_route *api_route_find(const char *method, const char *path, char *allow, size_t size)
{
	size_t n = 0;
	*allow = 0;
	for (size_t i = 0; i < ROUTES; i++) {
		if (!matches(table[i].path, path))
			continue;
		if (!strcmp(table[i].method, method))
			return &table[i];
		if (n < size)
			n += (size_t)snprintf(allow + n, size - n, "%s%s", n ? ", " : "", table[i].method);
	}
	return NULL;
}

const char *api_query_check(const struct api_route *route, const char *key, const char *value, int *known)
{
	static const struct {
		const char *key;
		unsigned q;
		enum { TEXT, NUMBER, FLAG, STATE } type;
	} arguments[] = {
		{ "session", Q_SESSION, TEXT }, { "state", Q_STATE, STATE }, { "limit", Q_LIMIT, NUMBER }, { "after", Q_AFTER, NUMBER },
		{ "follow", Q_FOLLOW, FLAG }, { "dry_run", Q_DRY_RUN, FLAG }, { "force", Q_FORCE, FLAG },
		{ "past", Q_PAST, NUMBER }, { "after", Q_AFTER_SESSION, TEXT },
	};
	*known = 0;
	for (size_t i = 0; i < sizeof arguments / sizeof arguments[0]; i++) {
		if (strcmp(arguments[i].key, key) || !(route->query & arguments[i].q))
			continue;
		*known = 1;
		switch (arguments[i].type) {
		case TEXT: return value && *value ? NULL : "a name or an id";
		case NUMBER:
			return value && *value && strlen(value) < 19 && !value[strspn(value, "0123456789")] ? NULL :
												"a whole number";
		case FLAG:
			return value && (!strcmp(value, "1") || !strcmp(value, "0") || !strcmp(value, "true") || !strcmp(value, "false")) ?
				       NULL : "1, 0, true or false";
		case STATE: return value && dray_state_from_word(value) >= 0 ? NULL : "a state of docs/states.md";
		}
	}
	return "an argument that this path has";
}

json_t *api_table_json(void)
{
	json_t *all = json_object();
	for (size_t i = 0; i < ROUTES; i++) {
		json_t *methods = json_object_get(all, table[i].path);
		if (!methods)
			json_object_set_new(all, table[i].path, methods = json_array());
		json_array_append_new(methods, json_string(table[i].method));
	}
	return all;
}
