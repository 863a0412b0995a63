/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a session would do if it were started now, for `dray start --dry-run` (`plan` in the answer): which vehicle each pair gets and
 * why, who goes first and what the others wait for, what is locked, how and when it is switched. Nothing is locked,
 * recorded or started. docs/API.md has the members.
 */
#ifndef DRAY_AGENT_PLAN_H
#define DRAY_AGENT_PLAN_H

#include "agent/agent.h"
#include "agent/validate.h"

/* `job` is validated, and is none of the agent's own. New reference. */
json_t *plan_make(struct agent *a, struct job *job, const struct probe_set *probes, const struct lock_list *locks);

#endif
