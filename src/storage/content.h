/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What does a storage hold? Asked before it becomes a source or a target.
 */
#ifndef DRAY_STORAGE_CONTENT_H
#define DRAY_STORAGE_CONTENT_H

#include "base/error.h"
#include "storage/storage.h"

struct dray_content {
	/* For people: "ext4 file system", "gpt partition table", "qcow2 disk image", "data (the first at byte 4096)"; "": nothing. */
	char what[128];
	/* The same of the whole, where a slice was asked about and it is more than nothing known (data is not looked for there). */
	char whole[128];
	char image[16];  /* a disk image format: "qcow2", "vmdk" ...; or "" */
	char type[32];   /* "ext4", "LVM2_member" ...: what its UUID is of; or "" */
	char uuid[64];   /* of the file system, RAID, volume group ...; or "" */
	char table[16];  /* of partitions: "gpt", "dos"; or "" */
	char table_uuid[64];
};

/* Looks for signatures of file systems, partition tables, RAID and volume manager members, encryption, swap (libblkid), of disk image
 * formats and, if `data`, for anything that is not zero. NBD exports are looked at through a connection of their own. Of `options`
 * offset, length and allow_faults count. Nothing is locked or changed. Blocks.
 *
 * Data is looked for in the first and the last MiB and in 64 places of 64 KiB between them, of what is allocated. So an
 * empty result is no proof: single blocks in a large device can be missed.
 *
 * 0, or -errno: it could not be read, and nothing is known. */
int dray_storage_content(const char *resource, const struct dray_storage_options *options, bool data, struct dray_content *content,
	struct dray_error *err);

#endif
