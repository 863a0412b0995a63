/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What drivers share with storage.c, and with nobody else.
 *
 * What a driver may rely on in submit: the range is inside the storage, aligned to block_bytes and not empty (FLUSH has
 * none); READ, WRITE and their like are no longer than max_bytes, ZERO and DISCARD no longer than DRAY_STORAGE_MOST_ZERO;
 * nothing changes a read-only storage; ZERO, DISCARD, EXTENTS, CACHE and DRAY_F_FUA (on WRITE only) arrive only where
 * info says that the driver can. Offsets are in the slice: the driver adds st->slice_offset.
 */
#ifndef DRAY_STORAGE_DRIVER_H
#define DRAY_STORAGE_DRIVER_H

#include "storage/storage.h"

#define DRAY_STORAGE_MOST_ZERO (UINT64_C(1) << 30)

extern const struct dray_storage_driver dray_storage_file, dray_storage_nbd, dray_storage_fault;

/* Completes the operation with `error` from the loop, later. */
void dray_storage_finish(struct dray_storage *st, struct dray_sio *sio, int error);

/* For a driver that learned at run time that it cannot ZERO here: writes zeroes instead; completes sio. */
void dray_storage_write_zeroes(struct dray_storage *st, struct dray_sio *sio);

/* "/dev/sdb: " in front, for messages; resource names without "file:". */
const char *dray_storage_path(const char *resource);

#endif
