/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DRAY_AGENT_ETA_H
#define DRAY_AGENT_ETA_H

#include "agent/agent.h"

/* Sets progress.eta_seconds of the document of a session, and of its pairs if it has them (`details`), while there is something to transfer. */
void eta_put(const struct job *job, json_t *doc, bool details);
/* In how many seconds all of it is copied, and each of the pairs that are transferred now: `ends` has room for so many, of which *n are told. Negative: not known.
 * Of a session of which nothing was measured yet with a speed of `guess` bytes a second. */
double eta_ends(const struct job *job, uint64_t guess, double *ends, size_t room, size_t *n);

#endif
