/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Open files. A volume needs one for each storage, one for each map, and more for a while; a client needs one. The process has as many as the
 * hard limit allows. When they run out, what is there has to go on: a switch, a pause and the next record need a few. So nothing new is
 * begun with the last ones.
 */
#ifndef DRAY_IOD_FILES_H
#define DRAY_IOD_FILES_H

#include "base/error.h"

/* At the start: raises the soft limit to the hard one, and logs what it is. */
void iod_files_init(void);
/* Before something new is begun, and after it, where the first returned 0. -EMFILE "too_many_files", with the limit and how to raise it. Any
 * thread. */
int iod_files_begin(struct dray_error *err);
void iod_files_end(void);
/* An error that came of it all the same, because much was begun at once, is told in the same words. */
void iod_files_explain(struct dray_error *err);

#endif
