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

struct iod_seen;

/* What that file says; where there is none, or path is NULL, nothing. To be freed. NULL: no memory. */
struct iod_seen *iod_seen_read(const char *path);
void iod_seen_free(struct iod_seen *seen);

/* 0: nothing speaks against serving the volume. -ESTALE "not_served" with the reason. copy: it is of the copy in the run directory. */
int iod_seen_check(const struct iod_seen *seen, bool copy, const struct iod_volume_def *def, uint64_t epoch, struct dray_error *err);

#endif
