/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Starts dray-iod when none listens.
 *
 * dray-iod outlives drayd: it is started in a session of its own with nothing inherited, and belongs to nobody
 * afterwards. So the agent never waits for it as for a child; that nobody listens on its socket is what it goes by. One that is there but slow
 * is never touched, and none is started beside it: the agent knows whether the process that it started still lives, and of one that another
 * drayd started, that it has the lock on its state directory. Where neither can be seen, the second ends at once, by that lock.
 */
#ifndef DRAY_AGENT_SUPERVISOR_H
#define DRAY_AGENT_SUPERVISOR_H

#include "agent/config.h"

struct supervisor;

/* NULL: no memory. The config outlives it. */
struct supervisor *supervisor_new(const struct agent_config *config);
void supervisor_free(struct supervisor *s);
/* Nobody listens: starts one unless one is on its way, or it was tried too short a time ago (0.5 s, doubling up to 30 s while it does not help). */
void supervisor_absent(struct supervisor *s, uint64_t now_ns);
/* dray-iod answered: the next start comes without delay. */
void supervisor_alive(struct supervisor *s);
/* No more starts (the agent, or both, are told to end). */
void supervisor_stop(struct supervisor *s);
void supervisor_go_on(struct supervisor *s);
unsigned supervisor_starts(const struct supervisor *s);
/* Why the last start failed, or "". */
const char *supervisor_trouble(const struct supervisor *s);

#endif
