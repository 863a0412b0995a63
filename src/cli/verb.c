/* SPDX-License-Identifier: BSD-3-Clause */
/* The commands that change a session, or ask it to do something. */
#include "cli/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void set_option(json_t *map, const char *key, const struct args *args, enum option_id id)
{
	const char *v = args->value[id];
	if (v && *v && !v[strspn(v, "0123456789")] && strlen(v) < 18)
		json_object_set_new(map, key, json_integer(atoll(v)));
	else if (v)
		json_object_set_new(map, key, json_string(v));
}

json_t *verb_body(const struct args *args)
{
	json_t *body = json_object();
	if (args->n_pairs) {
		json_t *pairs = json_array();
		for (size_t i = 0; i < args->n_pairs; i++)
			json_array_append_new(pairs, json_string(args->pairs[i]));
		json_object_set_new(body, "pairs", pairs);
	}
	if (given(args, OPT_DETACH))
		json_object_set_new(body, "detach", json_true());
	if (given(args, OPT_ACCEPT_BAD))
		json_object_set_new(body, "accept_bad", json_true());
	if (given(args, OPT_FORCE))
		json_object_set_new(body, "force", json_true());
	if (given(args, OPT_REPAIR))
		json_object_set_new(body, "repair", json_true());
	set_option(body, "sample", args, OPT_SAMPLE);
	if (given(args, OPT_VEHICLE))
		json_object_set_new(body, "vehicle", json_string(args->value[OPT_VEHICLE]));
	return body;
}

int send_json(const struct args *args, const char *method, const char *path, json_t *body, struct reply *reply)
{
	char *text = json_dumps(body, JSON_COMPACT);
	json_decref(body);
	if (!text) {
		*reply = (struct reply){ 0 };
		return fail(args, EXIT_REFUSED, "syntax", "the arguments are not valid UTF-8");
	}
	struct call call = { .method = method, .path = path, .body = text, .len = strlen(text) };
	int rc = request(args, &call, reply);
	free(text);
	return rc;
}

int cmd_verb(const struct args *args)
{
	char suffix[32];
	const char *session = args->positional[0];
	if (!strcmp(args->command->name, "commit") && asks(args)) {
		char *how = retired_by(args, session);
		bool yes = ask(args, "Commit %s? There is no way back to its old storage then%s%s%s.", session,
			*how ? ", which is retired (" : "", how, *how ? ")" : "");
		free(how);
		if (!yes) {
			note("%s was not committed", session);
			return EXIT_FAILED;
		}
	}
	if (given(args, OPT_FORCE) && !ask(args, "Go back to the old storage of %s, although it may lack what was written last?", session)) {
		note("%s was not undone", session);
		return EXIT_FAILED;
	}
	snprintf(suffix, sizeof suffix, "/%s", args->command->name);
	char *path = path_of("sessions", session, suffix);
	struct reply reply;
	int rc = send_json(args, "POST", path, verb_body(args), &reply);
	if (!rc)
		print_outcome(args, reply.json);
	reply_free(&reply);
	free(path);
	return rc;
}

int cmd_verify(const struct args *args)
{
	static const char *const headings[] = { "PAIR", "COMPARED WITH", ">COMPARED", ">DIFFERING", ">REPAIRED", "FIRST DIFFERENCE", NULL };
	char *path = path_of("sessions", args->positional[0], "/verify"), buf[64];
	struct reply reply;
	int rc = send_json(args, "POST", path, verb_body(args), &reply);
	json_t *pairs = json_object_get(reply.json, "pairs"), *pair, *leg;
	json_int_t differing = 0;
	size_t i, k;
	json_array_foreach(pairs, i, pair)
		differing += json_integer_value(json_object_get(pair, "bytes_differing"));
	if (!rc && !printed(args, reply.json)) {
		struct table *t = table_new(headings);
		json_array_foreach(pairs, i, pair) json_array_foreach(json_object_get(pair, "targets"), k, leg)
		{
			const json_t *range = json_array_get(json_object_get(leg, "ranges"), 0);
			table_add(t, text_of(pair, "id"));
			table_add(t, text_of(leg, "resource"));
			table_add(t, size_text(json_object_get(leg, "bytes_compared"), buf));
			table_add(t, size_text(json_object_get(leg, "bytes_differing"), buf));
			table_add(t, size_text(json_object_get(leg, "bytes_repaired"), buf));
			*buf = 0;
			if (range)
				snprintf(buf, sizeof buf, "at %lld", (long long)json_integer_value(json_object_get(range, "offset")));
			table_add(t, buf);
		}
		table_print(t);
	}
	reply_free(&reply);
	free(path);
	return rc ? rc : differing ? EXIT_FAILED : EXIT_DONE;
}

int keys_and_values(const struct args *args, size_t first, json_t **body)
{
	*body = json_object();
	for (size_t i = first; i < args->n_positional; i++) {
		const char *word = args->positional[i], *equals = strchr(word, '=');
		char *key = equals ? strndup(word, (size_t)(equals - word)) : NULL;
		if (!key || !*key || json_object_get(*body, key)) {
			int rc = fail(args, EXIT_USAGE, "usage", key && *key ? "\"%s\" is given twice" : "\"%s\" is not of the form KEY=VALUE",
				key && *key ? key : word);
			free(key);
			json_decref(*body);
			*body = NULL;
			return rc;
		}
		json_object_set_new(*body, key, json_string(equals + 1));
		free(key);
	}
	return EXIT_DONE;
}

/* Of each pair that is named. */
static json_t *of_pairs(const struct args *args, json_t *keys)
{
	json_t *all = json_object(), *value;
	const char *key;
	for (size_t i = 0; i < args->n_pairs; i++)
		json_object_foreach (keys, key, value) {
			char *name;
			if (asprintf(&name, "pairs.%s.%s", args->pairs[i], key) < 0)
				abort();
			json_object_set(all, name, value);
			free(name);
		}
	json_decref(keys);
	return all;
}

int cmd_set(const struct args *args)
{
	json_t *body;
	struct reply reply;
	int rc = keys_and_values(args, 1, &body);
	if (rc)
		return rc;
	if (args->n_pairs)
		body = of_pairs(args, body);
	char *path = path_of("sessions", args->positional[0], "");
	rc = send_json(args, "PATCH", path, body, &reply);
	if (!rc)
		print_outcome(args, reply.json);
	reply_free(&reply);
	free(path);
	return rc;
}
