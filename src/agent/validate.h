/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Validation of a submitted document against the world, all of it at once, with nothing touched.
 */
#ifndef DRAY_AGENT_VALIDATE_H
#define DRAY_AGENT_VALIDATE_H

#include "agent/agent.h"
#include "agent/lock_list.h"
#include "agent/probe.h"

/* Adds to `problems` what is wrong. Chooses the vehicles (into the pairs' vehicle_chosen) and fills `locks` (owned by the caller;
 * identities are owned by the list). `s->id` may be "". */
void validate(struct agent *a, struct dray_session *s, const struct probe_set *probes, struct lock_list *locks,
	struct dray_problems *problems);

/* Whether the directory of its target, and what is in it, does for the pair of a periodic session; what does not is told. */
bool validate_periodic(const struct dray_session *s, size_t pair, const struct probe_set *probes, struct dray_problems *problems);

#endif
