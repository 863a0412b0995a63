/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DRAY_AGENT_ETA_H
#define DRAY_AGENT_ETA_H

#include "agent/agent.h"

/* Sets progress.eta_seconds of the document of a session, and of its pairs if it has them (`details`), while there is something to transfer. */
void eta_put(const struct job *job, json_t *doc, bool details);

#endif
