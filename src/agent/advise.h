/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What people are told beside the plain refusal: what would be legal, and what is legal but to be minded.
 *
 * Warnings are part of the document (`warnings`): found at the submit, or when a copy is done. Codes:
 *
 *   gpt_backup      the source has a GPT and the target is larger: the table's backup will not be at the end of the target
 *   duplicate_uuid  a copy is done: two storages have the same UUIDs
 *   no_room         a thin file is made where less is free than the source has
 *   unreadable      what a source holds could not be looked at
 *   no_switch       switch says when, and nobody uses any of the sources: there is nothing to be switched
 */
#ifndef DRAY_AGENT_ADVISE_H
#define DRAY_AGENT_ADVISE_H

#include "agent/agent.h"
#include "agent/probe.h"

/* What would be legal where opening a resource failed with this kind of error; NULL: nothing to say. */
const char *advise_legal(const char *kind, bool target, bool online_possible);
/* Keeps what the source was found to hold, for later warnings. */
void advise_keep(struct dray_pair *p, const struct dray_content *content);
/* Warnings about a pair before it starts. `size_bytes`: of the source, 0: not known. */
void advise_target(struct dray_session *s, size_t pair, const char *pointer, size_t target, const struct probe *probe,
	uint64_t size_bytes);
/* Warnings about the switch, before the session starts (c NULL), or as part of a change of it, with an event each. */
void advise_switch(struct dray_session *s, struct change *c);
/* Warnings about a pair whose copy is done, with an event each, as part of the change that records it. */
void advise_done(struct change *c, struct pair_run *run);

#endif
