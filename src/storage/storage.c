/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The generic part of a storage: finding the driver, slices, checks, and what no driver should have to repeat.
 *
 * Most operations pass the checks and go to the driver as they are. The others are walked: a small helper operation
 * (`struct walk`) is sent to the driver piece by piece, in order, and the caller's operation completes with the last piece
 * or the first error. Walked are: requests longer than the driver takes, ZERO on a storage that cannot zero (zeroes are
 * written), FUA on a storage that cannot (a flush follows the last piece). A walk is the only thing here that
 * allocates; the data path avoids it by asking for what info says.
 *
 * Late writes: if one piece may land late, the whole operation may.
 */
#include "storage/driver.h"
#include "storage/identity.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <pthread.h>

/* The first that matches has it; `file` matches any path. */
static const struct dray_storage_driver *const drivers[] = { &dray_storage_fault, &dray_storage_nbd, &dray_storage_file };

#define ZEROES_BYTES (1U << 20)
static void *zeroes;
static pthread_once_t zeroes_once = PTHREAD_ONCE_INIT;

static void make_zeroes(void)
{
	if (posix_memalign(&zeroes, 4096, ZEROES_BYTES))
		zeroes = NULL;
	else
		memset(zeroes, 0, ZEROES_BYTES);
}

const char *dray_storage_path(const char *resource)
{
	return strncmp(resource, "file:", 5) ? resource : resource + 5;
}

/* ---- opening ---- */

static int take_slice(struct dray_storage *st, const struct dray_storage_options *o, struct dray_error *err)
{
	struct dray_storage_info *info = &st->info;
	if (!o->offset && !o->length)
		return 0;
	if (o->offset >= info->size_bytes || (o->length && o->length > info->size_bytes - o->offset))
		return dray_error_kind(err, -EINVAL, "bad_resource",
			"the slice at %llu of %llu bytes is not inside its %llu bytes", (unsigned long long)o->offset,
			(unsigned long long)o->length, (unsigned long long)info->size_bytes);
	uint64_t length = o->length ? o->length : info->size_bytes - o->offset;
	if (o->offset % info->block_bytes || length % info->block_bytes)
		return dray_error_kind(err, -EINVAL, "bad_resource",
			"the slice at %llu of %llu bytes is not aligned to its blocks of %u bytes",
			(unsigned long long)o->offset, (unsigned long long)length, info->block_bytes);
	st->slice_offset = o->offset;
	info->size_bytes = length;
	return dray_identity_slice(info->identity, sizeof info->identity, o->offset, length, err);
}

int dray_storage_open(struct dray_storage **out, const char *resource, const struct dray_storage_options *options,
	struct dray_error *err)
{
	static const struct dray_storage_options none;
	const struct dray_storage_options *o = options ? options : &none;
	struct dray_storage *st = calloc(1, sizeof *st);
	if (!st || !(st->resource = strdup(resource))) {
		free(st);
		return dray_error_errno(err, -ENOMEM, "%s", resource);
	}
	pthread_once(&zeroes_once, make_zeroes);
	for (size_t i = 0; i < sizeof drivers / sizeof drivers[0] && !st->driver; i++)
		if (drivers[i]->matches(resource))
			st->driver = drivers[i];
	int rc = 0;
	if (!st->driver)
		rc = dray_error_kind(err, -EINVAL, "bad_resource",
			"%s: neither a path nor an address that is understood (nbd://, nbd+unix://)", resource);
	if (!rc && !zeroes)
		rc = dray_error_errno(err, -ENOMEM, "%s", resource);
	if (!rc) {
		st->info = (struct dray_storage_info){ .driver = st->driver->name, .block_bytes = 1, .memory_align = 1,
			.preferred_bytes = 4096, .max_bytes = 32U << 20 };
		rc = st->driver->open(st, resource, o, err);
		if (!rc) {
			st->info.read_only |= o->read_only;
			rc = take_slice(st, o, err);
			if (rc) {
				dray_error_prepend(err, "%s", resource);
				st->driver->close(st);
			}
		}
	}
	if (rc) {
		free(st->resource);
		free(st);
		return rc;
	}
	*out = st;
	return 0;
}

void dray_storage_attach(struct dray_storage *st, struct dray_loop *loop)
{
	assert(!st->loop);
	st->loop = loop;
	if (st->driver->attach)
		st->driver->attach(st);
}

void dray_storage_detach(struct dray_storage *st, void (*done)(void *arg), void *arg)
{
	if (st->loop && st->driver->detach) {
		st->driver->detach(st, done, arg);
		return;
	}
	st->loop = NULL;
	done(arg);
}

void dray_storage_set_retry(struct dray_storage *st, bool retry_primary)
{
	if (st->driver->set_retry)
		st->driver->set_retry(st, retry_primary);
}

void dray_storage_give_up(struct dray_storage *st, uint64_t after_ns)
{
	if (st->driver->give_up)
		st->driver->give_up(st, after_ns);
	else
		dray_storage_set_retry(st, false);
}

bool dray_storage_gone(const struct dray_storage *st)
{
	return st->driver->gone && st->driver->gone(st);
}

void dray_storage_close(struct dray_storage *st)
{
	if (!st)
		return;
	st->driver->close(st);
	free(st->resource);
	free(st);
}

int dray_storage_probe(const char *resource, const struct dray_storage_options *options, struct dray_storage_info *info,
	struct dray_error *err)
{
	struct dray_storage *st;
	int rc = dray_storage_open(&st, resource, options, err);
	if (rc)
		return rc;
	*info = st->info;
	dray_storage_close(st);
	return 0;
}

/* ---- operations ---- */

static void finished(struct dray_ioc *ioc, int res)
{
	struct dray_sio *sio = dray_container(ioc, struct dray_sio, ioc);
	sio->done(sio, res, false);
}

void dray_storage_finish(struct dray_storage *st, struct dray_sio *sio, int error)
{
	sio->ioc.done = finished;
	dray_loop_finish(st->loop, &sio->ioc, error);
}

struct walk {
	struct dray_sio sio;
	struct dray_sio *parent;
	uint64_t at, piece, most;
	bool by_writing, flush, late;
};

static void walk_next(struct walk *w);

static void walk_done(struct dray_sio *sio, int error, bool may_land_late)
{
	struct walk *w = dray_container(sio, struct walk, sio);
	w->late |= may_land_late;
	if (!error) {
		if (w->at < w->parent->length)
			w->at += w->piece;
		else
			w->flush = false;
		if (w->at < w->parent->length || w->flush) {
			walk_next(w);
			return;
		}
	}
	struct dray_sio *parent = w->parent;
	bool late = error && w->late;
	free(w);
	parent->done(parent, error, late);
}

static void walk_next(struct walk *w)
{
	struct dray_sio *parent = w->parent, *sio = &w->sio;
	*sio = (struct dray_sio){ .done = walk_done, .storage = parent->storage };
	if (w->at == parent->length) {
		sio->op = DRAY_OP_FLUSH;
	} else {
		w->piece = parent->length - w->at < w->most ? parent->length - w->at : w->most;
		sio->op = w->by_writing ? DRAY_OP_WRITE : parent->op;
		sio->flags = parent->flags & ~(uint32_t)DRAY_F_FUA;
		sio->offset = parent->offset + w->at;
		sio->length = w->piece;
		if (w->by_writing) {
			sio->data = zeroes;
			sio->flags = parent->flags & ~((UINT32_C(1) << DRAY_F_PRIO_SHIFT) - 1);
		} else if (parent->data) {
			sio->data = (char *)parent->data + w->at;
		}
	}
	parent->storage->driver->submit(parent->storage, sio);
}

static void walk(struct dray_storage *st, struct dray_sio *parent, uint64_t most, bool by_writing, bool flush)
{
	struct walk *w = malloc(sizeof *w);
	if (!w) {
		dray_storage_finish(st, parent, -ENOMEM);
		return;
	}
	*w = (struct walk){ .parent = parent, .most = most - most % st->info.block_bytes, .by_writing = by_writing,
		.flush = flush };
	walk_next(w);
}

void dray_storage_write_zeroes(struct dray_storage *st, struct dray_sio *sio)
{
	uint64_t most = st->info.max_bytes < ZEROES_BYTES ? st->info.max_bytes : ZEROES_BYTES;
	walk(st, sio, most, true, sio->flags & DRAY_F_FUA);
}

static int check(const struct dray_storage_info *info, const struct dray_sio *sio)
{
	if (sio->op == DRAY_OP_FLUSH)
		return 0;
	if (sio->op > DRAY_OP_CACHE || !sio->length || sio->length > info->size_bytes ||
		sio->offset > info->size_bytes - sio->length)
		return -EINVAL;
	if ((sio->offset | sio->length) % info->block_bytes)
		return -EINVAL;
	if (sio->op == DRAY_OP_EXTENTS && !sio->max_extents)
		return -EINVAL;
	bool change = sio->op == DRAY_OP_WRITE || sio->op == DRAY_OP_ZERO || sio->op == DRAY_OP_DISCARD;
	return change && info->read_only ? -EROFS : 0;
}

void dray_storage_submit(struct dray_storage *st, struct dray_sio *sio)
{
	const struct dray_storage_info *info = &st->info;
	assert(st->loop);
	sio->storage = st;
	sio->at = 0;
	int rc = check(info, sio);
	if (rc) {
		dray_storage_finish(st, sio, rc);
		return;
	}
	bool fua = sio->flags & DRAY_F_FUA;
	switch (sio->op) {
	case DRAY_OP_READ:
	case DRAY_OP_WRITE: {
		bool flush = sio->op == DRAY_OP_WRITE && fua && !info->can_fua;
		/* One that is split is flushed once, at its end. */
		if (sio->length > info->max_bytes || flush) {
			walk(st, sio, info->max_bytes, false, sio->op == DRAY_OP_WRITE && fua);
			return;
		}
		break;
	}
	case DRAY_OP_ZERO:
		if (sio->flags & DRAY_F_FAST && !info->can_fast_zero) {
			dray_storage_finish(st, sio, -ENOTSUP);
			return;
		}
		if (!info->can_zero) {
			dray_storage_write_zeroes(st, sio);
			return;
		}
		if (fua || sio->length > DRAY_STORAGE_MOST_ZERO) {
			walk(st, sio, DRAY_STORAGE_MOST_ZERO, false, fua);
			return;
		}
		break;
	case DRAY_OP_DISCARD:
		if (!info->can_discard) {
			dray_storage_finish(st, sio, 0);
			return;
		}
		if (fua || sio->length > DRAY_STORAGE_MOST_ZERO) {
			walk(st, sio, DRAY_STORAGE_MOST_ZERO, false, fua);
			return;
		}
		break;
	case DRAY_OP_EXTENTS:
		if (!info->can_extents) {
			sio->extents[0] = (struct dray_extent){ .length = sio->length };
			sio->n_extents = 1;
			dray_storage_finish(st, sio, 0);
			return;
		}
		sio->n_extents = 0;
		break;
	case DRAY_OP_CACHE:
		if (!info->can_cache) {
			dray_storage_finish(st, sio, 0);
			return;
		}
		if (sio->length > info->max_bytes) {
			walk(st, sio, info->max_bytes, false, false);
			return;
		}
		break;
	default: break;
	}
	st->driver->submit(st, sio);
}
