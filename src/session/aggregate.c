/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The session's state, from its pairs'. The order of the questions is the order of what an operator must know first:
 * an abort, a pause that somebody wants, a switch in progress, then the pair that is least far.
 */
#include "session/session.h"

#include <errno.h>

int dray_pair_become(struct dray_pair *pair, enum dray_pair_state state)
{
	if (pair->state == state)
		return 0;
	if (!dray_pair_may_become(pair->state, state))
		return -EPROTO;
	pair->state = state;
	return 0;
}

enum dray_session_state dray_session_aggregate(const struct dray_session *session)
{
	unsigned count[DRAY_PAIR_STATE_COUNT] = { 0 };
	for (size_t i = 0; i < session->n_pairs; i++)
		count[session->pairs[i].state]++;
	return dray_session_aggregate_counts(session, count);
}

enum dray_session_state dray_session_aggregate_counts(const struct dray_session *session, const unsigned count[])
{
	unsigned gone = count[DRAY_PAIR_FAILED] + count[DRAY_PAIR_CANCELED];
	if (count[DRAY_PAIR_FAILED] && (session->on_error == DRAY_ON_ERROR_SESSION || gone == session->n_pairs))
		return DRAY_SESSION_FAILED;
	if (gone == session->n_pairs)
		return DRAY_SESSION_CANCELED;
	unsigned past = count[DRAY_PAIR_SWITCHED] + count[DRAY_PAIR_COMMITTED] + count[DRAY_PAIR_COMPLETED];
	/* What is switched or over can't be paused. */
	if (session->pause_reasons && gone + past < session->n_pairs)
		return count[DRAY_PAIR_SCHEDULED] + gone == session->n_pairs ? DRAY_SESSION_SCHEDULED : DRAY_SESSION_PAUSED;
	if (count[DRAY_PAIR_SWITCHING])
		return DRAY_SESSION_SWITCHING;
	if (count[DRAY_PAIR_STARTING] || count[DRAY_PAIR_COPYING] || count[DRAY_PAIR_QUEUED])
		return DRAY_SESSION_COPYING;
	if (count[DRAY_PAIR_PAUSED])
		return DRAY_SESSION_PAUSED;
	if (count[DRAY_PAIR_SCHEDULED])
		return DRAY_SESSION_SCHEDULED;
	if (count[DRAY_PAIR_SYNCED])
		return DRAY_SESSION_SYNCED;
	if (count[DRAY_PAIR_SWITCHED])
		return DRAY_SESSION_SWITCHED;
	if (count[DRAY_PAIR_COMMITTED])
		return DRAY_SESSION_COMMITTED;
	return DRAY_SESSION_COMPLETED;
}
