/* SPDX-License-Identifier: BSD-3-Clause */
/* Verification of a pair: legs compared by dray-iod while applications run, before a switch that asks for it or by command. */
#ifndef DRAY_AGENT_VERIFY_H
#define DRAY_AGENT_VERIFY_H

#include "agent/agent.h"

/* Starts what is due. true: a call was made. */
bool verify_step(struct pair_run *run);
/* Looks at the figures of a running one. */
void verify_observe(struct pair_run *run);
/* By the verb. One that runs and is just like it is joined; another one is begun anew. */
void verify_ask(struct change *c, struct pair_run *run, unsigned sample, bool repair);
/* Forgets one that runs or was asked for: inside a change that touched the pair. dray-iod is told by the next step. */
void verify_forget(struct pair_run *run);
/* One that runs is begun again when the pair is in sync again; one that was asked for still is. Likewise. */
void verify_anew(struct pair_run *run);
/* The same for a verb (`by`: "a pause"), whose change it is; who waits for the verification is told. */
void verify_stop(struct change *c, struct pair_run *run, const char *by);
/* The last one that could tell found that legs differ. */
bool verify_differs(const struct dray_pair *p);
/* What it found is not so any more, unless it is that they differ: inside a change that touched the pair. */
void verify_void(struct dray_pair *p);
/* The document asks for a verification before the switch and it has not ended well yet. */
bool verify_missing(const struct pair_run *run);
/* "4096 bytes that differ, in 1 place, the first at 3145728 of /dev/sdb", of the last one. Returns buf. */
char *verify_where(const struct dray_pair *p, char *buf, size_t size);
/* {"pairs": [{id, bytes_compared, bytes_differing, bytes_repaired, ranges, targets ...}]} of the pairs marked. New reference. */
json_t *verify_report(const struct job *job, const bool *pairs);

#endif
