/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a storage lies on, and what lies on it, by the identities of those other storages (identity.h): a logical volume and the disk below it, an
 * md and its members, a loop device and what is made of it, a file and the device of its file system. Two of one line are one another's
 * bytes under names that no comparison of identities brings together.
 */
#ifndef DRAY_STORAGE_LINEAGE_H
#define DRAY_STORAGE_LINEAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct dray_lineage {
	char **below, **above; /* identity lines, each once, the nearest first */
	size_t n_below, n_above;
	bool cut; /* there was no memory, or more storeys than are looked at: there may be more */
};

/* The loop devices there are, with the files behind them: looked up once for many storages. */
struct dray_loops;
/* NULL: no memory. Reads /sys, and looks at the files, which may block. */
struct dray_loops *dray_loops_find(void);
void dray_loops_free(struct dray_loops *loops);

/* Of a path ("file:" in front or not), or a slice of what is there (0, 0: all of it). A file that is missing lies on its folder's file
 * system. What is no path, or can't be looked at, has no lineage that could be known: so it is with NBD exports, and with files of file
 * systems that are on no block device, or on several (Btrfs). Fills `l`, which dray_lineage_free empties. Any thread; may block as above. */
void dray_lineage_find(struct dray_lineage *l, const char *resource, uint64_t offset, uint64_t length, const struct dray_loops *loops);
void dray_lineage_free(struct dray_lineage *l);

#endif
