/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a storage is, whatever it is called: the identity line in dray_storage_info, by which legs are recognised after a
 * restart (H2), locks are taken, and a resource given twice under two names is found.
 *
 * Form: KIND:WORDS, with "+OFFSET,LENGTH" (bytes) behind it for a part of the thing: a slice, a partition of a disk, a loop
 * device on a part of a file. So "same thing" is equality of what stands before, and overlap is arithmetic.
 *
 *	file:fsid=1f2e..,ino=131,btime=1763939000.000000001	ext4, Btrfs ...: the id comes from the file system's UUID
 *	file:uuid=...,ino=...,btime=...				XFS: its f_fsid is only a device number
 *	file:dev=8:1,ino=...					others: not stable over a reboot
 *	block:wwid=naa.600...	block:serial=...	block:dm=LVM-...	block:md=...
 *	block:8:16						no id of its own: not stable over a reboot
 *	nbd:host:10809/export:1073741824  nbd:/run/a.sock/export:1073741824
 */
#ifndef DRAY_STORAGE_IDENTITY_H
#define DRAY_STORAGE_IDENTITY_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* The identity of an open regular file, block device, or (for names of files that are not there yet) directory. *stable as in
 * dray_storage_info. 0 or -errno. */
int dray_identity_of_fd(int fd, char *buf, size_t size, bool *stable);
/* Of a block device that need not be open (fd -1: then a loop device is believed what /sys says of its file). */
int dray_identity_of_device(int fd, dev_t dev, char *buf, size_t size, bool *stable);
/* The block device that has this identity now, whatever it is called. `offset`, `length`: the slice of it that was named (0, 0: none)
 * and that the identity ends in. Of several with one identity the one is meant that no other device is built on (a multipath
 * device, not its paths). 0 with its path; -ENOENT: none has it; -ENOTUNIQ: several have, and cannot be told apart.
 * Reads /sys; files behind loop devices are looked at, which may block. */
int dray_identity_find(const char *identity, uint64_t offset, uint64_t length, char *path, size_t size);

/* Narrows an identity line to a part of it: (offset, length) are inside what it names. 0, or -ENAMETOOLONG. */
int dray_identity_slice(char *identity, size_t size, uint64_t offset, uint64_t length, struct dray_error *err);

/* The same storage, and, where parts are meant, parts that have bytes in common. A whole overlaps each of its parts. */
bool dray_identity_overlaps(const char *a, const char *b);

#endif
