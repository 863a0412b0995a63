/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a storage holds.
 *
 * Three questions, on one small set of reading functions (`struct source`), so that files, devices and exports are asked alike:
 *
 *   signatures   libblkid, which also knows those that collide: an ambivalent answer counts as "something is there". It wants a
 *                file descriptor; an export gets a stand-in: a sparse file in memory of the export's size, with the
 *                export's first and last two MiB in it. All signatures that libblkid knows of lie there
 *                (the furthest from an end are those of UDF and of some RAID controllers, 1 to 1.5 MiB).
 *   images       the magic numbers of disk image formats, which libblkid does not know. Such a file taken as raw bytes would be served,
 *                or copied, with its headers and not with its contents.
 *   data         bytes that are not zero: by extents, where they can be asked for, and a bounded sample.
 *
 * A slice is asked about by itself, and the whole is asked for signatures too: a slice at the front of a disk would destroy its
 * partition table without holding one itself, one in the middle a piece of the file system around it (H23).
 */
#include "storage/content.h"
#include "storage/driver.h"
#include "storage/nbd.h"

#include <blkid.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MIB      (UINT64_C(1) << 20)
#define AT_ENDS  (2 * MIB)
#define SAMPLES  64
#define SAMPLE   (UINT64_C(64) << 10) /* whole blocks of any server */

struct source {
	int fd;                /* for libblkid: itself, or the stand-in */
	struct nbd_handle *nbd; /* or NULL */
	uint64_t until_ns;     /* which is waited for no longer */
	uint64_t size_bytes;   /* of the whole */
	const char *name;
};

/* ---- reading ---- */

static int read_at(const struct source *s, void *buf, uint64_t offset, size_t n)
{
	if (s->nbd)
		return dray_nbd_read(s->nbd, buf, n, offset, s->until_ns);
	for (size_t done = 0; done < n;) {
		ssize_t got = pread(s->fd, (char *)buf + done, n - done, (off_t)(offset + done));
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got < 0 ? -errno : -EIO;
		done += (size_t)got;
	}
	return 0;
}

/* Copies a part of an export, in pieces that any server takes, to its stand-in. */
static int copy_part(const struct source *s, uint64_t offset, uint64_t end)
{
	char *buf = malloc(MIB);
	int rc = buf ? 0 : -ENOMEM;
	for (; !rc && offset < end;) {
		size_t n = end - offset < MIB ? (size_t)(end - offset) : (size_t)MIB;
		rc = read_at(s, buf, offset, n);
		if (!rc && pwrite(s->fd, buf, n, (off_t)offset) != (ssize_t)n)
			rc = errno ? -errno : -EIO;
		offset += n;
	}
	free(buf);
	return rc;
}

/* The ends of the export, or of a slice of it. A start of 64 KiB is whole blocks of any server; the slice's own are, too. */
static int copy_ends(const struct source *s, uint64_t offset, uint64_t length, struct dray_error *err)
{
	uint64_t end = offset + length, head = length < AT_ENDS ? length : AT_ENDS;
	uint64_t tail = length - head > AT_ENDS ? (end - AT_ENDS) / 65536 * 65536 : offset + head;
	int rc = copy_part(s, offset, offset + head);
	if (!rc)
		rc = copy_part(s, tail, end);
	return rc ? dray_error_errno(err, rc, "%s: read", s->name) : 0;
}

static int open_nbd(struct source *s, struct dray_error *err)
{
	static const bool never;
	struct dray_storage_info info = { .max_bytes = 32U << 20 };
	int rc = dray_nbd_connect(&s->nbd, s->name, &never, &info, err);
	if (rc)
		return rc;
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	s->until_ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec + DRAY_NBD_CONNECT_NS;
	s->size_bytes = info.size_bytes;
	s->fd = memfd_create("export", MFD_CLOEXEC);
	if (s->fd < 0 || ftruncate(s->fd, (off_t)s->size_bytes))
		return dray_error_errno(err, -errno, "%s: a stand-in in memory", s->name);
	return copy_ends(s, 0, s->size_bytes, err);
}

static int open_file(struct source *s, struct dray_error *err)
{
	const char *path = dray_storage_path(s->name);
	struct stat st;
	if (stat(path, &st))
		return dray_error_errno(err, -errno, "%s", path);
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return dray_error_kind(err, -EINVAL, "bad_resource", "%s: neither a regular file nor a block device", path);
	s->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOATIME);
	if (s->fd < 0 && errno == EPERM) /* not its owner */
		s->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	off_t end = s->fd < 0 ? -1 : lseek(s->fd, 0, SEEK_END);
	if (end < 0)
		return dray_error_errno(err, -errno, "%s", path);
	s->size_bytes = (uint64_t)end;
	return 0;
}

static void close_source(struct source *s)
{
	if (s->nbd)
		nbd_close(s->nbd);
	if (s->fd >= 0)
		close(s->fd);
}

/* ---- signatures ---- */

static void keep(blkid_probe pr, const char *key, char *buf, size_t size)
{
	const char *value = NULL;
	if (!blkid_probe_lookup_value(pr, key, &value, NULL))
		snprintf(buf, size, "%s", value);
}

static void describe(blkid_probe pr, struct dray_content *c)
{
	char usage[32] = "";
	keep(pr, "TYPE", c->type, sizeof c->type);
	keep(pr, "UUID", c->uuid, sizeof c->uuid);
	keep(pr, "USAGE", usage, sizeof usage);
	keep(pr, "PTTYPE", c->table, sizeof c->table);
	keep(pr, "PTUUID", c->table_uuid, sizeof c->table_uuid);
	if (!c->type[0] && c->table[0])
		snprintf(c->what, sizeof c->what, "%s partition table", c->table);
	else if (!c->type[0])
		snprintf(c->what, sizeof c->what, "unknown signature");
	else if (!strcmp(usage, "filesystem"))
		snprintf(c->what, sizeof c->what, "%s file system", c->type);
	else if (!strcmp(usage, "raid"))
		snprintf(c->what, sizeof c->what, "%s (RAID or volume manager member)", c->type);
	else if (!strcmp(usage, "crypto"))
		snprintf(c->what, sizeof c->what, "%s (encrypted)", c->type);
	else
		snprintf(c->what, sizeof c->what, "%s", c->type);
}

static int find_signature(const struct source *s, uint64_t offset, uint64_t length, struct dray_content *c, struct dray_error *err)
{
	blkid_probe pr = blkid_new_probe();
	int rc = 0;
	errno = 0;
	if (!pr || blkid_probe_set_device(pr, s->fd, (blkid_loff_t)offset, (blkid_loff_t)length)) {
		rc = errno ? -errno : -ENOMEM;
	} else {
		blkid_probe_enable_superblocks(pr, 1);
		blkid_probe_set_superblocks_flags(pr, BLKID_SUBLKS_TYPE | BLKID_SUBLKS_USAGE | BLKID_SUBLKS_UUID);
		blkid_probe_enable_partitions(pr, 1);
		errno = 0;
		int found = blkid_do_safeprobe(pr);
		if (found == 0)
			describe(pr, c);
		else if (found == -2)
			snprintf(c->what, sizeof c->what, "several signatures that contradict each other");
		else if (found == -1)
			rc = errno ? -errno : -EIO;
	}
	if (pr)
		blkid_free_probe(pr);
	return rc ? dray_error_errno(err, rc, "%s: look for signatures", s->name) : 0;
}

/* ---- disk images ---- */

static const struct {
	const char *name;
	uint64_t at; /* from the front; END + N: N bytes before the end */
	const char *magic;
	size_t n;
} images[] = {
#define END    (UINT64_C(1) << 62)
#define M(text) text, sizeof text - 1
	{ "qcow2", 0, M("QFI\373\0\0\0\2") },
	{ "qcow2", 0, M("QFI\373\0\0\0\3") },
	{ "qcow", 0, M("QFI\373\0\0\0\1") },
	{ "qed", 0, M("QED\0") },
	{ "vmdk", 0, M("KDMV") },
	{ "vmdk", 0, M("COWD") },
	{ "vmdk", 0, M("# Disk DescriptorFile") },
	{ "vdi", 64, M("\177\020\332\276") },
	{ "vhdx", 0, M("vhdxfile") },
	{ "vhd", 0, M("conectix") },
	{ "vhd", END + 512, M("conectix") },
	{ "parallels", 0, M("WithoutFreeSpace") },
	{ "parallels", 0, M("WithouFreSpacExt") },
	{ "dmg", END + 512, M("koly") },
	{ "bochs", 0, M("Bochs Virtual HD Image") },
#undef M
};

static int find_image(const struct source *s, uint64_t offset, uint64_t length, struct dray_content *c, struct dray_error *err)
{
	size_t n = length < 4096 ? (size_t)length : 4096;
	char head[4096], tail[4096];
	/* Of an export from its stand-in: then its blocks don't matter. */
	if (pread(s->fd, head, n, (off_t)offset) != (ssize_t)n || pread(s->fd, tail, n, (off_t)(offset + length - n)) != (ssize_t)n)
		return dray_error_errno(err, errno ? -errno : -EIO, "%s: read", s->name);
	for (size_t i = 0; i < sizeof images / sizeof images[0]; i++) {
		bool from_end = images[i].at >= END;
		size_t back = from_end ? (size_t)(images[i].at - END) : 0, at = from_end ? n - back : (size_t)images[i].at;
		if (back > n || at + images[i].n > n || memcmp((from_end ? tail : head) + at, images[i].magic, images[i].n))
			continue;
		snprintf(c->image, sizeof c->image, "%s", images[i].name);
		if (!c->what[0])
			snprintf(c->what, sizeof c->what, "%s disk image", images[i].name);
		return 0;
	}
	return 0;
}

/* ---- data ---- */

/* Where the next byte is that may not be zero, at or after `at`; `end` if there is none before it. */
static uint64_t next_data(const struct source *s, uint64_t at, uint64_t end)
{
	off_t next = s->nbd ? -1 : lseek(s->fd, (off_t)at, SEEK_DATA);
	if (next < 0)
		return s->nbd || errno != ENXIO ? at : end;
	return (uint64_t)next < end ? (uint64_t)next : end;
}

static int look_at(const struct source *s, uint64_t from, uint64_t to, char *buf, uint64_t *found)
{
	for (uint64_t at = from; at < to && *found == UINT64_MAX;) {
		uint64_t piece = next_data(s, at, to);
		if (piece == to)
			break;
		piece -= piece % 65536;
		if (piece < at)
			piece = at;
		size_t n = to - piece < 65536 ? (size_t)(to - piece) : 65536;
		int rc = read_at(s, buf, piece, n);
		if (rc)
			return rc;
		for (size_t i = 0; i < n && *found == UINT64_MAX; i++)
			if (buf[i])
				*found = piece + i;
		at = piece + n;
	}
	return 0;
}

static int find_data(const struct source *s, uint64_t offset, uint64_t length, struct dray_content *c, struct dray_error *err)
{
	uint64_t end = offset + length, found = UINT64_MAX;
	if (next_data(s, offset, end) == end)
		return 0;
	char *buf = malloc(65536);
	int rc = buf ? 0 : -ENOMEM;
	if (!rc && length <= 2 * MIB + SAMPLES * SAMPLE) {
		rc = look_at(s, offset, end, buf, &found);
	} else if (!rc) {
		rc = look_at(s, offset, offset + MIB, buf, &found);
		uint64_t stride = (length - 2 * MIB) / SAMPLES / 65536 * 65536;
		for (uint64_t i = 0; i < SAMPLES && stride && !rc && found == UINT64_MAX; i++) {
			/* Between the places, too, the next that is allocated is looked at: a lone extent is not missed. */
			uint64_t from = next_data(s, offset + MIB + i * stride, offset + MIB + (i + 1) * stride);
			if (from < offset + MIB + (i + 1) * stride)
				rc = look_at(s, from, from + SAMPLE < end ? from + SAMPLE : end, buf, &found);
		}
		if (!rc && found == UINT64_MAX)
			rc = look_at(s, (end - MIB) / 65536 * 65536, end, buf, &found);
	}
	free(buf);
	if (rc)
		return dray_error_errno(err, rc, "%s: look for data", s->name);
	if (found != UINT64_MAX)
		snprintf(c->what, sizeof c->what, "data (the first found is at byte %llu)", (unsigned long long)found);
	return 0;
}

/* ---- all of it ---- */

/* "fault:OPTIONS:RESOURCE" -> RESOURCE: what it holds is of interest, not its troubles. */
static const char *behind_faults(const char *resource)
{
	const char *colon = dray_storage_fault.matches(resource) ? strchr(resource + strlen("fault:"), ':') : NULL;
	return colon ? behind_faults(colon + 1) : resource;
}

static int look(const struct source *s, const struct dray_storage_options *o, bool data, struct dray_content *c, struct dray_error *err)
{
	uint64_t offset = o->offset, length = o->length;
	if (offset > s->size_bytes || length > s->size_bytes - offset)
		return dray_error_kind(err, -EINVAL, "bad_resource", "%s: the slice is not inside it", s->name);
	if (!length)
		length = s->size_bytes - offset;
	if (!length)
		return 0;
	int rc = s->nbd && length < s->size_bytes ? copy_ends(s, offset, length, err) : 0;
	if (!rc)
		rc = find_signature(s, offset, length, c, err);
	if (!rc)
		rc = find_image(s, offset, length, c, err);
	if (!rc && data && !c->what[0])
		rc = find_data(s, offset, length, c, err);
	if (!rc && length < s->size_bytes) {
		struct dray_content whole = { 0 };
		rc = find_signature(s, 0, s->size_bytes, &whole, err);
		if (!rc)
			rc = find_image(s, 0, s->size_bytes, &whole, err);
		memcpy(c->whole, whole.what, sizeof c->whole);
	}
	return rc;
}

int dray_storage_content(const char *resource, const struct dray_storage_options *options, bool data, struct dray_content *content,
	struct dray_error *err)
{
	struct source s = { .fd = -1, .name = options->allow_faults ? behind_faults(resource) : resource };
	*content = (struct dray_content){ 0 };
	int rc = dray_storage_nbd.matches(s.name) ? open_nbd(&s, err) : open_file(&s, err);
	if (!rc)
		rc = look(&s, options, data, content, err);
	close_source(&s);
	return rc;
}
