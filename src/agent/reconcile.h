/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where the record and dray-iod don't fit: one of their two directories was lost, or an older copy of it put back.
 *
 * dray-iod's epoch record says which leg is primary (H9). The agent keeps the highest epoch that it saw of each volume, in the
 * repository and, for dray-iod to look at before it serves anything, in STATE/volumes-seen, with a copy in RUN/volumes-seen. So:
 *
 *   dray-iod is ahead     the repository is the older one: the pairs go forward to what dray-iod says
 *   dray-iod is behind,   nobody guesses: the volume is not served and its pairs are not touched, the reason is told,
 *   or another volume     until somebody says `volume accept`; then its pairs go where it says
 *   a volume is gone      its pairs fail; one that was switched stays as it is and says where its data was seen last
 *   a leg or volume of    nobody on record owns it: told by `status`, and `volume release` lets it go
 *   no session on record
 */
#ifndef DRAY_AGENT_RECONCILE_H
#define DRAY_AGENT_RECONCILE_H

#include "agent/agent.h"
#include "agent/api.h"

/* Writes STATE/volumes-seen from a->seen, and a copy into the run directory. A failure is logged: then an older list is looked at, which says
 * less. */
void seen_write(struct agent *a);
/* At the start: the whole state directory may be an older copy, the record as well as dray-iod's, and fit together. The copy in the run
 * directory, which nobody backs up, lives until the host boots: where it has a higher epoch of the same volume, that one is recorded, with an
 * event; dray-iod, behind it, does not serve the volume then. Another uuid says nothing: the copy is written after the record. 0 or -errno. */
int seen_take_copy(struct agent *a, struct dray_error *err);
/* Records the epoch of a volume, also a lower one or another uuid. The list is to be written then (a->seen_changed). 0 or -errno. */
int seen_put(struct agent *a, const char *name, const char *uuid, uint64_t epoch, struct dray_error *err);
/* The same of several: name -> {uuid, epoch}. All or none. */
int seen_put_all(struct agent *a, json_t *rows, struct dray_error *err);

/* Judges a settled pair whose volume may be trusted. true: the record did not fit and was dealt with, nothing else may be judged. */
bool pair_reconcile(struct pair_run *run);
/* May the verb not be asked of these pairs, since a volume is gone or not trusted? true: the call was answered. */
bool reconcile_refuses(struct agent *a, struct job *job, enum dray_verb verb, const bool *pairs, struct api_call *call);

/* ---- orphans.c ---- */

/* [{volume, hidden, leg, resource, session}]: legs (leg null: whole hidden volumes) that no session on record owns. */
json_t *orphans(const struct agent *a);
json_t *orphans_of(const struct agent *a, const json_t *volume);
/* POST /v1/volumes/NAME/release and .../accept */
void volume_release(struct agent *a, struct api_call *call);
void volume_accept(struct agent *a, struct api_call *call);

#endif
