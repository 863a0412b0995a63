/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Retiring sources, the agent's side (docs/RETIRE.md; storage/retire.h does the work).
 *
 *   retire-look.c   what a source can be asked for: looked at on the request's thread, judged by the core
 *   retire-ask.c    the verb
 *   retire.c        from `pending` on record to `done` or `failed` on record
 */
#ifndef DRAY_AGENT_RETIRE_H
#define DRAY_AGENT_RETIRE_H

#include "agent/agent.h"
#include "agent/probe.h"
#include "session/session.h"
#include "storage/retire.h"

struct api_call;

/* What a look at one pair's source found. */
struct retire_look {
	unsigned pair; /* its id */
	int rc;        /* of dray_retire_look */
	struct dray_error err;
	struct dray_retire_facts facts;
};

/* ---- retire-look.c ---- */
/* On a request's thread: looks at the sources of a session that is being submitted, where it says how they are retired.
 * `volumes`: as GET /volumes has them, or NULL: not known. */
void retire_look_submitted(struct probe_set *probes, const struct dray_session *s, const json_t *volumes, bool allow_faults);
/* On a request's thread: looks at the sources that retire_sources or retire_all_sources told. Fills call->looks. */
void retire_look_asked(struct api_call *call, const json_t *sources, bool allow_faults);
/* The core: [{pair, session, resource, offset, length}] of the pairs whose source may be retired now. */
json_t *retire_sources(const struct job *job);
/* The core: the same of the pairs that are not over, whose sources switch.retire would be for. */
json_t *retire_all_sources(const struct agent *a, const struct job *job);
/* The core, before switch.retire becomes `way`: adds what stands against it, as for a session that is submitted. False, and the
 * call is answered: a retire of the session has begun. */
bool retire_may_change(struct job *job, struct api_call *call, enum dray_retire_way way);
/* The core, while a session is validated: keeps what the source is, and adds what stands against switch.retire. */
void retire_validate(struct agent *a, struct dray_session *s, size_t pair, const struct probe_set *probes,
	struct dray_problems *problems);
/* The same for what dray-iod says now of the leg that is the source: device names move. */
void retire_note_origin(const struct agent *a, struct dray_pair *p, int leg);
/* The plan of a dry run, into the pairs. `session`: its id, or NULL: none yet. */
void retire_plans(struct dray_session *s, const struct probe_set *probes, const char *session);

/* ---- retire-ask.c ---- */
/* The verb, for the pairs that `pairs` (s->n_pairs, malloc'ed, taken over) names. */
void retire_ask(struct agent *a, struct job *job, struct api_call *call, bool *pairs, bool named);

/* ---- retire.c ---- */
/* Part of a change: the pair's retire is on record, and its source locked. c->err says where it can't be. */
void retire_begin(struct change *c, struct pair_run *run, const char *how, bool automatic);
/* Begins the work of those that are pending, where it can be begun. */
void retire_wake(struct job *job);
/* Takes what the threads have to tell. Once per turn of the loop. */
void retire_step(struct agent *a);
/* Lets all work end; it is gone on with after the next start. */
void retire_stop(struct agent *a);

#endif
