/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `dray show`: the document, as YAML or JSON.
 *
 * For a person at a terminal (no -o, and standard output is one) thousands of pairs are not printed one after the other: those that failed, and
 * those at which something is done, are what is looked for. How many were left out, in which states, is said behind it, in a comment:
 * what is printed stays YAML. Programs, and who asks with -o, get all.
 */
#include "cli/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAIRS_WHOLE 100 /* as many are printed anyhow */
#define PAIRS_SHOWN 40  /* of more: at most, of each kind */
#define PAIRS_FIRST 3   /* where there is nothing to look at */

static bool in(const char *state, const char *const *states)
{
	for (; *states; states++)
		if (!strcmp(state, *states))
			return true;
	return false;
}

bool pair_is_at_work(const json_t *pair)
{
	static const char *const states[] = { "starting", "copying", "switching", "paused", NULL };
	return in(text_of(pair, "state"), states);
}

bool pair_failed(const json_t *pair)
{
	return !strcmp(text_of(pair, "state"), "failed");
}

/* Which are shown, in their order. */
static json_t *chosen(const json_t *pairs)
{
	json_t *list = json_array(), *pair;
	size_t i, failed = 0, working = 0;
	json_array_foreach (pairs, i, pair)
		if (pair_failed(pair) ? failed++ < PAIRS_SHOWN : pair_is_at_work(pair) && working++ < PAIRS_SHOWN)
			json_array_append(list, pair);
	for (i = 0; !failed && !working && i < PAIRS_FIRST; i++)
		json_array_append(list, json_array_get(pairs, i));
	return list;
}

/* "9000 completed, 900 queued", of all but the shown ones. */
static void print_left_out(const json_t *all, const json_t *shown)
{
	json_t *counts = json_object(), *pair, *n;
	const char *state, *comma = "";
	size_t i;
	json_array_foreach (all, i, pair) {
		state = text_of(pair, "state");
		json_object_set_new(counts, state, json_integer(json_integer_value(json_object_get(counts, state)) + 1));
	}
	json_array_foreach (shown, i, pair) {
		state = text_of(pair, "state");
		json_object_set_new(counts, state, json_integer(json_integer_value(json_object_get(counts, state)) - 1));
	}
	json_object_foreach (counts, state, n)
		if (json_integer_value(n)) {
			printf("%s%lld %s", comma, (long long)json_integer_value(n), state);
			comma = ", ";
		}
	json_decref(counts);
}

static void print_short(json_t *doc)
{
	json_t *pairs = json_incref(json_object_get(doc, "pairs")), *shown = chosen(pairs);
	json_object_set(doc, "pairs", shown);
	print_yaml(doc);
	printf("# %zu of %zu pairs are left out: ", json_array_size(pairs) - json_array_size(shown), json_array_size(pairs));
	print_left_out(pairs, shown);
	printf("\n# dray show -o yaml %s   prints all of them\n", session_name(doc));
	json_decref(pairs);
	json_decref(shown);
}

int cmd_show(const struct args *args)
{
	bool person = args->output == OUTPUT_HUMAN && isatty(STDOUT_FILENO);
	char *path = path_of("sessions", args->positional[0], "");
	struct reply reply;
	struct call call = { .method = "GET", .path = path, .accept = args->output == OUTPUT_JSON || person ? NULL : "application/yaml" };
	int rc = request(args, &call, &reply);
	if (!rc && person && json_array_size(json_object_get(reply.json, "pairs")) > PAIRS_WHOLE)
		print_short(reply.json);
	else if (!rc && person)
		print_yaml(reply.json);
	else if (!rc && args->output == OUTPUT_JSON)
		print_json(reply.json);
	else if (!rc)
		fwrite(reply.body, 1, reply.len, stdout);
	reply_free(&reply);
	free(path);
	return rc;
}
