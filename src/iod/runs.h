/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Is the state directory the one that the last dray-iod of this run directory used, or an older copy of it?
 *
 * Which leg is primary, an epoch tells (seen.h). That the maps are old does not show: a leg that an older map calls clean may have fallen behind
 * since, and a switch to it would lose what it lacks. So each start leaves a random word in both directories, in the run directory with
 * the inode and birth time of the file that has it in the state directory: what was copied away and put back has another inode, or
 * another word. Then no map is believed: all are removed, and every leg but the primary is copied from the beginning.
 *
 * The run directory is gone after a boot of the host: then nothing is known, and the maps are believed.
 *
 * The state directory's file is written first and has the word of the start before, too: a crash between the two files is no older copy.
 */
#ifndef DRAY_IOD_RUNS_H
#define DRAY_IOD_RUNS_H

#include "iod/state.h"

/* At the start, before any map is read: removes the maps of an older copy. 0, or the error of a map that stays. */
int iod_runs_check(struct iod_state *state, const char *run_dir, struct dray_error *err);
/* Once that is done: leaves this start's word. A failure is logged; the next start then may take the directory for an older copy. */
void iod_runs_note(struct iod_state *state, const char *run_dir, const char *word);

#endif
