/* SPDX-License-Identifier: BSD-3-Clause */
/* What is counted for /metrics beside what is there anyway. Since the agent's start. */
#ifndef DRAY_AGENT_METRICS_H
#define DRAY_AGENT_METRICS_H

#include "agent/agent.h"

struct metrics;

/* NULL: no memory. */
struct metrics *metrics_new(void);
void metrics_free(struct metrics *metrics);
/* An event was recorded. Words that are not in agent_event_words count as "other". */
void metrics_event(struct agent *a, const char *event);
/* A volume was switched: the longest that a request waited. */
void metrics_blackout(struct agent *a, uint64_t us);

#endif
