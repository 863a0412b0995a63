/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who asked for what, and what became of it.
 *
 * A verb that leads to something has an event `asked`, recorded together with what it wants, and one `answered` when its caller is answered.
 * Whatever is refused, verb or other change, has an event `refused`. What was fulfilled already has none: nothing happened. Other
 * changes (`submitted`, `set`, `setting`, `volume-added` ...) are events with their actor by themselves. Each request that would change
 * something is in the log as well, with the caller's process.
 *
 * Nobody has an answer of which the record knows nothing: the event is durable first, whatever is killed when. Where it can't be recorded (a
 * full disk) the answer is given all the same, since what was asked for is done; the log has it.
 */
#ifndef DRAY_AGENT_AUDIT_H
#define DRAY_AGENT_AUDIT_H

#include "agent/agent.h"

struct audit;
struct change;

/* NULL: no memory. */
struct audit *audit_new(void);
void audit_free(struct audit *audit);
/* A verb is about to be carried out for these pairs; and it was, or its call waits, or was answered. */
void audit_verb(struct agent *a, struct job *job, struct api_call *call, enum dray_verb verb);
void audit_verb_done(struct agent *a);
/* A change of this job begins: `asked` becomes part of it. */
void audit_change(struct change *c);
/* The call is to be answered with `status`. true: that is told by an event, and audit_flush answers (api_answer_now) once it is durable. */
bool audit_answer(struct api_call *call, int status, const json_t *answer);
/* Records what was kept back, and has the calls answered that it tells of. At the end of a turn: no transaction may be open. */
void audit_flush(struct agent *a);
/* There is something to flush: the next turn is not to be waited for. */
bool audit_waits(const struct agent *a);

#endif
