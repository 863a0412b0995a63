/* SPDX-License-Identifier: BSD-3-Clause */
/* How a change becomes durable: shared by change.c and record.c. */
#ifndef DRAY_AGENT_RECORD_H
#define DRAY_AGENT_RECORD_H

#include "agent/agent.h"

struct change_event {
	unsigned pair;
	int64_t time_ms;
	char event[24], before[16], after[16];
	char *detail;
};

/* A pair as it was before it was touched. */
struct change_pair {
	unsigned index;
	json_t *document, *work;
};

struct change_lock {
	unsigned index;
	size_t target;
	char *identity;
};

/* Records the change with all that were kept before it; or, if it is one for later, keeps it. Empties it. 0, or what c->err says:
 * then it, and all that were kept, were taken back. */
int record_change(struct change *c);

#endif
