/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Files made from another file, that share its blocks where the file system can: made under a name of their own, durable, then put in their place;
 * and removed again only when they are what was made.
 *
 * Everything here may be repeated after a kill at any point, and blocks. Names are absolute paths; `part` is one that nobody else has, in the
 * directory of the place.
 */
#ifndef DRAY_STORAGE_CLONE_H
#define DRAY_STORAGE_CLONE_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DRAY_CLONE_ALL 16U

/* What holds the copying back. */
enum dray_clone_bound {
	DRAY_CLONE_BOUND_NONE,    /* there is none */
	DRAY_CLONE_BOUND_RATE,
	DRAY_CLONE_BOUND_SHARE,   /* of the time */
	DRAY_CLONE_BOUND_STORAGE, /* nothing else: it takes what it takes */
};

struct dray_clone_order {
	const char *from;
	const char *expected; /* identity of `from`; NULL: not known */
	uint64_t length;      /* the bytes that it has to have at least; 0: not known */
	const char *part;
	/* Both count at once, in the middle, too, and are asked only where bytes are copied. */
	uint64_t (*rate)(void *ctx); /* bytes per second; UINT64_MAX: no limit */
	unsigned (*share)(void *ctx); /* of the time, in which it works: from 1 to DRAY_CLONE_ALL, all of it */
	bool (*stop)(void *ctx);
	void (*bound)(void *ctx, enum dray_clone_bound bound); /* told often, also while it waits; NULL: nobody wants to know */
	void *ctx;
};

/* What is under `part` already, of an earlier attempt, is removed. `from` is flushed; the new file has its bytes, is thin where it can be, and is
 * durable, its name in the directory included. Its identity goes to `identity`. *shared: it shares blocks. 0; -ECANCELED: told to stop; -ESTALE: `from` is
 * another file, or was cut. After an error nothing is left under `part`. */
int dray_clone_make(const struct dray_clone_order *order, char *identity, size_t size, bool *shared, struct dray_error *err);
/* From `part` to `path`, which must be free; durable on 0. It is there already: 0. -EEXIST: another file is. */
int dray_clone_place(const char *part, const char *path, const char *identity, struct dray_error *err);
/* Whatever is under `part`. 0: nothing is, durably. */
int dray_clone_discard(const char *part, struct dray_error *err);
/* The file at `path`, if it has that identity. 0: it is gone, durably, or was gone before; -ESTALE: another file has the name, and stays;
 * else it may be there: -ENOENT its directory is away, -ENODEV it is on another file system, which is not mounted. */
int dray_clone_remove(const char *path, const char *identity, struct dray_error *err);

#endif
