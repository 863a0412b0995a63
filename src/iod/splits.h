/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The record of a split: which legs several volumes let go at one instant. It is what makes a split of many volumes one thing: durable before
 * the first volume goes on, and taken away once each volume's own file says the same (docs/ONDISK.md).
 *
 * The functions block on the disk; none may be called on an I/O thread.
 */
#ifndef DRAY_IOD_SPLITS_H
#define DRAY_IOD_SPLITS_H

#include "base/error.h"
#include "iod/state.h"

#include <jansson.h>

/* members: [{volume, uuid, legs: [ID]}]. `keep`: the legs stay, set aside. `number` tells it from those of other splits under way. Durable on 0. */
int iod_split_write(struct iod_state *state, uint64_t number, const json_t *members, bool keep, struct dray_error *err);
/* Durable on 0. None there: 0. */
int iod_split_remove(struct iod_state *state, uint64_t number, struct dray_error *err);
/* At the start, before any volume is loaded: does what the records left by a crash say. A system error ends the start: legs that are not
 * to be used any more would be. */
int iod_splits_redo(struct iod_state *state, struct dray_error *err);

#endif
