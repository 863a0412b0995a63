/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Signatures by libblkid, which also knows those that collide: an ambivalent answer counts as "something is there".
 */
#include "storage/signature.h"
#include "storage/driver.h"

#include <blkid.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void describe(blkid_probe pr, char *buf, size_t size)
{
	const char *type = NULL, *usage = NULL, *table = NULL;
	blkid_probe_lookup_value(pr, "TYPE", &type, NULL);
	blkid_probe_lookup_value(pr, "USAGE", &usage, NULL);
	blkid_probe_lookup_value(pr, "PTTYPE", &table, NULL);
	if (!type && table)
		snprintf(buf, size, "%s partition table", table);
	else if (!type)
		snprintf(buf, size, "unknown signature");
	else if (usage && !strcmp(usage, "filesystem"))
		snprintf(buf, size, "%s file system", type);
	else if (usage && !strcmp(usage, "raid"))
		snprintf(buf, size, "%s (RAID or volume manager member)", type);
	else if (usage && !strcmp(usage, "crypto"))
		snprintf(buf, size, "%s (encrypted)", type);
	else
		snprintf(buf, size, "%s", type);
}

int dray_storage_signature(const char *resource, char *buf, size_t size, struct dray_error *err)
{
	buf[0] = 0;
	if (!dray_storage_file.matches(resource) || dray_storage_nbd.matches(resource) ||
		dray_storage_fault.matches(resource))
		return 0;
	const char *path = dray_storage_path(resource);
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return dray_error_errno(err, -errno, "%s", path);
	blkid_probe pr = blkid_new_probe();
	int rc = 0;
	errno = 0;
	if (!pr || blkid_probe_set_device(pr, fd, 0, 0)) {
		rc = errno ? -errno : -ENOMEM;
		dray_error_errno(err, rc, "%s: look for signatures", path);
	} else {
		blkid_probe_enable_superblocks(pr, 1);
		blkid_probe_set_superblocks_flags(pr, BLKID_SUBLKS_TYPE | BLKID_SUBLKS_USAGE);
		blkid_probe_enable_partitions(pr, 1);
		errno = 0;
		int found = blkid_do_safeprobe(pr);
		if (found == 0) {
			describe(pr, buf, size);
		} else if (found == -2) {
			snprintf(buf, size, "several signatures that contradict each other");
		} else if (found == -1) {
			rc = errno ? -errno : -EIO;
			dray_error_errno(err, rc, "%s: look for signatures", path);
		}
	}
	if (pr)
		blkid_free_probe(pr);
	close(fd);
	return rc;
}
