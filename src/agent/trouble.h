/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Trouble on the way: what of a source can't be read, and targets that fail, stall and come back.
 */
#ifndef DRAY_AGENT_TROUBLE_H
#define DRAY_AGENT_TROUBLE_H

#include "agent/agent.h"

/* An event of dray-iod (docs/PROTOCOL.md): what a person should hear of becomes one of the pair it is about. */
void trouble_hint(struct agent *a, const json_t *params);
/* From a new view: the bad ranges, and targets that are well again. The view was made from the present list. */
void trouble_observe(struct pair_run *run);
/* Bytes that a switch (a copy: a split) of the pair would leave behind as zeroes, and that nobody accepted by the document. 0: it may go. */
uint64_t trouble_bad_bytes(const struct job *job, size_t pair, bool split);
/* Says so, in one phrase. */
void trouble_bad_text(const struct job *job, size_t pair, bool split, char *text, size_t size);
/* A retry of a pair that is not failed: its source's bad ranges are looked at once more. Whether there is anything to look at. */
bool trouble_may_look_again(const struct job *job, size_t pair);
void trouble_look_again(struct job *job, size_t pair);

#endif
