/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What does a storage hold already? Asked before it becomes a target.
 */
#ifndef DRAY_STORAGE_SIGNATURE_H
#define DRAY_STORAGE_SIGNATURE_H

#include "base/error.h"

#include <stddef.h>

/* Looks for a known signature on a file or block device: file system, partition table, RAID member, LVM, LUKS, swap ...
 * 0 with `buf` filled for people ("ext4 file system", "gpt partition table"; "" if there is none), or -errno. Blocks.
 * Resources that are no path (NBD) are not looked at: 0 and "". */
int dray_storage_signature(const char *resource, char *buf, size_t size, struct dray_error *err);

#endif
