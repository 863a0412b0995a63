/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Links and their maps
 * ====================
 * A region map says where two legs are equal. Equality has no direction: the map of primary S and secondary T is, after
 * a switch, the map of primary T and secondary S, bit for bit. So a map belongs to a *link*, an unordered pair of legs; its
 * file is named by the two leg ids, the lower first, and the identity inside each of its pages is made of the volume's uuid
 * and the two ids in that order. At a switch nothing is copied, renamed or written: the engine goes on with the map under the
 * other leg's index, and the host sends those pages to the same file.
 *
 * Which legs are linked: a leg remembers the primary at its birth (its peer), and A and B are linked if one is the
 * other's peer. With primary S and targets T and C there are the links S-T and S-C; after a switch to T, S is linked to
 * the primary and goes on as reverse leg, C is not and is let go, an image of that instant. The same rule, read from volume.json and
 * the epoch record after a crash in the middle of all this, gives the same answer.
 *
 * The file: dray_map_n_pages pages of 4096 bytes, each with its own checksum, number and identity. It is allocated in full
 * when it is made, so that recording an intent can't fail for lack of space. A page that is torn, missing, unreadable or of
 * another link means "dirty", and that is the engine's to find out.
 */
#include "iod/mapfile.h"

#include "base/crash.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#define NAME_BYTES (DRAY_VOLUME_NAME_MAX + 40)

static void file_name(char out[NAME_BYTES], const char *volume, unsigned a, unsigned b)
{
	snprintf(out, NAME_BYTES, "%s/map-%u-%u", volume, a < b ? a : b, a < b ? b : a);
}

void iod_map_id(const uint8_t uuid[IOD_UUID_BYTES], unsigned a, unsigned b, uint8_t map_id[16])
{
	unsigned char text[IOD_UUID_BYTES + 8];
	uint32_t low = htole32(a < b ? a : b), high = htole32(a < b ? b : a);
	memcpy(text, uuid, IOD_UUID_BYTES);
	memcpy(text + IOD_UUID_BYTES, &low, 4);
	memcpy(text + IOD_UUID_BYTES + 4, &high, 4);
	XXH128_canonical_t canonical;
	XXH128_canonicalFromHash(&canonical, XXH3_128bits(text, sizeof text));
	memcpy(map_id, canonical.digest, 16);
}

static int write_page(int fd, const void *page, uint64_t no)
{
	ssize_t n;
	do
		n = pwrite(fd, page, DRAY_MAP_PAGE_BYTES, (off_t)(no * DRAY_MAP_PAGE_BYTES));
	while (n < 0 && errno == EINTR);
	return n == DRAY_MAP_PAGE_BYTES ? 0 : n < 0 ? -errno : -EIO;
}

int iod_map_sync_names(struct iod_state *state, const char *volume, struct dray_error *err)
{
	int dir = openat(state->volumes_fd, volume, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	int rc = dir < 0 || fsync(dir) < 0 ? -errno : 0;
	if (dir >= 0)
		close(dir);
	return rc ? dray_error_errno(err, rc, "volume %s: sync its folder", volume) : 0;
}

int iod_map_create(struct iod_state *state, const struct iod_volume_def *def, unsigned a, unsigned b,
	struct dray_error *err)
{
	char name[NAME_BYTES];
	file_name(name, def->name, a, b);
	uint64_t n = dray_map_n_pages(def->size_bytes, def->region_bytes);
	uint8_t id[16];
	iod_map_id(def->uuid, a, b, id);

	int fd = openat(state->volumes_fd, name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return dray_error_errno(err, -errno, "make region map %s", name);
	int rc = -posix_fallocate(fd, 0, (off_t)(n * DRAY_MAP_PAGE_BYTES));
	static _Thread_local unsigned char page[DRAY_MAP_PAGE_BYTES] __attribute__((aligned(16)));
	for (uint64_t i = 0; i < n && !rc; i++) {
		dray_map_page_format(page, id, i, def->region_bytes);
		rc = write_page(fd, page, i);
	}
	if (!rc && fsync(fd) < 0)
		rc = -errno;
	if (rc) {
		close(fd);
		unlinkat(state->volumes_fd, name, 0);
		return dray_error_errno(err, rc, "make region map %s", name);
	}
	dray_crash_point("map-create-after");
	return fd;
}

int iod_map_open(struct iod_state *state, const struct iod_volume_def *def, unsigned a, unsigned b,
	struct iod_map_pages *pages, struct dray_error *err)
{
	char name[NAME_BYTES];
	file_name(name, def->name, a, b);
	memset(pages, 0, sizeof *pages);
	int fd = openat(state->volumes_fd, name, O_RDWR | O_CLOEXEC);
	/* What a killed process wrote and did not sync is in the page cache only. To read "intent" there, and act upon it, while the disk says
	 * "clean", is to be told "clean" after the next power loss (engine.h). */
	int rc = fd < 0 || fdatasync(fd) < 0 ? -errno : 0;
	if (rc) {
		if (fd >= 0)
			close(fd);
		return dray_error_errno(err, rc, "open region map %s", name);
	}

	uint64_t n = dray_map_n_pages(def->size_bytes, def->region_bytes);
	unsigned char *memory = malloc(n * DRAY_MAP_PAGE_BYTES);
	pages->page = calloc(n, sizeof *pages->page);
	pages->memory = memory;
	pages->n = n;
	rc = memory && pages->page ? 0 : -ENOMEM;
	for (uint64_t i = 0; i < n && !rc; i++) {
		unsigned char *at = memory + i * DRAY_MAP_PAGE_BYTES;
		ssize_t got = pread(fd, at, DRAY_MAP_PAGE_BYTES, (off_t)(i * DRAY_MAP_PAGE_BYTES));
		pages->page[i] = got == DRAY_MAP_PAGE_BYTES ? at : NULL;
	}
	if (!rc)
		rc = -posix_fallocate(fd, 0, (off_t)(n * DRAY_MAP_PAGE_BYTES));
	if (rc) {
		iod_map_pages_free(pages);
		close(fd);
		return dray_error_errno(err, rc, "read region map %s", name);
	}
	return fd;
}

int iod_bad_create(struct iod_state *state, const struct iod_volume_def *def, struct dray_error *err)
{
	char name[NAME_BYTES], made[NAME_BYTES];
	snprintf(name, sizeof name, "%s/bad", def->name);
	snprintf(made, sizeof made, "%s/bad.new", def->name);
	int fd = openat(state->volumes_fd, made, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return dray_error_errno(err, -errno, "make the list of bad ranges %s", made);
	static _Thread_local unsigned char slot[DRAY_BAD_SLOT_BYTES] __attribute__((aligned(16)));
	_Static_assert(DRAY_BAD_SLOT_BYTES == DRAY_MAP_PAGE_BYTES, "a slot is written like a page");
	dray_bad_slot_format(slot, def->uuid, def->block_bytes);
	int rc = write_page(fd, slot, 0);
	if (!rc)
		rc = write_page(fd, slot, 1);
	if (!rc && fsync(fd) < 0)
		rc = -errno;
	/* Whole or not at all: half of one would be a list that was lost. */
	if (!rc && renameat(state->volumes_fd, made, state->volumes_fd, name) < 0)
		rc = -errno;
	if (rc) {
		close(fd);
		unlinkat(state->volumes_fd, made, 0);
		return dray_error_errno(err, rc, "make the list of bad ranges %s", name);
	}
	return fd;
}

int iod_bad_open(struct iod_state *state, const struct iod_volume_def *def, uint8_t *memory, const void *slot[2],
	struct dray_error *err)
{
	char name[NAME_BYTES];
	snprintf(name, sizeof name, "%s/bad", def->name);
	int fd = openat(state->volumes_fd, name, O_RDWR | O_CLOEXEC);
	/* What a killed process wrote and did not sync is read now, and has to be there after the next power loss, too. */
	int rc = fd < 0 || fdatasync(fd) < 0 ? -errno : 0;
	if (rc) {
		if (fd >= 0)
			close(fd);
		return dray_error_errno(err, rc, "open the list of bad ranges %s", name);
	}
	for (int i = 0; i < 2; i++) {
		uint8_t *at = memory + i * DRAY_BAD_SLOT_BYTES;
		slot[i] = pread(fd, at, DRAY_BAD_SLOT_BYTES, i * DRAY_BAD_SLOT_BYTES) == DRAY_BAD_SLOT_BYTES ? at : NULL;
	}
	return fd;
}

void iod_map_pages_free(struct iod_map_pages *pages)
{
	free(pages->memory);
	free(pages->page);
	memset(pages, 0, sizeof *pages);
}

void iod_map_remove(struct iod_state *state, const char *volume, unsigned a, unsigned b)
{
	char name[NAME_BYTES];
	file_name(name, volume, a, b);
	unlinkat(state->volumes_fd, name, 0);
}
