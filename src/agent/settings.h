/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The agent's settings while it runs: read again from the file (SIGHUP), changed over the API, shown.
 *
 * What the API set is in the repository before it is in force, and goes before the file until it is taken back. A file with
 * anything wrong in it is refused as a whole; the settings stay as they were.
 */
#ifndef DRAY_AGENT_SETTINGS_H
#define DRAY_AGENT_SETTINGS_H

#include "agent/agent.h"

struct settings;

/* `file`: absolute, or NULL; `given`: the keys it has (stolen); `command`: the keys that the command line gives (stolen);
 * `base`: defaults and file (owned from now on). NULL: no memory. */
struct settings *settings_new(char *file, json_t *given, json_t *command, struct agent_config *base);
void settings_free(struct settings *settings);
/* What the API had set, from the repository. */
int settings_load(struct agent *a, struct dray_error *err);
/* The file is read again, as `actor` asked. */
void settings_reload(struct agent *a, const char *actor);
/* {key: {value, source, live, legal}} New reference. */
json_t *settings_json(const struct agent *a);
/* GET and PATCH /v1/settings */
void api_settings(struct agent *a, struct api_call *call);

#endif
