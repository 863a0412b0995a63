/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which applications a file that drayd copies itself has to give way to (clones.c). They are those of the volumes that dray-iod has which have their primary, or a target
 * that is being written to, on a disk that the new file is on, or the one that it is copied from. Volumes come and legs are moved while a file of terabytes
 * is copied, so they are looked for again all the time.
 *
 * What applications do is told by the core, several times a second (beside.h). The disks are looked at by the thread that copies, since that may block, and
 * only where something is copied. The least that one of them allows counts.
 */
#ifndef DRAY_AGENT_NEIGHBOURS_H
#define DRAY_AGENT_NEIGHBOURS_H

#include "agent/agent.h"

struct neighbours;

struct neighbours *neighbours_new(void);
/* Nobody copies any more. */
void neighbours_free(struct neighbours *all);

/* ---- the core's ---- */

/* This storage is not used by its volume: it is a working image that is being copied. Before the first neighbours_tell. */
void neighbours_except(struct neighbours *all, const char *resource);
/* Those that the agent's list of volumes shows, in it or anew: what they do. */
void neighbours_tell(struct neighbours *all, const struct agent *a);

/* ---- the thread's ---- */

/* The file at hand is copied from there to there; both are used until the next call. */
void neighbours_begin(struct neighbours *all, const char *from, const char *to);
/* The part of the time in which may be copied now, in 1/16: from BESIDE_LEAST to BESIDE_ALL. May block. */
unsigned neighbours_part(struct neighbours *all);

/* ---- anybody's ---- */

/* The volume whose application allowed the least when the thread asked last, or NULL: nobody restricts it. Lives as long as `all`. */
const char *neighbours_least(struct neighbours *all);

#endif
