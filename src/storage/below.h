/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What lies below a storage, by what the kernel says: the disk of a partition, the parts of device-mapper and md, the file behind a loop
 * device and the device of the file system that a file is on. Any thread.
 */
#ifndef DRAY_STORAGE_BELOW_H
#define DRAY_STORAGE_BELOW_H

#include <stdbool.h>
#include <sys/types.h>

/* Calls `each` for the device that `resource` (a path, "file:" in front or not) is or is on, and for all below that, until one returns
 * true; returns whether one did. A file that is missing is on its folder's file system. What is no path has nothing below it; so has what can't be looked at. */
bool dray_storage_below(const char *resource, bool (*each)(void *arg, dev_t dev), void *arg);

#endif
