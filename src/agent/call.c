/* SPDX-License-Identifier: BSD-3-Clause */
#include "agent/call.h"

#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct pair_call {
	struct pair_run *run;
	call_then *then;
	enum pair_goal goal; /* of the pair when it was made */
};

void *call_new(struct pair_run *run, call_then *then)
{
	struct pair_call *call = malloc(sizeof *call);
	if (!call)
		abort();
	*call = (struct pair_call){ run, then, run->goal };
	run->busy++;
	return call;
}

void call_done(void *arg, const struct dray_error *err, json_t *result)
{
	struct pair_call *call = arg;
	struct pair_run *run = call->run;
	struct agent *a = run->job->agent;
	run->busy--;
	run_needs_list(run);
	run_wake(run);
	if (!err) {
		run->backoff = run->retry_at = 0;
		run->op_error[0] = 0;
	} else if (err->code != -ENOTCONN && err->code != -ECANCELED) {
		run->backoff = run->backoff ? run->backoff * 2 : SECOND;
		if (run->backoff > 30 * SECOND)
			run->backoff = 30 * SECOND;
		run->retry_at = a->now + run->backoff;
		/* What was asked of the pair since has not failed yet. */
		if (call->goal == run->goal)
			snprintf(run->op_error, sizeof run->op_error, "%.239s", err->text);
		else
			run->retry_at = 0;
		char pair[12];
		snprintf(pair, sizeof pair, "%u", run_pair(run)->id);
		const char *keys[] = { "session", run->job->s->id, "pair", pair, NULL };
		dray_log_fields(DRAY_LOG_WARN, "call-failed", keys, "%s", err->text);
	}
	if (call->then && (!err || (err->code != -ENOTCONN && err->code != -ECANCELED)))
		call->then(run, err);
	free(call);
	agent_refresh(a);
}
