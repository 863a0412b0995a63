/* SPDX-License-Identifier: BSD-3-Clause */
/* What becomes of sources. */
#include "cli/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void print_retired(const json_t *pair)
{
	const json_t *r = json_object_get(pair, "retired");
	const char *state = text_of(r, "state"), *why = text_of(r, "reason"), *name = text_of(r, "name");
	if (!r)
		return;
	printf("  pair %s: source retired by \"%s\": %s%s%s%s%s\n", text_of(pair, "id"), text_of(r, "how"), state, *why ? ": " : "", why,
		*name ? ", it is now " : "", name);
}

char *retired_by(const struct args *args, const char *session)
{
	char *path = path_of("sessions", session, "");
	struct call call = { .method = "GET", .path = path, .quiet = true };
	struct reply reply;
	const char *how = request(args, &call, &reply) ? "" : text_of(json_object_get(reply.json, "switch"), "retire");
	char *word = strdup(strcmp(how, "none") ? how : "");
	if (!word)
		abort();
	reply_free(&reply);
	free(path);
	return word;
}

/* How it would be done: --how, else as the document says; "" if nobody says. */
static const char *retire_how(const struct args *args, const json_t *doc)
{
	return given(args, OPT_HOW) ? args->value[OPT_HOW] : text_of(json_object_get(doc, "switch"), "retire");
}

/* The sources that it would be done to, as the document names them. */
static void list_sources(const struct args *args, const json_t *doc, char *buf, size_t size)
{
	size_t i, n = 0;
	json_t *pair;
	*buf = 0;
	json_array_foreach(json_object_get(doc, "pairs"), i, pair) {
		const json_t *source = json_object_get(pair, "source");
		const char *name = json_is_object(source) ? text_of(source, "resource") : text_of(pair, "source");
		if (args->n_pairs && !asked_for(args, text_of(pair, "id")))
			continue;
		if (n < size)
			n += (size_t)snprintf(buf + n, size - n, "%s%s", n ? ", " : "", name);
	}
}

int cmd_retire(const struct args *args)
{
	const char *session = args->positional[0];
	char *show = path_of("sessions", session, ""), *path = path_of("sessions", session, "/retire"), sources[400];
	struct reply reply;
	int rc = request_json(args, show, &reply);
	const char *how = rc ? "" : retire_how(args, reply.json);
	bool ask_first = *how && strcmp(how, "none") && strcmp(how, "read-only");
	if (!rc && ask_first) {
		list_sources(args, reply.json, sources, sizeof sources);
		if (!ask(args, "Retire %s (%s) by \"%s\"?", session, sources, how)) {
			note("%s was not retired", session);
			rc = EXIT_FAILED;
		}
	}
	reply_free(&reply);
	if (!rc) {
		json_t *body = verb_body(args);
		if (given(args, OPT_HOW))
			json_object_set_new(body, "how", json_string(args->value[OPT_HOW]));
		rc = send_json(args, "POST", path, body, &reply);
		if (!rc)
			print_outcome(args, reply.json);
		reply_free(&reply);
	}
	free(show);
	free(path);
	return rc;
}

