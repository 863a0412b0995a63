/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The process: started from its state directory, stopped in order.
 */
#ifndef DRAY_IOD_PROCESS_H
#define DRAY_IOD_PROCESS_H

#include "iod/iod.h"

/* Starts threads, sockets and volumes. After an error the process has to end. */
int iod_start(struct iod *iod, struct dray_error *err);
/* Runs until it is stopped (iod_stop). true: everything was put to rest; false: some storage was still stuck. */
bool iod_run(struct iod *iod);

#endif
