/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Was the state directory lost, or an older copy of it put back? It can't tell by itself; the agent keeps, in its own directory, the
 * highest epoch that it saw of each volume (H9), and writes them to a file for us: lines of NAME UUID EPOCH. A volume that is behind it, or
 * another one of that name, may have been left by its applications: serving it could bring back old data.
 *
 * That file may have been put back together with the rest. So the agent keeps a second copy in the run directory, which is no part of
 * what people back up: there a higher epoch of the same volume counts, and nothing else (it may be behind the first).
 */
#ifndef DRAY_IOD_SEEN_H
#define DRAY_IOD_SEEN_H

#include "base/error.h"
#include "iod/def.h"

#include <stdbool.h>

/* 0: nothing speaks against serving the volume (also where there is no such file, or path is NULL). -ESTALE "not_served" with the reason.
 * copy: path is the copy in the run directory. */
int iod_seen_check(const char *path, bool copy, const struct iod_volume_def *def, uint64_t epoch, struct dray_error *err);

#endif
