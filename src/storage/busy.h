/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who uses a storage? Words for people, since "busy" helps nobody. All of it is looked up in /proc and /sys, and may be
 * outdated the moment after: what keeps others out are the locks that file_open.c takes.
 */
#ifndef DRAY_STORAGE_BUSY_H
#define DRAY_STORAGE_BUSY_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/types.h>

/* Is the device, or a partition of it, mounted or used as swap? Fills buf ("it is mounted on /srv"), else leaves it. */
bool dray_busy_mounted(dev_t dev, char *buf, size_t size);
/* Is the device, or a partition of it, mounted, swap, or held by another device (device-mapper, LVM, md)? As above. */
bool dray_busy_device(dev_t dev, char *buf, size_t size);
/* Is a regular file used as swap, or behind a loop device that is in use? *mounted: by a mount or as swap. */
bool dray_busy_file(const struct stat *st, bool *mounted, char *buf, size_t size);
/* Who, other than this process, holds a lock (flock) on the file or device? true: found, buf names it; false: nobody can be seen. */
bool dray_busy_locker(const struct stat *st, char *buf, size_t size);

#endif
