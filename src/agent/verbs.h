/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A verb that is being asked: what its files share. Each of the functions that carry one out answers the call, now or later (waiting.c), and frees
 * q->pairs or hands them on; where anything of it is not legal or not possible, nothing of it is done.
 */
#ifndef DRAY_AGENT_VERBS_H
#define DRAY_AGENT_VERBS_H

#include "agent/agent.h"

#include "agent/api.h"

struct ask {
	struct agent *a;
	struct job *job;
	struct api_call *call;
	enum dray_verb verb;
	bool *pairs;   /* asked for */
	bool named;    /* by --pair */
	bool detach, repair, accept_bad, force;
	unsigned sample;
	const char *vehicle; /* or NULL */
};

/* ---- verbs.c ---- */
/* For that pair; illegal if it was not asked for. */
enum dray_legal verb_legal(const struct ask *q, size_t i);
/* These answer, and q->pairs are let go of or handed on: nothing is left to do. */
/* `p`: because of this pair; NULL: of what they all are. */
void verb_refuse(struct ask *q, const struct dray_pair *p);
void verb_answer_now(struct ask *q);
/* When it is done. `not_done` is taken over. */
void verb_answer_later(struct ask *q, json_t *not_done);
/* The record failed: nothing was done. */
void verb_not_recorded(struct ask *q, const struct change *c);

/* ---- verbs_pause.c ---- */
void verb_pause(struct ask *q);
void verb_resume(struct ask *q);
/* ---- verbs_end.c ---- */
void verb_cancel(struct ask *q);
void verb_commit(struct ask *q);
/* ---- verbs_switch.c ---- */
/* And undo. */
void verb_switch(struct ask *q);
/* ---- verbs_retry.c ---- */
void verb_retry(struct ask *q);

#endif
