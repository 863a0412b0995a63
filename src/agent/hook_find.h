/* SPDX-License-Identifier: BSD-3-Clause */
/* Which programs an event has, and whether they may be run. */
#ifndef DRAY_AGENT_HOOK_FIND_H
#define DRAY_AGENT_HOOK_FIND_H

#include "repo/repo.h"

#include <jansson.h>
#include <stdbool.h>

/* The words of all events, ended by NULL. */
extern const char *const agent_event_words[];

/* The programs below `dir`: {"any": [path ...], "session-switched": [...]}, each list in the order of the names. What is passed over
 * is told through `told` with its reason. New reference; an empty object where there is no such directory. */
json_t *hook_list(const char *dir, void (*told)(void *ctx, const char *path, const char *why), void *ctx);
/* Those of an event, an array in the order in which they are run; NULL: none. New reference. */
json_t *hook_match(const json_t *list, const struct dray_repo_event *event);
/* It and all directories above it are root's or this user's and can't be written by others, and it can be executed. false: `why`. */
bool hook_safe(const char *path, char *why, size_t size);

#endif
