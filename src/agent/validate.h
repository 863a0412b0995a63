/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Validation of a submitted document against the world, all of it at once, with nothing touched.
 */
#ifndef DRAY_AGENT_VALIDATE_H
#define DRAY_AGENT_VALIDATE_H

#include "agent/agent.h"
#include "agent/probe.h"

/* The locks a session needs, to be taken all or none. */
struct lock_list {
	struct dray_repo_lock *locks;
	char **pointers; /* JSON pointer of the member that each is for */
	size_t n;
	/* A document's own locks by the thing that they are on: the place of the last one (from 1), and of the one before each. */
	struct dray_table by_thing;
	size_t *same_thing;
};
void lock_list_free(struct lock_list *list);
/* Adds a lock on what the identity line names (a part of it, where it ends in "+OFFSET,LENGTH"), for a check. Valid until the
 * list is changed or freed. */
struct dray_repo_lock *lock_for(struct lock_list *list, const char *identity);

/* Adds to `problems` what is wrong. Chooses the vehicles (into the pairs' vehicle_chosen) and fills `locks` (owned by the caller;
 * identities are owned by the list). `s->id` may be "". */
void validate(struct agent *a, struct dray_session *s, const struct probe_set *probes, struct lock_list *locks,
	struct dray_problems *problems);

#endif
