/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The epoch records: which leg of each volume is primary (H8-H10). The essay and the format are in epochs.c.
 *
 * One writer at a time, for the whole process: whoever wants to change the table takes the pen (begin), may write as often
 * as it must, and puts it back (end). Reads of the table may happen at any time. All functions are thread-safe;
 * begin and write block.
 */
#ifndef DRAY_IOD_EPOCHS_H
#define DRAY_IOD_EPOCHS_H

#include "base/error.h"
#include "iod/def.h"

#define IOD_TOKEN_MAX 127

struct iod_epochs;

struct iod_epoch {
	uint8_t uuid[IOD_UUID_BYTES];
	uint64_t epoch;                /* 1 at first, plus one at each switch; 0 in a change: the volume goes */
	uint32_t primary;              /* leg id */
	uint32_t let_go;               /* id of the primary before, if that switch let it go; else 0 */
	char token[IOD_TOKEN_MAX + 1]; /* of the switch that led here, "" if none did */
};

/* Reads both slots (creating the empty files). -ENOMEM and system errors. */
int iod_epochs_open(struct iod_epochs **epochs, int dir_fd, struct dray_error *err);
/* Was a valid record found or written? Else the table is empty because nothing is known: right for a new directory, and
 * a reason to serve nothing where volumes are there. */
bool iod_epochs_known(struct iod_epochs *epochs);
void iod_epochs_close(struct iod_epochs *epochs);

/* false: no such volume. */
bool iod_epochs_get(struct iod_epochs *epochs, const uint8_t uuid[IOD_UUID_BYTES], struct iod_epoch *out);
/* Calls `each` for every entry; it must not call back. */
void iod_epochs_each(struct iod_epochs *epochs, void (*each)(void *arg, const struct iod_epoch *entry), void *arg);

/* Takes the pen. -EBUSY "record_busy": another record has been under way for longer than `wait_ns`. */
int iod_epochs_begin(struct iod_epochs *epochs, uint64_t wait_ns, struct dray_error *err);
/* Writes the table with the changes (added, replaced or, with epoch 0, removed) as one durable record. After an error the outcome
 * on disk is unknown until a later write succeeds; the table in memory is as before, so a write with n = 0 is the
 * superseding record. A write after an error goes to the same slot. */
int iod_epochs_write(struct iod_epochs *epochs, const struct iod_epoch *changes, unsigned n, struct dray_error *err);
/* Puts the pen back, after the second copy of what was written; blocks for it. */
void iod_epochs_end(struct iod_epochs *epochs);

/* Begin, write, on failure supersede (a few attempts), end: for changes that need no finer hand. Those of several callers may become one
 * record, with one outcome for all. */
int iod_epochs_change(struct iod_epochs *epochs, const struct iod_epoch *changes, unsigned n, struct dray_error *err);

/* How long a record takes, smoothed, for the prediction of a blackout. */
uint64_t iod_epochs_ewma_ns(struct iod_epochs *epochs);

#endif
