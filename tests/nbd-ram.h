/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Exports in plain memory, for the tests of the NBD server: header only, so that unit tests, fuzz targets and
 * tools can all include it.
 *
 * Blocks of 4 KiB know whether they were ever written: extents. With `errors`, a READ, WRITE or ZERO that
 * begins in block n = 1, 2, ... of the export fails with the n-th error of ram_errors. With `delay_ns`, every
 * answer comes that much later. A file export does its reads and writes through the loop.
 */
#ifndef DRAY_TESTS_NBD_RAM_H
#define DRAY_TESTS_NBD_RAM_H

#include "nbd/backend.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RAM_BLOCK 4096

/* Buffers of these sizes are kept for the next request. */
static const size_t ram_kept[] = {65536, 1 << 20};
#define RAM_KINDS (sizeof ram_kept / sizeof ram_kept[0])
#define RAM_SPARE 64

static const int ram_errors[] = {EIO, ENOSPC, ENOMEM, EPERM, EINVAL, ENOTSUP, ESHUTDOWN, EROFS};

struct ram;

struct ram_export {
	struct dray_nbd_export_info info;
	struct ram *ram;
	struct dray_loop *loop;
	uint8_t *data;
	bool *written; /* per block */
	bool errors;
	int fd; /* of a file export, else 0 */
	uint64_t delay_ns, buf_limit;
	void *spare[RAM_KINDS][RAM_SPARE];
	unsigned n_spare[RAM_KINDS];
	atomic_ulong refs, bufs, buf_bytes, clients, requests, flushes, fua, fast, unmap;
};

struct ram {
	struct ram_export *exports;
	unsigned n;
};

/* A request that is answered later. */
struct ram_later {
	struct dray_loop_timer timer;
	struct dray_ioc ioc;
	struct iovec iov;
	struct ram_export *e;
	struct dray_request *req;
	int error;
};

static void *ram_get(void *ctx, const char *name, struct dray_nbd_export_info *info, struct dray_loop **loop)
{
	struct ram *ram = ctx;
	for (unsigned i = 0; i < ram->n; i++) {
		struct ram_export *e = &ram->exports[i];
		if (strcmp(e->info.name, name) != 0 && !(name[0] == '\0' && i == 0))
			continue;
		e->refs++;
		*info = e->info;
		*loop = e->loop;
		return e;
	}
	return NULL;
}

static void ram_put(void *ctx, void *handle)
{
	struct ram_export *e = handle;
	assert(e->refs > 0);
	e->refs--;
}

static void ram_list(void *ctx, void (*each)(void *arg, const char *name, const char *description), void *arg)
{
	struct ram *ram = ctx;
	for (unsigned i = 0; i < ram->n; i++)
		each(arg, ram->exports[i].info.name, ram->exports[i].info.description);
}

/* Which of the kept sizes it takes; RAM_KINDS: none. */
static size_t ram_kind(uint64_t bytes)
{
	size_t k = 0;
	while (k < RAM_KINDS && bytes > ram_kept[k])
		k++;
	return k;
}

static void *ram_buf_get(void *ctx, void *handle, uint64_t bytes)
{
	struct ram_export *e = handle;
	if (e->buf_limit && e->buf_bytes + bytes > e->buf_limit)
		return NULL;
	void *p = NULL;
	size_t k = ram_kind(bytes);
	if (k < RAM_KINDS && e->n_spare[k])
		p = e->spare[k][--e->n_spare[k]];
	else if (posix_memalign(&p, 4096, k < RAM_KINDS ? ram_kept[k] : bytes))
		return NULL;
	e->bufs++;
	e->buf_bytes += bytes;
	return p;
}

static void ram_buf_put(void *ctx, void *handle, void *buf, uint64_t bytes)
{
	struct ram_export *e = handle;
	assert(e->bufs > 0 && e->buf_bytes >= bytes);
	e->bufs--;
	e->buf_bytes -= bytes;
	size_t k = ram_kind(bytes);
	if (k < RAM_KINDS && e->n_spare[k] < RAM_SPARE)
		e->spare[k][e->n_spare[k]++] = buf;
	else
		free(buf);
}

static void ram_client(void *ctx, void *handle, bool connected, const char *peer)
{
	struct ram_export *e = handle;
	assert(connected || e->clients > 0);
	if (connected)
		e->clients++;
	else
		e->clients--;
}

static void ram_answer(struct dray_request *req, int error)
{
	dray_nbd_reply(req, error);
	dray_nbd_release(req);
}

static void ram_mark(struct ram_export *e, const struct dray_request *req, bool written)
{
	for (uint64_t b = req->offset / RAM_BLOCK;
		e->written && b <= (req->offset + req->length - 1) / RAM_BLOCK; b++) {
		/* A part of a block that was unmapped leaves the rest of it. */
		bool whole = req->offset <= b * RAM_BLOCK && req->offset + req->length >= (b + 1) * RAM_BLOCK;
		if (written || whole)
			e->written[b] = written;
	}
}

static int ram_extents(struct ram_export *e, struct dray_request *req)
{
	uint64_t at = req->offset, end = req->offset + req->length;
	while (at < end && req->n_extents < req->max_extents) {
		bool w = e->written[at / RAM_BLOCK];
		uint64_t to = at;
		while (to < end && e->written[to / RAM_BLOCK] == w)
			to = (to / RAM_BLOCK + 1) * RAM_BLOCK;
		req->extents[req->n_extents++] = (struct dray_extent){
			.length = to - at, .flags = w ? 0 : DRAY_EXTENT_HOLE | DRAY_EXTENT_ZERO};
		at = to;
	}
	return 0;
}

static int ram_do(struct ram_export *e, struct dray_request *req)
{
	uint64_t block = req->offset / RAM_BLOCK;
	bool moves = req->op == DRAY_OP_READ || req->op == DRAY_OP_WRITE || req->op == DRAY_OP_ZERO;
	if (e->errors && moves && block >= 1 && block <= sizeof ram_errors / sizeof ram_errors[0])
		return -ram_errors[block - 1];
	e->fua += !!(req->flags & DRAY_F_FUA);
	e->fast += !!(req->flags & DRAY_F_FAST);
	e->unmap += !!(req->flags & DRAY_F_MAY_UNMAP);
	assert(req->op == DRAY_OP_FLUSH || (req->length && req->offset <= e->info.size_bytes &&
						   req->length <= e->info.size_bytes - req->offset));
	switch (req->op) {
	case DRAY_OP_READ: memcpy(req->data, e->data + req->offset, req->length); return 0;
	case DRAY_OP_WRITE:
		memcpy(e->data + req->offset, req->data, req->length);
		ram_mark(e, req, true);
		return 0;
	case DRAY_OP_ZERO:
	case DRAY_OP_DISCARD:
		memset(e->data + req->offset, 0, req->length);
		ram_mark(e, req, req->op == DRAY_OP_ZERO && !(req->flags & DRAY_F_MAY_UNMAP));
		return 0;
	case DRAY_OP_FLUSH: e->flushes++; return 0;
	case DRAY_OP_CACHE: return 0;
	case DRAY_OP_EXTENTS: return ram_extents(e, req);
	default: assert(!"an operation that no frontend submits"); return -EINVAL;
	}
}

static void ram_late(struct dray_loop_timer *timer)
{
	struct ram_later *l = dray_container(timer, struct ram_later, timer);
	struct dray_request *req = l->req;
	int error = l->error;
	free(l);
	ram_answer(req, error);
}

static void ram_io_done(struct dray_ioc *ioc, int res)
{
	struct ram_later *l = dray_container(ioc, struct ram_later, ioc);
	struct dray_request *req = l->req;
	bool whole = res >= 0 && (req->op == DRAY_OP_FLUSH || (uint64_t)res == req->length);
	free(l);
	ram_answer(req, res < 0 ? res : whole ? 0 : -EIO);
}

static void ram_submit(void *ctx, void *handle, struct dray_request *req)
{
	struct ram_export *e = handle;
	e->requests++;
	if (!e->delay_ns && !e->fd) {
		ram_answer(req, ram_do(e, req));
		return;
	}
	struct ram_later *l = calloc(1, sizeof *l);
	assert(l);
	l->e = e;
	l->req = req;
	if (e->fd && (req->op == DRAY_OP_READ || req->op == DRAY_OP_WRITE || req->op == DRAY_OP_FLUSH)) {
		l->ioc.done = ram_io_done;
		l->iov = (struct iovec){req->data, req->length};
		if (req->op == DRAY_OP_READ)
			dray_loop_readv(e->loop, &l->ioc, e->fd, &l->iov, 1, req->offset, 0);
		else if (req->op == DRAY_OP_WRITE)
			dray_loop_writev(e->loop, &l->ioc, e->fd, &l->iov, 1, req->offset,
				req->flags & DRAY_F_FUA ? RWF_DSYNC : 0, 0);
		else
			dray_loop_fdatasync(e->loop, &l->ioc, e->fd);
		return;
	}
	l->error = e->fd ? -EINVAL : ram_do(e, req);
	dray_loop_timer_init(&l->timer, ram_late);
	dray_loop_timer_set(e->loop, &l->timer, dray_loop_now(e->loop) + e->delay_ns);
}

static const struct dray_nbd_backend_ops ram_ops = {
	.get = ram_get,
	.put = ram_put,
	.list = ram_list,
	.submit = ram_submit,
	.buf_get = ram_buf_get,
	.buf_put = ram_buf_put,
	.client = ram_client,
};

/* An export with everything; take away afterwards. */
static inline void ram_export_init(struct ram_export *e, const char *name, uint64_t size)
{
	memset(e, 0, sizeof *e);
	snprintf(e->info.name, sizeof e->info.name, "%s", name);
	snprintf(e->info.description, sizeof e->info.description, "%s in memory", name);
	e->info.size_bytes = size;
	e->info.block_min = 1;
	e->info.block_preferred = 4096;
	e->info.block_max = 32 << 20;
	e->info.can_multi_conn = e->info.can_fast_zero = e->info.can_trim = true;
	e->info.can_fua = e->info.can_cache = e->info.can_extents = true;
	e->data = calloc(1, size);
	e->written = calloc(size / RAM_BLOCK + 1, sizeof *e->written);
	assert(e->data && e->written);
}

/* Asserts that everything taken was given back. */
static inline void ram_export_free(struct ram_export *e)
{
	assert(e->refs == 0 && e->bufs == 0 && e->buf_bytes == 0 && e->clients == 0);
	for (size_t k = 0; k < RAM_KINDS; k++)
		while (e->n_spare[k])
			free(e->spare[k][--e->n_spare[k]]);
	free(e->data);
	free(e->written);
}

#endif
