/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the kernel says of block devices in /sys. Words that come back are made plain: what could be mistaken for punctuation of
 * identity lines becomes '_'. Any thread.
 */
#ifndef DRAY_STORAGE_SYSFS_H
#define DRAY_STORAGE_SYSFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Another tree than "/sys", and with it another "/dev" (whose folder "udev" stands for "/run/udev" then), for tests. The strings are kept,
 * not copied; NULL: the true ones. Not while other threads look. */
void dray_sysfs_set_roots(const char *sys, const char *dev);
const char *dray_sysfs_root(void);
const char *dray_dev_root(void);

/* The first line of the file NAME in the folder of the device, trimmed and made plain. 0, or -ENOENT: it is missing or empty. */
int dray_sysfs_line(dev_t dev, const char *name, char *buf, size_t size);
/* The same as it stands there, for names of files and for people. */
int dray_sysfs_text(dev_t dev, const char *name, char *buf, size_t size);
int dray_sysfs_number(dev_t dev, const char *name, uint64_t *value);

/* The kernel's name, "sda1", "dm-3". 0 or -ENOENT. */
int dray_sysfs_name(dev_t dev, char *buf, size_t size);
/* The disk of a partition. 0; -ENOENT: it is no partition. */
int dray_sysfs_disk(dev_t dev, dev_t *disk);
/* Calls `each` for the devices that a folder of the device names (its "holders", its "slaves"), for "" its own partitions, until
 * one returns true. */
bool dray_sysfs_each(dev_t dev, const char *folder, bool (*each)(void *arg, dev_t dev), void *arg);
/* udev runs, and has not dealt with the device since it is there: it takes a lock on it for that, and puts it off while another has one.
 * (Not on a device-mapper device.) */
bool dray_udev_pending(dev_t dev);
/* Calls `each` for all block devices, disks and partitions, until one returns true. */
bool dray_sysfs_all(bool (*each)(void *arg, dev_t dev), void *arg);

#endif
