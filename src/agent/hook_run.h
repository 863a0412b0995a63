/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One run of a hook: a process in a session of its own, with a time limit. Nothing here waits.
 */
#ifndef DRAY_AGENT_HOOK_RUN_H
#define DRAY_AGENT_HOOK_RUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hook_run;

/* `text` is its standard input; `env` its whole environment. What it says on standard output and error is kept as far as it is short. The
 * file descriptors to watch are added to `epoll`. 0, or a negative errno. */
int hook_run_start(struct hook_run **run, const char *path, const char *text, char *const env[], uint64_t limit_ns, uint64_t now_ns,
	int epoll);
/* Looks after it. true: it ended; `how` says how ("" : well), `said` what it said last. */
bool hook_run_step(struct hook_run *run, uint64_t now_ns, char *how, size_t size);
const char *hook_run_said(const struct hook_run *run);
/* When its time is over. */
uint64_t hook_run_due(const struct hook_run *run);
/* Kills it, with its process group, if it still runs. */
void hook_run_free(struct hook_run *run);

#endif
