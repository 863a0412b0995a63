/* SPDX-License-Identifier: BSD-3-Clause */
/* Every cell of the two tables of states, against expectations written apart from them: sentences, not matrices. */
#include "session/state.h"

#include "../words.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static const struct {
	const char *from, *to;
} leads_to[] = {
	{ "scheduled", "queued starting canceled failed" },
	{ "queued", "scheduled starting canceled failed" },
	{ "starting", "copying synced paused queued canceled failed" },
	{ "copying", "synced completed paused queued starting canceled failed" },
	{ "synced", "copying completed paused switching queued starting canceled failed" },
	{ "paused", "queued starting copying synced canceled failed" },
	{ "switching", "switched synced copying completed failed" },
	{ "switched", "switching committed" },
	{ "committed", "" },
	{ "completed", "" },
	{ "canceled", "" },
	{ "failed", "queued starting copying canceled" },
};

static const struct {
	const char *verb, *legal, *fulfilled;
} allowed[] = {
	{ "pause", "starting copying synced", "paused" },
	{ "resume", "paused", "" },
	{ "cancel", "scheduled queued starting copying synced paused failed", "canceled" },
	{ "set", "scheduled queued starting copying synced paused switching switched failed", "" },
	{ "switch", "synced", "switched" },
	{ "undo", "switched", "" },
	{ "commit", "switched", "committed" },
	{ "retry", "failed", "" },
	{ "retire", "committed completed", "" },
	{ "verify", "synced switched", "" },
};

static void every_transition(void **state)
{
	assert_int_equal(sizeof leads_to / sizeof leads_to[0], DRAY_PAIR_STATE_COUNT);
	for (size_t i = 0; i < DRAY_PAIR_STATE_COUNT; i++) {
		int from = dray_state_from_word(leads_to[i].from);
		assert_true(from >= 0);
		for (int to = 0; to < DRAY_PAIR_STATE_COUNT; to++) {
			bool want = among(leads_to[i].to, dray_state_word(to));
			if (dray_pair_may_become(from, to) != want)
				fail_msg("%s to %s should be %s", leads_to[i].from, dray_state_word(to),
					want ? "possible" : "impossible");
		}
		assert_int_equal(dray_state_final(from), !*leads_to[i].to);
	}
}

static void every_verb(void **state)
{
	assert_int_equal(sizeof allowed / sizeof allowed[0], DRAY_VERB_COUNT);
	for (size_t i = 0; i < DRAY_VERB_COUNT; i++) {
		int verb = dray_verb_from_word(allowed[i].verb);
		assert_true(verb >= 0);
		for (int s = 0; s < DRAY_PAIR_STATE_COUNT; s++) {
			const char *w = dray_state_word(s);
			enum dray_legal want = among(allowed[i].legal, w) ? DRAY_LEGAL :
				among(allowed[i].fulfilled, w)            ? DRAY_FULFILLED :
									    DRAY_ILLEGAL;
			if (dray_verb_legal(verb, s) != want)
				fail_msg("%s while %s: %d, should be %d", allowed[i].verb, w, dray_verb_legal(verb, s),
					want);
		}
	}
}

static void words(void **state)
{
	for (int s = 0; s < DRAY_PAIR_STATE_COUNT; s++)
		assert_int_equal(dray_state_from_word(dray_state_word(s)), s);
	for (int v = 0; v < DRAY_VERB_COUNT; v++)
		assert_int_equal(dray_verb_from_word(dray_verb_word(v)), v);
	assert_int_equal(dray_state_from_word("gone"), -1);
	assert_int_equal(dray_state_from_word(""), -1);
	assert_int_equal(dray_verb_from_word("explode"), -1);
	assert_int_equal(DRAY_PAIR_STATE_COUNT, DRAY_SESSION_STATE_COUNT);
}

/* What an error message offers is what the table allows. */
static void legal_words(void **state)
{
	assert_string_equal(dray_verbs_legal_words(DRAY_PAIR_COPYING), "pause, cancel or set");
	assert_string_equal(dray_verbs_legal_words(DRAY_PAIR_SWITCHED), "set, undo, commit or verify");
	assert_string_equal(dray_verbs_legal_words(DRAY_PAIR_SYNCED), "pause, cancel, set, switch or verify");
	assert_string_equal(dray_verbs_legal_words(DRAY_PAIR_COMMITTED), "retire");
	assert_string_equal(dray_verbs_legal_words(DRAY_PAIR_CANCELED), "nothing");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_transition),
		cmocka_unit_test(every_verb),
		cmocka_unit_test(words),
		cmocka_unit_test(legal_words),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
