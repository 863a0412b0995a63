/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The agent's settings: one table, a row for each. Where a value comes from, the later before the earlier:
 *
 *     default < the file of --config < PATCH /v1/settings (kept in the repository) < the command line
 *
 * A setting that is `live` can be changed while the agent runs; the others are read at the start only.
 */
#ifndef DRAY_AGENT_CONFIG_H
#define DRAY_AGENT_CONFIG_H

#include "base/error.h"
#include "base/log.h"
#include "session/problem.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct agent_config {
	char *state_dir, *run_dir;
	char *iod_program;     /* path of dray-iod */
	bool no_iod;           /* another one starts dray-iod */
	enum dray_log_level log_level;
	unsigned active_pairs; /* of all sessions together; default 32 */
	uint64_t rate;         /* of all sessions together, bytes per second; UINT64_MAX: no limit */
	uint64_t in_flight;    /* of all sessions together, bytes being moved at one moment; UINT64_MAX: no limit */
	uint64_t step, steps, app_latency_ns; /* of each pair; UINT64_MAX: no limit */
	uint64_t host_active_pairs, host_in_flight; /* of all pairs whose vehicle is host; UINT64_MAX: no limit */
	unsigned iod_threads;  /* 0: dray-iod decides */
	bool allow_faults;     /* tests: dray-iod understands `fault:` resources */
	char *hooks_dir;       /* "": none are run */
	uint64_t hook_timeout_ns;
	unsigned hook_retries, hooks_at_once;
	uint64_t keep_sessions, keep_for_ns; /* past sessions; UINT64_MAX: all, for ever */
};

struct setting {
	const char *key;
	enum { SET_COUNT, SET_MANY, SET_SIZE, SET_DURATION, SET_LEVEL, SET_BOOL, SET_PATH } type;
	bool live;
	bool none;            /* the word "none" is legal */
	uint64_t least, most; /* numbers */
	const char *legal;    /* for people */
	size_t field;
	bool power2;          /* a power of two */
};

extern const struct setting agent_settings[];
extern const size_t agent_settings_n;

/* NULL: there is none. */
const struct setting *setting_find(const char *key);
/* Takes the text of a value. NULL, or the code of what is wrong with it, as of a key of a document: bad_value, bad_unit, out_of_range; nothing was changed then. */
const char *setting_take(struct agent_config *config, const struct setting *setting, const char *text);
/* The value as the API shows it: a number (sizes in bytes, durations in seconds), a word, true or false; null: none. */
json_t *setting_value(const struct agent_config *config, const struct setting *setting);
/* Copies one value; the two configs own their strings. */
void setting_copy(struct agent_config *to, const struct agent_config *from, const struct setting *setting);
/* "active_pairs, rate, ..." Static. */
const char *setting_words(void);

/* Defaults, with directories for this user: -ENOMEM. Directories that are not known are NULL. */
int agent_config_new(struct agent_config **config, struct dray_error *err);
void agent_config_free(struct agent_config *config);
/* Reads a file on top; all that is wrong with it is in `problems` (pointer "/rate", line), and what is right was taken. -EINVAL: there
 * is something wrong; -ENOENT ...: the file can't be read (err, and a problem). `given` (or NULL): an object that gets the keys the
 * file has. */
int agent_config_read(struct agent_config *config, const char *path, json_t *given, struct dray_problems *problems);

#endif
