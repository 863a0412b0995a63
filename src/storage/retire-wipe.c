/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Zero and discard, through the storage drivers: of files, devices, NBD exports, and slices of them.
 *
 * It may take hours. So it is done in pieces, what is written at most as fast as it is allowed to; between two pieces it can be told to leave off;
 * and every few seconds, behind a flush, how far it came is recorded. A repeat goes on from there: what lies before is durable.
 *
 * Zero. On devices and exports it is the storage's own zeroing without unmapping, so that what is behind them is written, too. In a
 * file, zeroes are written, not ranges marked as zero: the old data must be gone from the medium, as far as writing does that. Holes
 * are left alone: a sparse file must not fill its file system.
 *
 * Discard. Trimmed inward to the storage's granule, so that no block is given back that holds somebody else's bytes (H23); what is
 * left over at the ends, inside the slice, is zeroed. A file's hole is looked at afterwards: what still has data there must be zeroes.
 */
#include "storage/retire.h"

#include "base/min.h"
#include "storage/driver.h"
#include "storage/held.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#define POLL_NS      50000000
#define RECORD_NS    UINT64_C(3000000000)
#define ZERO_PIECE   (UINT64_C(16) << 20)
#define DISCARD_PIECE (UINT64_C(1) << 30)
#define BUFFER_BYTES (1U << 20)
#define LOOK_PIECE   (UINT64_C(256) << 20)
#define EXTENTS      64

struct wipe {
	const struct dray_retire_order *o;
	struct dray_error *err;
	struct dray_storage *st;
	struct dray_loop *loop;
	char path[PATH_MAX];
	char *buffer; /* zeroes, or what is read */
	uint64_t size, done, recorded_at, began_at, written;
	bool file;
	/* the operation under way */
	struct dray_sio sio;
	bool finished, closed;
	int result;
};

static uint64_t clock_ns(const struct wipe *w)
{
	struct timespec ts;
	if (w->o->now)
		return w->o->now(w->o->ctx);
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec;
}

static void wait_a_little(const struct wipe *w)
{
	if (w->o->wait)
		w->o->wait(w->o->ctx, POLL_NS);
	else
		nanosleep(&(struct timespec){ .tv_nsec = POLL_NS }, NULL);
}

/* ---- one operation, waited for ---- */

static void finished(struct dray_sio *sio, int error, bool may_land_late)
{
	struct wipe *w = dray_container(sio, struct wipe, sio);
	w->finished = true;
	w->result = error;
}

static const char *const names[] = { [DRAY_OP_READ] = "read", [DRAY_OP_WRITE] = "write zeroes", [DRAY_OP_ZERO] = "zero",
	[DRAY_OP_DISCARD] = "discard", [DRAY_OP_FLUSH] = "flush", [DRAY_OP_EXTENTS] = "ask for holes" };

static int operate(struct wipe *w, enum dray_op op, uint64_t offset, uint64_t length, struct dray_extent *extents)
{
	w->sio = (struct dray_sio){ .done = finished, .op = op, .offset = offset, .length = length, .data = w->buffer,
		.extents = extents, .max_extents = extents ? EXTENTS : 0 };
	w->finished = false;
	dray_storage_submit(w->st, &w->sio);
	while (!w->finished)
		dray_loop_once(w->loop, UINT64_C(1000000000));
	if (w->result)
		return dray_error_errno(w->err, w->result, "%s: %s at %llu", w->o->resource, names[op], (unsigned long long)offset);
	return 0;
}

static int flush_and_record(struct wipe *w)
{
	int rc = operate(w, DRAY_OP_FLUSH, 0, 0, NULL);
	if (!rc)
		rc = w->o->record(w->o->ctx, "begun", w->path, w->done);
	if (!rc)
		w->o->point(w->o->ctx, "retire-piece");
	w->recorded_at = clock_ns(w);
	return rc;
}

/* After a piece. Negative: it ends here. */
static int between(struct wipe *w, uint64_t wrote)
{
	const struct dray_retire_order *o = w->o;
	o->progress(o->ctx, w->done, w->size);
	w->written += wrote;
	int rc = clock_ns(w) >= w->recorded_at + RECORD_NS ? flush_and_record(w) : 0;
	for (;;) {
		if (!rc && o->stop(o->ctx)) {
			rc = flush_and_record(w);
			return rc ? rc : -ECANCELED;
		}
		uint64_t took = clock_ns(w) - w->began_at;
		if (rc || o->rate == UINT64_MAX || (double)w->written <= (double)o->rate * (double)took / 1e9)
			return rc;
		wait_a_little(w);
	}
}

/* ---- zero ---- */

static int write_zeroes(struct wipe *w, uint64_t at, uint64_t end)
{
	while (at < end) {
		uint64_t n = min_u64(end - at, BUFFER_BYTES);
		int rc = operate(w, DRAY_OP_WRITE, at, n, NULL);
		if (rc)
			return rc;
		at += n;
		w->done = at;
		rc = between(w, n);
		if (rc)
			return rc;
	}
	return 0;
}

static int zero_file(struct wipe *w)
{
	struct dray_extent extents[EXTENTS];
	while (w->done < w->size) {
		uint64_t at = w->done;
		int rc = operate(w, DRAY_OP_EXTENTS, at, min_u64(w->size - at, LOOK_PIECE), extents);
		unsigned n = w->sio.n_extents;
		for (unsigned i = 0; !rc && i < n; i++) {
			if (!(extents[i].flags & DRAY_EXTENT_HOLE))
				rc = write_zeroes(w, at, at + extents[i].length);
			at += extents[i].length;
			w->done = at;
		}
		if (!rc)
			rc = between(w, 0);
		if (rc)
			return rc;
	}
	return 0;
}

static int zero_range(struct wipe *w, uint64_t end)
{
	while (w->done < end) {
		uint64_t n = min_u64(end - w->done, ZERO_PIECE);
		int rc = operate(w, DRAY_OP_ZERO, w->done, n, NULL);
		w->done += rc ? 0 : n;
		if (!rc)
			rc = between(w, n);
		if (rc)
			return rc;
	}
	return 0;
}

/* ---- discard ---- */

static uint64_t queue_number(dev_t dev, const char *name)
{
	static const char *const where[] = { "queue", "../queue" };
	for (int i = 0; i < 2; i++) {
		char path[160];
		unsigned long long value;
		snprintf(path, sizeof path, "/sys/dev/block/%u:%u/%s/%s", major(dev), minor(dev), where[i], name);
		FILE *f = fopen(path, "re");
		int n = f ? fscanf(f, "%llu", &value) : 0;
		if (f)
			fclose(f);
		if (f)
			return n == 1 ? value : 0;
	}
	return 0;
}

static uint64_t granule(const struct wipe *w)
{
	const struct dray_storage_info *info = &w->st->info;
	uint64_t g = info->preferred_bytes;
	struct stat st;
	if (*w->path && !stat(w->path, &st))
		g = S_ISBLK(st.st_mode) ? queue_number(st.st_rdev, "discard_granularity") : (uint64_t)st.st_blksize;
	return g > info->block_bytes ? g : info->block_bytes;
}

/* What the file system left there must be zeroes. */
static int look_at_hole(struct wipe *w, uint64_t at, uint64_t end)
{
	struct dray_extent extents[EXTENTS];
	while (at < end) {
		int rc = operate(w, DRAY_OP_EXTENTS, at, min_u64(end - at, LOOK_PIECE), extents);
		unsigned n = w->sio.n_extents;
		for (unsigned i = 0; !rc && i < n; i++) {
			uint64_t stop = at + extents[i].length;
			for (; !rc && !(extents[i].flags & DRAY_EXTENT_HOLE) && at < stop; at += min_u64(stop - at, BUFFER_BYTES)) {
				uint64_t len = min_u64(stop - at, BUFFER_BYTES);
				rc = operate(w, DRAY_OP_READ, at, len, NULL);
				for (uint64_t k = 0; !rc && k < len; k++)
					if (w->buffer[k])
						rc = dray_error_set(w->err, -EIO, "%s: there is still data at %llu after the discard",
							w->o->resource, (unsigned long long)(at + k));
			}
			at = stop;
		}
		if (rc)
			return rc;
	}
	return 0;
}

static int discard(struct wipe *w)
{
	uint64_t g = granule(w), base = w->st->slice_offset;
	uint64_t first = (base + g - 1) / g * g - base, last = (base + w->size) / g * g;
	last = last > base + first ? last - base : first;
	/* A part smaller than a granule: all of it is an end. */
	if (first >= w->size)
		first = last = w->size;
	int rc = w->done < first ? zero_range(w, first) : 0;
	while (!rc && w->done < last) {
		uint64_t n = min_u64(last - w->done, DISCARD_PIECE);
		rc = operate(w, DRAY_OP_DISCARD, w->done, n, NULL);
		w->done += rc ? 0 : n;
		if (!rc)
			rc = between(w, 0);
	}
	if (!rc)
		rc = zero_range(w, w->size);
	return rc || !w->file ? rc : look_at_hole(w, first, last);
}

/* ---- from open to close ---- */

/* The whole of a file or device: nobody else has it open. (Of a slice, the rest may well be in use; its own range is locked.) */
static int wait_until_free(struct wipe *w)
{
	const struct dray_retire_order *o = w->o;
	int fd = open(w->path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return dray_error_kind(w->err, -errno, "not_accessible", "%s: %s", w->path, strerror(errno));
	int rc = 0;
	for (uint64_t waited = 0;; waited += POLL_NS) {
		rc = dray_storage_held(fd, w->path, w->err);
		if (rc != -EBUSY || waited >= o->wait_ns)
			break;
		if (o->stop(o->ctx)) {
			rc = -ECANCELED;
			break;
		}
		nanosleep(&(struct timespec){ .tv_nsec = POLL_NS }, NULL);
	}
	close(fd);
	return rc;
}

static int same(struct wipe *w, const struct dray_storage_info *info)
{
	const struct dray_retire_order *o = w->o;
	if (strcmp(info->identity, o->identity))
		return dray_error_kind(w->err, -ESTALE, "replaced",
			"%s is not the storage that was migrated any more (it is %s, that was %s)", o->resource, info->identity,
			o->identity);
	if (!info->stable_identity && !o->same_boot)
		return dray_error_kind(w->err, -ESTALE, "replaced",
			"%s: the host was restarted, and %s is no identity that lasts over that: it could be another storage",
			o->resource, info->identity);
	return 0;
}

/* What validation refused, or would have. */
static int allowed(struct wipe *w)
{
	const struct dray_retire_order *o = w->o;
	enum dray_retire_kind kind;
	int fd = open(w->path, O_PATH | O_CLOEXEC);
	int rc = fd < 0 ? -errno : dray_retire_kind_of_fd(fd, &kind);
	if (fd >= 0)
		close(fd);
	if (rc)
		return dray_error_errno(w->err, rc, "%s", w->path);
	const char *no = dray_retire_cell(kind, o->offset || o->length, o->way)->no;
	return no ? dray_error_kind(w->err, -ENOTSUP, "retire", "%s (%s) can't be retired by \"%s\": %s", w->path,
			    dray_retire_kind_word(kind), dray_retire_word(o->way), no) : 0;
}

static int open_it(struct wipe *w)
{
	const struct dray_retire_order *o = w->o;
	struct dray_storage_options options = { .offset = o->offset, .length = o->length, .lock_wait_ns = o->wait_ns,
		.allow_faults = o->allow_faults, .connections = 1 };
	bool plain = !dray_storage_fault.matches(o->resource) && !dray_storage_nbd.matches(o->resource);
	struct dray_storage_info info;
	int rc = 0;
	if (plain && !realpath(dray_storage_path(o->resource), w->path))
		return dray_error_kind(w->err, -errno, "not_found", "%s: %s", o->resource, strerror(errno));
	if (plain) {
		/* Only looked at: opening a file for writing touches its times, and it may be somebody else's. */
		struct dray_storage_options look = options;
		look.read_only = look.no_lock = true;
		rc = dray_storage_probe(w->path, &look, &info, w->err);
		if (!rc)
			rc = same(w, &info);
		if (!rc)
			rc = allowed(w);
	}
	if (!rc && plain && !o->offset && !o->length)
		rc = wait_until_free(w);
	if (!rc)
		rc = dray_storage_open(&w->st, plain ? w->path : o->resource, &options, w->err);
	if (!rc)
		rc = same(w, &w->st->info);
	if (rc)
		return rc;
	w->size = w->st->info.size_bytes;
	w->file = plain && !w->st->info.is_block_device;
	if (o->way == DRAY_RETIRE_DISCARD && !w->st->info.can_discard)
		return dray_error_kind(w->err, -ENOTSUP, "retire", "%s takes no discards", o->resource);
	return 0;
}

static void closed(void *arg)
{
	((struct wipe *)arg)->closed = true;
}

static int work(struct wipe *w, struct dray_retire_result *result)
{
	const struct dray_retire_order *o = w->o;
	w->done = o->done_bytes < w->size ? o->done_bytes : w->size;
	int rc = o->record(o->ctx, "begun", w->path, w->done);
	if (rc)
		return rc;
	o->point(o->ctx, "retire-begun");
	o->progress(o->ctx, w->done, w->size);
	w->began_at = w->recorded_at = clock_ns(w);
	rc = o->way == DRAY_RETIRE_DISCARD ? discard(w) : w->file ? zero_file(w) : zero_range(w, w->size);
	if (!rc)
		rc = operate(w, DRAY_OP_FLUSH, 0, 0, NULL);
	if (!rc)
		snprintf(result->detail, sizeof result->detail, "%llu bytes %s", (unsigned long long)w->size,
			o->way == DRAY_RETIRE_DISCARD ? "discarded" : "zeroed");
	return rc;
}

int dray_retire_wipe(const struct dray_retire_order *o, struct dray_retire_result *result, struct dray_error *err)
{
	struct wipe w = { .o = o, .err = err };
	void *buffer = NULL;
	int rc = open_it(&w);
	size_t align = rc || w.st->info.memory_align < 4096 ? 4096 : w.st->info.memory_align;
	if (!rc && posix_memalign(&buffer, align, BUFFER_BYTES))
		rc = dray_error_errno(err, -ENOMEM, "%s", o->resource);
	if (!rc)
		rc = dray_loop_new(&w.loop, DRAY_LOOP_AUTO, 16, err);
	if (!rc) {
		w.buffer = memset(buffer, 0, BUFFER_BYTES);
		dray_storage_attach(w.st, w.loop);
		rc = work(&w, result);
		dray_storage_detach(w.st, closed, &w);
		while (!w.closed)
			dray_loop_once(w.loop, UINT64_C(100000000));
	}
	dray_storage_close(w.st);
	if (w.loop)
		dray_loop_free(w.loop);
	free(buffer);
	return rc;
}
