/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A call to a pair's vehicle, from its start to its answer.
 *
 *     run->vehicle->pause(rpc, p, leg, true, false, call_done, call_new(run, what_next));
 *
 * Between the two the pair is busy. The answer makes older lists of volumes void for it and asks for a new one; a failure
 * sets op_error and a growing delay before the pair's next call; a lost answer sets neither: the next list tells.
 */
#ifndef DRAY_AGENT_CALL_H
#define DRAY_AGENT_CALL_H

#include "agent/agent.h"

/* err NULL: done. Called only when the outcome is known. */
typedef void call_then(struct pair_run *run, const struct dray_error *err);

/* `then` may be NULL. */
void *call_new(struct pair_run *run, call_then *then);
void call_done(void *arg, const struct dray_error *err, json_t *result);

#endif
