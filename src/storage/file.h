/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The file driver's own: file_open.c finds out what a path is and locks it, file.c does the I/O.
 */
#ifndef DRAY_STORAGE_FILE_H
#define DRAY_STORAGE_FILE_H

#include "storage/driver.h"

struct dray_file {
	int fd;
	struct claim *claim; /* a slice of a device, which the process holds for all of them; or NULL */
	bool in_memory;  /* tmpfs: I/O never waits for a device, so it is done at once, on the loop's thread */
	bool punch;      /* PUNCH_HOLE works here (the storage reads as zeroes afterwards) */
	bool zero_range; /* ZERO_RANGE works here */
};

/* Opens, locks, and fills `info` and `f`. As dray_storage_driver.open. */
int dray_file_open(struct dray_file *f, const char *path, const struct dray_storage_options *options,
	struct dray_storage_info *info, struct dray_error *err);
void dray_file_close(struct dray_file *f);

#endif
