/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the volumes of this process know of each other where they share a disk.
 *
 * A volume's copy follows what its own application feels (engine/pacer.h). Another volume on the same disk feels it just as much, and may live on
 * another thread. So for each disk there is one place with a few words, read and written by all threads without a lock:
 *
 *   copied    whose copy had anything under way on it last, and when; and who was that before: whose requests take long meanwhile has another's copy
 *             to blame. What its own does it knows better itself
 *   tightest  the least window that the application of any volume allows to copies, whose that is, and when it was said; and the next to that, by another,
 *             for the one that hears of its own nothing new, and for when that one allows more. Each holds for half a second, as long as an application
 *             counts as one that works, or until it is taken back
 *
 * A disk is known by the kernel's numbers of all that lies below a storage (storage/below.h), so that partitions, logical volumes and files meet on
 * the disk that they are on. All exports of an NBD server count as one: what lies behind them can't be looked at, and what they share for
 * certain is the server and the way to it. (Where they are on disks of their own an application on one has nothing to complain about
 * while another is copied, and holds nobody back.) What else can't be looked at shares nothing. Disks are never
 * forgotten: there are few, and when the places are taken the rest share nothing.
 */
#ifndef DRAY_IOD_DISKS_H
#define DRAY_IOD_DISKS_H

#include "storage/storage.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define IOD_DISKS         1024
#define IOD_DISKS_OF_LEG  8
#define IOD_WINDOW_ANY    UINT32_MAX

struct iod_disk {
	atomic_uint_fast64_t key; /* 0: free */
	atomic_uint_fast64_t copied, copied_before, tightest[2];
};

struct iod_disks {
	struct iod_disk disk[IOD_DISKS];
};

/* The disks below an open storage, `resource` being its name now; how many. May block for a moment; any thread. */
unsigned iod_disks_below(struct iod_disks *disks, const char *resource, const struct dray_storage_info *info,
	struct iod_disk *out[IOD_DISKS_OF_LEG]);

/* Any thread, at once. `who` is not 0 and of one volume alone; times are of one clock. */
void iod_disk_copied(struct iod_disk *disk, uint32_t who, uint64_t now_ms);
/* By others than `who`, a moment ago. */
bool iod_disk_is_copied(const struct iod_disk *disk, uint32_t who, uint64_t now_ms);
/* `window`: in 1/16 of a step. */
void iod_disk_allow(struct iod_disk *disk, uint32_t who, uint32_t window, uint64_t now_ms);
/* It does not work any more. */
void iod_disk_allow_all(struct iod_disk *disk, uint32_t who, uint64_t now_ms);
/* What others allow; IOD_WINDOW_ANY: there is nobody. */
uint32_t iod_disk_allowed(const struct iod_disk *disk, uint32_t who, uint64_t now_ms);

#endif
