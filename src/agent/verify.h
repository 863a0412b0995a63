/* SPDX-License-Identifier: BSD-3-Clause */
/* Verification of a pair: legs compared by dray-iod while applications run, before a switch that asks for it or by command. */
#ifndef DRAY_AGENT_VERIFY_H
#define DRAY_AGENT_VERIFY_H

#include "agent/agent.h"

/* Starts what is due. true: a call was made. */
bool verify_step(struct pair_run *run);
/* Looks at the figures of a running one. */
void verify_observe(struct pair_run *run);
/* Forgets one that runs or was asked for. */
void verify_forget(struct pair_run *run);
/* The document asks for a verification before the switch and it has not ended well yet. */
bool verify_missing(const struct pair_run *run);
/* {"pairs": [{id, bytes_compared, bytes_differing, ranges}]} of the pairs marked. New reference. */
json_t *verify_report(const struct job *job, const bool *pairs);

#endif
