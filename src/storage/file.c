/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Regular files and block devices.
 *
 * With O_DIRECT (see file_open.c) reads and writes go to the loop. A caller's buffer that is not aligned as the device needs it
 * is bounced through one that is; the data path's buffers are aligned and never are.
 *
 * Through the page cache, most reads are a copy in memory: they are tried at once, without waiting (RWF_NOWAIT), and only
 * what is not cached goes to the loop, because io_uring would hand it to a worker thread, several times as dear as
 * the copy. On tmpfs nothing ever waits, so all reads and writes are done at once. Results that are known at once are
 * still delivered from the loop, later.
 *
 * Short reads and writes are carried on from where they ended; a read that meets the end of a file inside the storage is an
 * error: somebody cut the file under us.
 *
 * ZERO: PUNCH_HOLE where unmapping is allowed, else ZERO_RANGE, which keeps the space; where the kernel answers EOPNOTSUPP,
 * the next best, in the end writing zeroes. With DRAY_F_FAST there is no next best.
 */
#include "storage/file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* priv[0]: the bounce buffer of a read or write; what a ZERO is trying */
enum { BOUNCE, TRYING };

static struct dray_file *file_of(struct dray_storage *st)
{
	return st->priv;
}

static bool matches(const char *resource)
{
	return !strncmp(resource, "file:", 5) ? resource[5] != 0 : resource[0] == '/' || !strstr(resource, "://");
}

static int file_open(struct dray_storage *st, const char *resource, const struct dray_storage_options *options,
	struct dray_error *err)
{
	struct dray_file *f = calloc(1, sizeof *f);
	if (!f)
		return dray_error_errno(err, -ENOMEM, "%s", resource);
	int rc = dray_file_open(f, dray_storage_path(resource), options, &st->info, err);
	if (rc)
		free(f);
	else
		st->priv = f;
	return rc;
}

static void file_close(struct dray_storage *st)
{
	dray_file_close(file_of(st));
	free(st->priv);
}

/* ---- reads and writes ---- */

static void rw_start(struct dray_storage *st, struct dray_sio *sio);

static void rw_end(struct dray_sio *sio, int error)
{
	void *bounce = sio->priv[BOUNCE];
	if (bounce) {
		if (!error && sio->op == DRAY_OP_READ)
			memcpy(sio->data, bounce, sio->length);
		free(bounce);
	}
	sio->done(sio, error, false);
}

/* Moves on after `res` bytes. 1: all is there; 0: more to do; else the error. */
static int rw_advance(struct dray_sio *sio, int res)
{
	if (res == -EINTR || res == -EAGAIN)
		return 0;
	if (res < 0)
		return res;
	if (!res)
		return sio->op == DRAY_OP_READ ? -EIO : -ENOSPC;
	sio->at += (uint64_t)res;
	return sio->at == sio->length;
}

/* What is written behind the end of a device is told as a lack of space, and a device that was taken away ends at 0: that is not full. */
static int unless_gone(struct dray_storage *st, int rc)
{
	uint64_t size;
	if (rc != -ENOSPC || !st->info.is_block_device || ioctl(file_of(st)->fd, BLKGETSIZE64, &size) || size)
		return rc;
	return -ENODEV;
}

static void rw_done(struct dray_ioc *ioc, int res)
{
	struct dray_sio *sio = dray_container(ioc, struct dray_sio, ioc);
	int rc = unless_gone(sio->storage, rw_advance(sio, res));
	if (rc)
		rw_end(sio, rc < 0 ? rc : 0);
	else
		rw_start(sio->storage, sio);
}

static void rw_finished(struct dray_ioc *ioc, int res)
{
	rw_end(dray_container(ioc, struct dray_sio, ioc), res);
}

static void rw_start(struct dray_storage *st, struct dray_sio *sio)
{
	struct dray_file *f = file_of(st);
	bool write = sio->op == DRAY_OP_WRITE;
	int rwf = write && sio->flags & DRAY_F_FUA ? RWF_DSYNC : 0;
	for (;;) {
		char *data = sio->priv[BOUNCE] ? sio->priv[BOUNCE] : sio->data;
		uint64_t at = st->slice_offset + sio->offset + sio->at;
		struct iovec iov = { data + sio->at, sio->length - sio->at };
		sio->iov = iov;
		sio->ioc.done = rw_done;
		ssize_t n = -EAGAIN;
		if (f->in_memory || (!write && !st->info.direct)) {
			n = write ? pwritev2(f->fd, &iov, 1, (off_t)at, rwf) :
				    preadv2(f->fd, &iov, 1, (off_t)at, f->in_memory ? 0 : RWF_NOWAIT);
			/* Anything but data, an end of file included, is left for the loop to tell. */
			if (n > 0) {
				int rc = rw_advance(sio, (int)n);
				if (!rc)
					continue;
				sio->ioc.done = rw_finished;
				dray_loop_finish(st->loop, &sio->ioc, 0);
				return;
			}
		}
		if (write)
			dray_loop_writev(st->loop, &sio->ioc, f->fd, &sio->iov, 1, at, rwf, dray_flags_prio(sio->flags));
		else
			dray_loop_readv(st->loop, &sio->ioc, f->fd, &sio->iov, 1, at, dray_flags_prio(sio->flags));
		return;
	}
}

static void rw(struct dray_storage *st, struct dray_sio *sio)
{
	sio->priv[BOUNCE] = NULL;
	if ((uintptr_t)sio->data % st->info.memory_align) {
		void *bounce;
		size_t align = st->info.memory_align < sizeof(void *) ? sizeof(void *) : st->info.memory_align;
		if (posix_memalign(&bounce, align, sio->length)) {
			dray_storage_finish(st, sio, -ENOMEM);
			return;
		}
		if (sio->op == DRAY_OP_WRITE)
			memcpy(bounce, sio->data, sio->length);
		sio->priv[BOUNCE] = bounce;
	}
	rw_start(st, sio);
}

/* ---- zero and discard ---- */

static void simple_done(struct dray_ioc *ioc, int res)
{
	struct dray_sio *sio = dray_container(ioc, struct dray_sio, ioc);
	sio->done(sio, res < 0 ? unless_gone(sio->storage, res) : 0, false);
}

static void discard_done(struct dray_ioc *ioc, int res)
{
	/* Not every file system that punches does so everywhere; a discard is a wish. */
	simple_done(ioc, res == -EOPNOTSUPP ? 0 : res);
}

static void zero_next(struct dray_storage *st, struct dray_sio *sio);

static void zero_done(struct dray_ioc *ioc, int res)
{
	struct dray_sio *sio = dray_container(ioc, struct dray_sio, ioc);
	struct dray_storage *st = sio->storage;
	if (res != -EOPNOTSUPP) {
		simple_done(ioc, res);
		return;
	}
	bool *tried = sio->priv[TRYING];
	*tried = false;
	zero_next(st, sio);
}

static void zero_next(struct dray_storage *st, struct dray_sio *sio)
{
	struct dray_file *f = file_of(st);
	bool may_unmap = sio->flags & DRAY_F_MAY_UNMAP, fast = sio->flags & DRAY_F_FAST;
	int mode = 0;
	if (f->punch && may_unmap) {
		sio->priv[TRYING] = &f->punch;
		mode = FALLOC_FL_PUNCH_HOLE;
	} else if (f->zero_range && !(fast && st->info.is_block_device && !st->info.can_fast_zero)) {
		sio->priv[TRYING] = &f->zero_range;
		mode = FALLOC_FL_ZERO_RANGE;
	} else if (fast) {
		dray_storage_finish(st, sio, -ENOTSUP);
		return;
	} else {
		dray_storage_write_zeroes(st, sio);
		return;
	}
	sio->ioc.done = zero_done;
	dray_loop_fallocate(st->loop, &sio->ioc, f->fd, mode | FALLOC_FL_KEEP_SIZE, st->slice_offset + sio->offset,
		sio->length);
}

static int discard_device(void *arg)
{
	struct dray_sio *sio = arg;
	struct dray_storage *st = sio->storage;
	uint64_t range[2] = { st->slice_offset + sio->offset, sio->length };
	return ioctl(file_of(st)->fd, BLKDISCARD, range) ? -errno : 0;
}

static void discard(struct dray_storage *st, struct dray_sio *sio)
{
	sio->ioc.done = discard_done;
	if (st->info.is_block_device)
		dray_loop_call(st->loop, &sio->ioc, discard_device, sio);
	else
		dray_loop_fallocate(st->loop, &sio->ioc, file_of(st)->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			st->slice_offset + sio->offset, sio->length);
}

/* ---- the rest ---- */

static void extents(struct dray_storage *st, struct dray_sio *sio)
{
	int fd = file_of(st)->fd;
	uint64_t at = st->slice_offset + sio->offset, end = at + sio->length;
	while (at < end && sio->n_extents < sio->max_extents) {
		struct dray_extent *e = &sio->extents[sio->n_extents];
		off_t data = lseek(fd, (off_t)at, SEEK_DATA);
		uint64_t next;
		e->flags = 0;
		if (data < 0 && errno != ENXIO) {
			dray_storage_finish(st, sio, -errno);
			return;
		}
		if (data < 0 || (uint64_t)data > at) {
			next = data < 0 ? end : (uint64_t)data; /* ENXIO: a hole to the end */
			e->flags = DRAY_EXTENT_HOLE | DRAY_EXTENT_ZERO;
		} else {
			off_t hole = lseek(fd, (off_t)at, SEEK_HOLE);
			/* Cut short by somebody while we asked: data, then, and reading will tell. */
			next = hole <= (off_t)at ? end : (uint64_t)hole;
		}
		if (next > end)
			next = end;
		e->length = next - at;
		at = next;
		sio->n_extents++;
	}
	dray_storage_finish(st, sio, 0);
}

static int read_ahead(void *arg)
{
	struct dray_sio *sio = arg;
	struct dray_storage *st = sio->storage;
	return -posix_fadvise(file_of(st)->fd, (off_t)(st->slice_offset + sio->offset), (off_t)sio->length,
		POSIX_FADV_WILLNEED);
}

static void submit(struct dray_storage *st, struct dray_sio *sio)
{
	switch (sio->op) {
	case DRAY_OP_READ:
	case DRAY_OP_WRITE: rw(st, sio); break;
	case DRAY_OP_ZERO: zero_next(st, sio); break;
	case DRAY_OP_DISCARD: discard(st, sio); break;
	case DRAY_OP_EXTENTS: extents(st, sio); break;
	case DRAY_OP_FLUSH:
		sio->ioc.done = simple_done;
		dray_loop_fdatasync(st->loop, &sio->ioc, file_of(st)->fd);
		break;
	case DRAY_OP_CACHE:
		sio->ioc.done = simple_done;
		dray_loop_call(st->loop, &sio->ioc, read_ahead, sio);
		break;
	default: assert(false && "not a storage's operation");
	}
}

static bool gone(const struct dray_storage *st)
{
	struct stat now;
	return fstat(((const struct dray_file *)st->priv)->fd, &now) == 0 && S_ISREG(now.st_mode) && now.st_nlink == 0;
}

static int dup_fd(const struct dray_storage *st)
{
	int fd = fcntl(((const struct dray_file *)st->priv)->fd, F_DUPFD_CLOEXEC, 0);
	return fd < 0 ? -errno : fd;
}

const struct dray_storage_driver dray_storage_file = {
	.name = "file",
	.matches = matches,
	.open = file_open,
	.close = file_close,
	.submit = submit,
	.gone = gone,
	.dup = dup_fd,
};
