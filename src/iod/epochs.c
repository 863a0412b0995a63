/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The epoch records
 * =================
 * Two files, epochs.0 and epochs.1, are two slots for the same thing: the whole table of volumes, each with its epoch and the
 * id of its primary leg. One durable write of one slot is the commit point of everything it changes: a switch of
 * thirty volumes is one write (H10).
 *
 * A slot, little-endian:
 *      0   8  magic "DRAYEPO1"
 *      8   8  sequence number, one more at each write
 *     16   4  number of entries
 *     20   4  bytes of an entry (160)
 *     24   8  checksum: XXH3-64 over the header with this field zero, then the entries
 *     32      entries:  0 16 uuid · 16 8 epoch · 24 4 primary leg's id · 28 4 id of the leg let go · 32 128 token, zero-padded
 * What follows the last entry is the rest of an older record, and means nothing.
 *
 * Reading: a slot is valid if magic, sizes and checksum are right; the valid one with the higher sequence number is the
 * record. A torn write leaves an invalid slot, and the other one is the state before.
 *
 * Writing: always to the slot that does not hold the newest valid record, so that this one stays whole until the new one
 * is. After a write that failed, or whose outcome is not known, the slot may hold the old bytes, torn ones or the
 * new record. The next write, of whatever, goes to the *same* slot with a higher number: until it is durable the truth is one of
 * two tables and nobody may act on either (H8: the volumes stay mirrored strictly); once it is, the failed record can't
 * come back. Writing to the other slot instead would destroy the one record known to be whole.
 *
 * Two copies at rest: an invalid slot would else have two meanings, the torn write of a crash (the older record is right)
 * and a damaged newest record (the older one names a leg that was left, whose data is stale; nobody could tell). So when
 * whoever wrote is done, the same table goes to the other slot too; a start finishes what a crash cut off. Between
 * writes either slot alone tells the truth, and the loss of one is harmless.
 *
 * Changes that come while the pen is held wait, and whoever gets it next writes all of them as one record: volumes that are added or removed together
 * cost one write, not one each.
 *
 * The pen is held for the length of a group switch, from before its first suspend. So a suspended volume never
 * waits for somebody else's record, and a record that hangs makes later switches fail (`record_busy`) before they begin.
 */
#include "iod/epochs.h"

#include "base/crash.h"
#include "base/list.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#define HEADER_BYTES 32
#define ENTRY_BYTES 160
#define ENTRIES_MOST 65536u

static const char magic[8] = "DRAYEPO1";

struct iod_epochs {
	pthread_mutex_t lock; /* guards all below; never held while the disk is waited for */
	pthread_cond_t pen_free;
	bool pen_taken;
	struct dray_list waiting; /* struct change */
	struct iod_epoch *table;
	unsigned n;
	uint64_t seq;   /* highest number used or read */
	int newest;     /* slot of the newest valid record, -1: none */
	bool even;      /* the other slot says the same */
	uint64_t ewma_ns;
	int fd[2];
};

static uint64_t now_ns(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void put32(unsigned char *p, uint32_t v)
{
	v = htole32(v);
	memcpy(p, &v, 4);
}

static void put64(unsigned char *p, uint64_t v)
{
	v = htole64(v);
	memcpy(p, &v, 8);
}

static uint32_t get32(const unsigned char *p)
{
	uint32_t v;
	memcpy(&v, p, 4);
	return le32toh(v);
}

static uint64_t get64(const unsigned char *p)
{
	uint64_t v;
	memcpy(&v, p, 8);
	return le64toh(v);
}

/* The checksum of a slot; the field itself counts as zero. */
static uint64_t slot_sum(unsigned char *slot, size_t bytes)
{
	unsigned char kept[8];
	memcpy(kept, slot + 24, 8);
	memset(slot + 24, 0, 8);
	uint64_t sum = XXH3_64bits(slot, bytes);
	memcpy(slot + 24, kept, 8);
	return sum;
}

struct slot {
	unsigned char *bytes;
	bool valid;
	uint64_t seq;
	unsigned n;
};

static int slot_read(struct slot *slot, int fd)
{
	struct stat st;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_size == 0)
		return 0;
	if (st.st_size < HEADER_BYTES || st.st_size > HEADER_BYTES + (off_t)ENTRIES_MOST * ENTRY_BYTES)
		return 0;
	size_t size = (size_t)st.st_size;
	slot->bytes = malloc(size);
	if (!slot->bytes)
		return -ENOMEM;
	/* An unreadable slot is an invalid one: the other may be whole. */
	if (pread(fd, slot->bytes, size, 0) != (ssize_t)size || memcmp(slot->bytes, magic, 8) != 0)
		return 0;
	uint32_t n = get32(slot->bytes + 16);
	if (get32(slot->bytes + 20) != ENTRY_BYTES || n > ENTRIES_MOST || HEADER_BYTES + (size_t)n * ENTRY_BYTES > size)
		return 0;
	if (slot_sum(slot->bytes, HEADER_BYTES + (size_t)n * ENTRY_BYTES) != get64(slot->bytes + 24))
		return 0;
	slot->seq = get64(slot->bytes + 8);
	slot->n = n;
	slot->valid = true;
	return 0;
}

static int table_from(struct iod_epochs *e, const struct slot *slot)
{
	e->table = calloc(slot->n + 1, sizeof *e->table);
	if (!e->table)
		return -ENOMEM;
	for (unsigned i = 0; i < slot->n; i++) {
		const unsigned char *p = slot->bytes + HEADER_BYTES + (size_t)i * ENTRY_BYTES;
		memcpy(e->table[i].uuid, p, IOD_UUID_BYTES);
		e->table[i].epoch = get64(p + 16);
		e->table[i].primary = get32(p + 24);
		e->table[i].let_go = get32(p + 28);
		memcpy(e->table[i].token, p + 32, IOD_TOKEN_MAX);
	}
	e->n = slot->n;
	return 0;
}

static struct iod_epoch *find(struct iod_epoch *table, unsigned n, const uint8_t *uuid)
{
	for (unsigned i = 0; i < n; i++)
		if (memcmp(table[i].uuid, uuid, IOD_UUID_BYTES) == 0)
			return &table[i];
	return NULL;
}

static int apply_changes(struct iod_epoch *table, unsigned *n, const struct iod_epoch *changes, unsigned n_changes)
{
	for (unsigned i = 0; i < n_changes; i++) {
		struct iod_epoch *at = find(table, *n, changes[i].uuid);
		if (!changes[i].epoch) {
			if (at)
				*at = table[--*n];
			continue;
		}
		if (!at) {
			if (*n == ENTRIES_MOST)
				return -ENOSPC;
			at = &table[(*n)++];
		}
		*at = changes[i];
	}
	return 0;
}

/* `copy`: of a record that is durable already; the tests' points are for the records themselves. */
static int slot_write(int fd, const unsigned char *bytes, size_t size, bool copy)
{
	if (!copy)
		dray_stall_point("epoch-write");
	int rc = copy ? 0 : dray_fault_point("epoch-write");
	if (!copy)
		dray_crash_point("epoch-before");
	/* In two halves, so that a test can leave a torn one. */
	size_t at = 0, half = size / 2;
	while (!rc && at < size) {
		ssize_t w = pwrite(fd, bytes + at, (at < half ? half : size) - at, (off_t)at);
		if (w < 0 && errno == EINTR)
			continue;
		rc = w < 0 ? -errno : w == 0 ? -EIO : 0;
		at += w > 0 ? (size_t)w : 0;
		if (at == half && !copy)
			dray_crash_point("epoch-torn");
	}
	if (!rc && fdatasync(fd) < 0)
		rc = -errno;
	if (!rc && !copy)
		dray_crash_point("epoch-after");
	return rc;
}

static int write_table(struct iod_epochs *e, const struct iod_epoch *changes, unsigned n_changes, bool copy,
	struct dray_error *err)
{
	pthread_mutex_lock(&e->lock);
	unsigned n = e->n;
	struct iod_epoch *table = calloc((size_t)n + n_changes + 1, sizeof *table);
	int slot = e->newest == 0 ? 1 : 0;
	uint64_t seq = ++e->seq;
	if (table && n)
		memcpy(table, e->table, n * sizeof *table);
	pthread_mutex_unlock(&e->lock);

	/* The pen is ours: nobody else changes the table or writes to the slot. */
	int rc = table ? apply_changes(table, &n, changes, n_changes) : -ENOMEM;
	size_t size = HEADER_BYTES + (size_t)n * ENTRY_BYTES;
	unsigned char *bytes = rc ? NULL : calloc(1, size);
	if (!rc && !bytes)
		rc = -ENOMEM;
	if (rc) {
		free(table);
		return dray_error_kind(err, rc, "record_failed", "epoch record: cannot be made: %s", strerror(-rc));
	}
	memcpy(bytes, magic, 8);
	put64(bytes + 8, seq);
	put32(bytes + 16, n);
	put32(bytes + 20, ENTRY_BYTES);
	for (unsigned i = 0; i < n; i++) {
		unsigned char *p = bytes + HEADER_BYTES + (size_t)i * ENTRY_BYTES;
		memcpy(p, table[i].uuid, IOD_UUID_BYTES);
		put64(p + 16, table[i].epoch);
		put32(p + 24, table[i].primary);
		put32(p + 28, table[i].let_go);
		memcpy(p + 32, table[i].token, strnlen(table[i].token, IOD_TOKEN_MAX));
	}
	put64(bytes + 24, slot_sum(bytes, size));

	uint64_t began = now_ns();
	rc = slot_write(e->fd[slot], bytes, size, copy);
	uint64_t took = now_ns() - began;
	free(bytes);

	pthread_mutex_lock(&e->lock);
	if (!rc) {
		free(e->table);
		e->table = table;
		e->n = n;
		e->newest = slot;
		e->even = copy;
		if (!copy)
			e->ewma_ns = e->ewma_ns ? (e->ewma_ns * 7 + took) / 8 : took;
	} else {
		e->even = false;
		free(table);
	}
	pthread_mutex_unlock(&e->lock);
	if (rc)
		return dray_error_kind(err, rc, "record_failed", "epoch record: write epochs.%d: %s", slot, strerror(-rc));
	return 0;
}

/* The pen is held, or nobody else knows of `e` yet. A failure is no error: the record is whole, and it is tried again. */
static void make_even(struct iod_epochs *e)
{
	pthread_mutex_lock(&e->lock);
	bool want = !e->even && e->newest >= 0;
	pthread_mutex_unlock(&e->lock);
	if (want)
		write_table(e, NULL, 0, true, NULL);
}

int iod_epochs_open(struct iod_epochs **out, int dir_fd, struct dray_error *err)
{
	struct slot slots[2] = { { 0 }, { 0 } };
	struct iod_epochs *e = calloc(1, sizeof *e);
	if (!e)
		return dray_error_set(err, -ENOMEM, "epoch records: no memory");
	pthread_condattr_t attr;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_mutex_init(&e->lock, NULL);
	pthread_cond_init(&e->pen_free, &attr);
	pthread_condattr_destroy(&attr);
	dray_list_init(&e->waiting);
	e->newest = -1;
	e->fd[0] = e->fd[1] = -1;

	int rc = 0;
	for (int i = 0; i < 2 && !rc; i++) {
		const char *name = i ? "epochs.1" : "epochs.0";
		e->fd[i] = openat(dir_fd, name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		rc = e->fd[i] < 0 ? -errno : slot_read(&slots[i], e->fd[i]);
		if (rc)
			dray_error_errno(err, rc, "epoch records: read %s", name);
		if (slots[i].valid && (e->newest < 0 || slots[i].seq > e->seq)) {
			e->newest = i;
			e->seq = slots[i].seq;
		}
	}
	if (!rc && fsync(dir_fd) < 0)
		rc = dray_error_errno(err, -errno, "epoch records: sync the state directory");
	if (!rc && e->newest >= 0)
		rc = table_from(e, &slots[e->newest]);
	e->even = slots[0].valid && slots[1].valid && slots[0].n == slots[1].n &&
		memcmp(slots[0].bytes + HEADER_BYTES, slots[1].bytes + HEADER_BYTES, (size_t)slots[0].n * ENTRY_BYTES) == 0;
	free(slots[0].bytes);
	free(slots[1].bytes);
	if (rc) {
		iod_epochs_close(e);
		return rc;
	}
	make_even(e);
	*out = e;
	return 0;
}

bool iod_epochs_known(struct iod_epochs *e)
{
	pthread_mutex_lock(&e->lock);
	bool known = e->newest >= 0;
	pthread_mutex_unlock(&e->lock);
	return known;
}

void iod_epochs_close(struct iod_epochs *e)
{
	if (!e)
		return;
	for (int i = 0; i < 2; i++)
		if (e->fd[i] >= 0)
			close(e->fd[i]);
	pthread_cond_destroy(&e->pen_free);
	pthread_mutex_destroy(&e->lock);
	free(e->table);
	free(e);
}

bool iod_epochs_get(struct iod_epochs *e, const uint8_t uuid[IOD_UUID_BYTES], struct iod_epoch *out)
{
	pthread_mutex_lock(&e->lock);
	const struct iod_epoch *found = find(e->table, e->n, uuid);
	if (found)
		*out = *found;
	pthread_mutex_unlock(&e->lock);
	return found;
}

void iod_epochs_each(struct iod_epochs *e, void (*each)(void *arg, const struct iod_epoch *entry), void *arg)
{
	pthread_mutex_lock(&e->lock);
	for (unsigned i = 0; i < e->n; i++)
		each(arg, &e->table[i]);
	pthread_mutex_unlock(&e->lock);
}

int iod_epochs_begin(struct iod_epochs *e, uint64_t wait_ns, struct dray_error *err)
{
	struct timespec until;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += (time_t)(wait_ns / 1000000000u);
	until.tv_nsec += (long)(wait_ns % 1000000000u);
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	int rc = 0;
	pthread_mutex_lock(&e->lock);
	while (e->pen_taken && rc != ETIMEDOUT)
		rc = pthread_cond_timedwait(&e->pen_free, &e->lock, &until);
	bool mine = !e->pen_taken;
	e->pen_taken = true;
	pthread_mutex_unlock(&e->lock);
	if (!mine)
		return dray_error_kind(err, -EBUSY, "record_busy", "epoch record: another one is under way and has not ended");
	return 0;
}

void iod_epochs_end(struct iod_epochs *e)
{
	make_even(e);
	pthread_mutex_lock(&e->lock);
	e->pen_taken = false;
	pthread_cond_broadcast(&e->pen_free);
	pthread_mutex_unlock(&e->lock);
}

int iod_epochs_write(struct iod_epochs *e, const struct iod_epoch *changes, unsigned n, struct dray_error *err)
{
	return write_table(e, changes, n, false, err);
}

/* ---- several changes in one record ---- */

struct change {
	struct dray_list node; /* in e->waiting, until somebody takes it */
	const struct iod_epoch *changes;
	unsigned n;
	bool done;
	int rc;
	struct dray_error *err;
};

/* Until it is done by another, or the pen is ours: true. */
static bool wait_for_pen(struct iod_epochs *e, struct change *own, uint64_t wait_ns)
{
	struct timespec until;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += (time_t)(wait_ns / 1000000000u);
	int rc = 0;
	while (!own->done && e->pen_taken && rc != ETIMEDOUT)
		rc = pthread_cond_timedwait(&e->pen_free, &e->lock, &until);
	/* Taken by somebody who has not ended: his outcome is ours. */
	while (!own->done && dray_list_empty(&own->node))
		pthread_cond_wait(&e->pen_free, &e->lock);
	if (own->done)
		return false;
	dray_list_del(&own->node);
	if (!e->pen_taken)
		return e->pen_taken = true;
	own->rc = dray_error_kind(own->err, -EBUSY, "record_busy", "epoch record: another one is under way and has not ended");
	own->done = true;
	return false;
}

/* The pen is held. Some changes, as one record; after an error superseded. */
static int write_some(struct iod_epochs *e, const struct iod_epoch *changes, unsigned n, struct dray_error *err)
{
	int rc = iod_epochs_write(e, changes, n, err);
	for (int i = 0; rc && i < 3; i++)
		if (iod_epochs_write(e, NULL, 0, NULL) == 0)
			break;
	return rc;
}

/* The pen is held: ours, and those that came while it was not free. A failure is everybody's. */
static void write_batch(struct iod_epochs *e, struct dray_list *batch)
{
	unsigned n = 0;
	dray_list_for_each (at, batch)
		n += dray_container(at, struct change, node)->n;
	struct iod_epoch *all = calloc(n + 1, sizeof *all);
	struct dray_error err = DRAY_ERROR_INIT;
	n = 0;
	dray_list_for_each (at, batch) {
		const struct change *c = dray_container(at, struct change, node);
		if (all && c->n)
			memcpy(all + n, c->changes, c->n * sizeof *all);
		n += c->n;
	}
	int rc = all ? write_some(e, all, n, &err) : dray_error_kind(&err, -ENOMEM, "record_failed", "epoch record: no memory");
	free(all);
	pthread_mutex_lock(&e->lock);
	dray_list_for_each_safe (at, batch) {
		struct change *c = dray_container(at, struct change, node);
		dray_list_del(at);
		c->rc = rc;
		if (rc && c->err)
			*c->err = err;
		c->done = true;
	}
	pthread_cond_broadcast(&e->pen_free);
	pthread_mutex_unlock(&e->lock);
}

int iod_epochs_change(struct iod_epochs *e, const struct iod_epoch *changes, unsigned n, struct dray_error *err)
{
	struct change own = { .changes = changes, .n = n, .err = err };
	struct dray_list batch, *at;
	dray_list_init(&batch);
	pthread_mutex_lock(&e->lock);
	dray_list_add_tail(&e->waiting, &own.node);
	bool mine = wait_for_pen(e, &own, UINT64_C(5000000000));
	if (mine) {
		dray_list_add_tail(&batch, &own.node);
		while ((at = dray_list_pop(&e->waiting)))
			dray_list_add_tail(&batch, at);
	}
	pthread_mutex_unlock(&e->lock);
	if (mine) {
		write_batch(e, &batch);
		iod_epochs_end(e);
	}
	return own.rc;
}

uint64_t iod_epochs_ewma_ns(struct iod_epochs *e)
{
	pthread_mutex_lock(&e->lock);
	uint64_t ns = e->ewma_ns;
	pthread_mutex_unlock(&e->lock);
	return ns;
}
