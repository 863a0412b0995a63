/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Hooks around the split of a generation: programs that bring an application or a file system to rest (fsfreeze, a database's own way) and let it
 * go again. Unlike other hooks (hooks.h) they are waited for, within the document's hook_timeout, all of one kind together. They lie in the same
 * directory, in `before-split` and `after-split`, and are held to the same rules of who may put them there.
 *
 * One kind at a time for a session. drayd(8) says it for those who write them.
 */
#ifndef DRAY_AGENT_SPLIT_HOOKS_H
#define DRAY_AGENT_SPLIT_HOOKS_H

#include "agent/agent.h"

#define HOOKS_BEFORE "before-split"
#define HOOKS_AFTER  "after-split"

/* Whether there is a program of either kind; `*before`: of those before the split. */
bool split_hooks_any(struct agent *a, bool *before);
/* Begins with those of that kind. `split`: told to those after it: whether there was one. None is there: they are done at once. */
void split_hooks_start(struct job *job, const char *kind, bool split);
/* 0: they run. 1: all ended well. -1: the one that is named in `why` did not; those after-split are run all the same, one after the other. */
int split_hooks_step(struct job *job, char *why, size_t size);
bool split_hooks_run(const struct job *job);
/* Ends what runs. */
void split_hooks_end(struct job *job);

#endif
