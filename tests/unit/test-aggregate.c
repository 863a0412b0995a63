/* SPDX-License-Identifier: BSD-3-Clause */
/* A session's state follows from its pairs'. */
#include "session/session.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

static void aggregates(void **state)
{
	static const struct {
		const char *pairs, *want;
		bool abort; /* on_error: session */
		unsigned paused;
	} cases[] = {
		{ "scheduled scheduled", "scheduled" },
		{ "queued queued", "copying" },
		{ "copying queued synced", "copying" },
		{ "starting synced synced", "copying" },
		{ "synced synced", "synced" },
		{ "synced switched", "synced" },
		{ "synced switching", "switching" },
		{ "switched switched", "switched" },
		{ "switched committed", "switched" },
		{ "committed committed", "committed" },
		{ "committed completed", "committed" },
		{ "completed completed", "completed" },
		{ "synced failed", "synced" },
		{ "switched canceled failed", "switched" },
		{ "canceled failed", "failed" },
		{ "canceled canceled", "canceled" },
		{ "failed failed", "failed" },
		{ "copying failed", "failed", true },
		{ "canceled failed switched", "failed", true },
		{ "paused copying", "copying" },
		{ "paused synced", "paused" },
		{ "paused queued", "paused", false, DRAY_PAUSE_USER },
		{ "paused switched", "paused", false, DRAY_PAUSE_USER },
		{ "switched switched", "switched", false, DRAY_PAUSE_USER },
		{ "scheduled scheduled", "scheduled", false, DRAY_PAUSE_WINDOW },
		{ "queued copying", "paused", false, DRAY_PAUSE_WINDOW },
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct dray_pair pairs[3] = { 0 };
		struct dray_session s = { .pairs = pairs, .pause_reasons = cases[i].paused,
			.on_error = cases[i].abort ? DRAY_ON_ERROR_SESSION : DRAY_ON_ERROR_PAIR };
		char words[64], *save = NULL;
		strcpy(words, cases[i].pairs);
		for (char *w = strtok_r(words, " ", &save); w; w = strtok_r(NULL, " ", &save))
			pairs[s.n_pairs++].state = (enum dray_pair_state)dray_state_from_word(w);
		const char *got = dray_state_word((enum dray_pair_state)dray_session_aggregate(&s));
		if (strcmp(got, cases[i].want))
			fail_msg("%s: %s, should be %s", cases[i].pairs, got, cases[i].want);
	}
}

static void setter(void **state)
{
	struct dray_pair p = { .state = DRAY_PAIR_SYNCED };
	assert_int_equal(dray_pair_become(&p, DRAY_PAIR_SWITCHED), -EPROTO);
	assert_int_equal(p.state, DRAY_PAIR_SYNCED);
	assert_int_equal(dray_pair_become(&p, DRAY_PAIR_SYNCED), 0);
	assert_int_equal(dray_pair_become(&p, DRAY_PAIR_SWITCHING), 0);
	assert_int_equal(dray_pair_become(&p, DRAY_PAIR_SWITCHED), 0);
	assert_int_equal(dray_pair_become(&p, DRAY_PAIR_CANCELED), -EPROTO);
	assert_int_equal(p.state, DRAY_PAIR_SWITCHED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(aggregates),
		cmocka_unit_test(setter),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
