/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What drayd is told at its start: the command line, a small YAML file, the default directories.
 */
#ifndef DRAY_AGENT_CONFIG_H
#define DRAY_AGENT_CONFIG_H

#include "base/error.h"
#include "base/log.h"

#include <stdbool.h>
#include <stdint.h>

struct agent_config {
	char *state_dir, *run_dir;
	char *iod_program;     /* path of dray-iod */
	bool no_iod;           /* another one starts dray-iod */
	enum dray_log_level log_level;
	unsigned active_pairs; /* of all sessions together; default 32 */
	uint64_t rate;         /* of all sessions together, bytes per second; UINT64_MAX: no limit */
	unsigned iod_threads;  /* 0: dray-iod decides */
	bool allow_faults;     /* tests: dray-iod understands `fault:` resources */
};

/* Defaults, with directories for this user: -ENOMEM, or -ENOENT where no home and no runtime directory is known. */
int agent_config_new(struct agent_config **config, struct dray_error *err);
void agent_config_free(struct agent_config *config);
/* Reads a file on top. -EINVAL names the unknown key or bad value and its line; -ENOENT ... */
int agent_config_read(struct agent_config *config, const char *path, struct dray_error *err);

#endif
