/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Hooks: programs that are told what happened.
 *
 * A directory (setting hooks_dir) has a directory for each kind of event, and one `any`; the executables in them are run for each such
 * event, in the order of their names, with the event on standard input. drayd(8) says it for those who write them.
 */
#ifndef DRAY_AGENT_HOOKS_H
#define DRAY_AGENT_HOOKS_H

#include "agent/agent.h"

struct hooks;

/* After the repository was opened and before the first event of this start is recorded. */
int hooks_open(struct agent *a, struct dray_error *err);
/* Ends what runs; it is run again after the next start. NULL is allowed. */
void hooks_close(struct agent *a);
/* Readable when hooks_step has something to do. -1 before hooks_open. */
int hooks_fd(const struct agent *a);
/* Monotonic time at which hooks_step is due otherwise. */
uint64_t hooks_due(const struct agent *a);
void hooks_step(struct agent *a);
/* Events were recorded. */
void hooks_news(struct agent *a);
/* The settings changed. */
void hooks_changed(struct agent *a);
/* {dir, running, waiting, delivered_seq, runs, failures} New reference. */
json_t *hooks_json(const struct agent *a);

#endif
