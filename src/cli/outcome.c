/* SPDX-License-Identifier: BSD-3-Clause */
/* What became of a session, for people. */
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

#define MOST_TOLD 20 /* pairs that a command tells of unasked */

static json_int_t largest(const json_t *doc, const char *key)
{
	json_int_t most = -1;
	size_t i;
	json_t *pair;
	json_array_foreach(json_object_get(doc, "pairs"), i, pair) {
		json_t *v = json_object_get(pair, key);
		if (json_is_integer(v) && json_integer_value(v) > most)
			most = json_integer_value(v);
	}
	return most;
}

bool asked_for(const struct args *args, const char *pair)
{
	for (size_t i = 0; i < args->n_pairs; i++)
		if (!strcmp(args->pairs[i], pair))
			return true;
	return false;
}

/* The pairs that the command named, and those that have something to say: of these no more than fit on a screen, failed ones before others. */
static void print_reasons(const struct args *args, const json_t *doc)
{
	size_t i, told = 0, more = 0;
	json_t *pair;
	for (int failed = 1; failed >= 0; failed--) {
		json_array_foreach(json_object_get(doc, "pairs"), i, pair) {
			const char *reason = text_of(pair, "reason"), *id = text_of(pair, "id"), *state = text_of(pair, "state");
			bool news = *reason && strcmp(reason, text_of(doc, "reason"));
			if ((strcmp(state, "failed") == 0) != (failed == 1))
				continue;
			if (asked_for(args, id) || (news && told++ < MOST_TOLD))
				printf("  pair %s: %s%s%s\n", id, state, news ? ": " : "", news ? reason : "");
			else
				more += news;
		}
	}
	if (more)
		printf("  ... and %zu more; `dray show %s` has them all\n", more, session_name(doc));
}

static void print_pairs(const struct args *args, const json_t *doc)
{
	size_t i;
	json_t *pair;
	print_reasons(args, doc);
	json_array_foreach(json_object_get(doc, "pairs"), i, pair)
		print_retired(pair);
	json_array_foreach(json_object_get(doc, "pairs"), i, pair) {
		const json_t *lost = json_object_get(pair, "undo_lost"), *first = json_array_get(json_object_get(lost, "ranges"), 0);
		if (lost && !strcmp(args->command->name, "undo") && first)
			printf("  pair %s: %lld bytes are older than what was written last, the first at %lld\n", text_of(pair, "id"),
				(long long)json_integer_value(json_object_get(lost, "bytes")),
				(long long)json_integer_value(json_object_get(first, "offset")));
		else if (lost && !strcmp(args->command->name, "undo"))
			printf("  pair %s: nothing was lost\n", text_of(pair, "id"));
	}
	json_t *left = json_object_get(doc, "not_paused"), *item;
	json_array_foreach(left, i, item) {
		if (json_is_string(item))
			printf("  not paused: pair %s\n", json_string_value(item));
		else
			printf("  not paused: pair %s: %s\n", text_of(item, "id"), text_of(item, "reason"));
	}
}

void print_outcome(const struct args *args, const json_t *doc)
{
	if (!doc || printed(args, doc))
		return;
	const char *state = text_of(doc, "state"), *name = session_name(doc), *reason = text_of(doc, "reason");
	json_int_t blackout = largest(doc, "blackout_us"), predicted = largest(doc, "predicted_blackout_us");
	printf("%s: %s", name, state);
	if (*reason)
		printf(": %s", reason);
	if (blackout >= 0 && (!strcmp(state, "switched") || !strcmp(args->command->name, "undo"))) {
		printf("; blackout %.1f ms", (double)blackout / 1000);
		if (predicted >= 0)
			printf(" (predicted %.1f ms)", (double)predicted / 1000);
	}
	putchar('\n');
	if (!strcmp(state, "switched"))
		printf("  `dray undo %s` goes back, `dray commit %s` lets the source go\n", name, name);
	print_pairs(args, doc);
}
