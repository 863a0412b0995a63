/* SPDX-License-Identifier: BSD-3-Clause */
/* Prints docs/states.md from the tables of src/session/state.c; tests/func/test-states-doc.sh compares. */
#include "session/state.h"

#include <stdio.h>

static void diagram(void)
{
	puts("```mermaid\nstateDiagram-v2");
	puts("    [*] --> scheduled\n    [*] --> queued");
	for (int from = 0; from < DRAY_PAIR_STATE_COUNT; from++)
		for (int to = 0; to < DRAY_PAIR_STATE_COUNT; to++)
			if (dray_pair_may_become(from, to))
				printf("    %s --> %s\n", dray_state_word(from), dray_state_word(to));
	for (int s = 0; s < DRAY_PAIR_STATE_COUNT; s++)
		if (dray_state_final(s))
			printf("    %s --> [*]\n", dray_state_word(s));
	puts("```");
}

static void verbs(void)
{
	printf("| state |");
	for (int v = 0; v < DRAY_VERB_COUNT; v++)
		printf(" %s |", dray_verb_word(v));
	printf("\n|---|");
	for (int v = 0; v < DRAY_VERB_COUNT; v++)
		printf(":-:|");
	puts("");
	for (int s = 0; s < DRAY_PAIR_STATE_COUNT; s++) {
		printf("| %s |", dray_state_word(s));
		for (int v = 0; v < DRAY_VERB_COUNT; v++) {
			enum dray_legal l = dray_verb_legal(v, s);
			printf(" %s |", l == DRAY_LEGAL ? "yes" : l == DRAY_FULFILLED ? "done" : "");
		}
		puts("");
	}
}

int main(void)
{
	puts("# States and verbs\n");
	puts("Written by `./run states-doc > docs/states.md` from the two tables in src/session/state.c. Change them there.\n");
	puts("## What a pair may become\n");
	diagram();
	puts("\nA session's state follows from its pairs' (src/session/aggregate.c); the words are the same.\n");
	puts("## Which verb is legal when\n");
	puts("yes: legal. done: fulfilled already, so it succeeds and does nothing. Empty: refused, and the answer names\n"
	     "the session, its state and what is legal.\n");
	verbs();
	return 0;
}
