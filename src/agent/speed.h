/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How fast a source can be read, and how much of it holds anything: a few reads, here and there, for a moment. Nothing is written, and no
 * lock is taken. May block: on a request's own thread.
 */
#ifndef DRAY_AGENT_SPEED_H
#define DRAY_AGENT_SPEED_H

#include "agent/probe.h"

/* Sets `speed` of the sources of a session's probes. Not of all, where there are many, or where a server does not answer: for a few seconds in all, and
 * what it takes to connect to one server. */
void speed_of_session(const struct dray_session *s, const json_t *volumes, struct probe_set *probes);

#endif
