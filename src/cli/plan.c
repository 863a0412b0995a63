/* SPDX-License-Identifier: BSD-3-Clause */
/* What a dry run found out, for people; and warnings. */
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

static void print_vehicles(const json_t *pair)
{
	size_t i;
	json_t *v;
	json_array_foreach(json_object_get(pair, "vehicles"), i, v) {
		bool chosen = json_is_true(json_object_get(v, "chosen")), possible = json_is_true(json_object_get(v, "possible"));
		printf("      vehicle %s: %s: %s\n", text_of(v, "name"), chosen ? "chosen" : possible ? "possible, not chosen" : "not possible",
			text_of(v, "why"));
	}
}

static void print_pair(const json_t *pair, const json_t *start)
{
	char buf[32];
	size_t i;
	json_t *target;
	printf("  pair %s: %s (%s, %s)\n", text_of(pair, "id"), text_of(pair, "source"), size_text(json_object_get(pair, "bytes_total"), buf),
		json_is_true(json_object_get(pair, "online")) ? "in use" : "not in use");
	json_array_foreach(json_object_get(pair, "targets"), i, target) {
		printf("      to %s", text_of(target, "resource"));
		if (json_object_get(target, "offset"))
			printf(" at %lld", (long long)json_integer_value(json_object_get(target, "offset")));
		if (!strcmp(text_of(target, "role"), "copy"))
			printf(", as a copy");
		if (*text_of(target, "create"))
			printf(", made %s", text_of(target, "create"));
		if (*text_of(target, "overwrites"))
			printf(", overwriting: %s", text_of(target, "overwrites"));
		putchar('\n');
	}
	print_vehicles(pair);
	const char *waits = text_of(pair, "waits");
	bool scheduled = *waits && !strcmp(waits, text_of(start, "waits")); /* which was told of all */
	printf("      starts %s%s\n", scheduled ? "then" : *waits ? "later: " : "at once", scheduled ? "" : waits);
}

static json_int_t order_of(const json_t *pair)
{
	return json_integer_value(json_object_get(pair, "order"));
}

void print_plan(const json_t *doc)
{
	const json_t *plan = json_object_get(doc, "plan"), *pairs = json_object_get(plan, "pairs");
	size_t i, n = json_array_size(pairs);
	json_t *item;
	const char *waits = text_of(json_object_get(plan, "start"), "waits");
	printf("%s: nothing is wrong with it. It would do this; nothing was started or locked.\n", session_name(doc));
	if (*waits)
		printf("It %s.\n", waits);
	puts("\nPairs, in the order in which they start:");
	for (size_t place = 1; place <= n; place++)
		json_array_foreach(pairs, i, item)
			if (order_of(item) == (json_int_t)place)
				print_pair(item, json_object_get(plan, "start"));
	puts("\nLocks:");
	json_array_foreach(json_object_get(plan, "locks"), i, item)
		printf("  pair %s, %s: %s (%s)\n", text_of(item, "pair"), text_of(item, "role"), text_of(item, "resource"), text_of(item, "identity"));
	puts("\nThen:");
	json_array_foreach(json_object_get(json_object_get(plan, "switch"), "steps"), i, item)
		printf("  %s\n", json_string_value(item));
}

void print_warnings(const json_t *doc, const json_t *told)
{
	size_t i, k;
	json_t *w, *old;
	json_array_foreach(json_object_get(doc, "warnings"), i, w) {
		bool known = false;
		json_array_foreach(json_object_get(told, "warnings"), k, old)
			known |= json_equal(w, old);
		if (known)
			continue;
		fputs("dray: warning: ", stderr);
		put_place(text_of(w, "pointer"));
		fprintf(stderr, ": %s\n", text_of(w, "detail"));
	}
}
