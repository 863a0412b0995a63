/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Aligned memory for payloads and copy steps, one pool a thread.
 *
 * Sizes are rounded up to powers of two from 4 KiB; every buffer is aligned to 4096 bytes, enough for direct I/O on any
 * device. Freed buffers are kept for reuse up to a limit; what is in use is bounded, so that no client and no
 * copy can make the process grow without end. The first buffers come out of an arena of huge pages: direct I/O pins the pages
 * of its buffers, and one huge page is pinned 512 times faster than its small ones (a fifth of the copy's CPU otherwise). The owner's thread takes and returns without a lock; a buffer returned by
 * another thread goes through a small stack that the owner empties.
 */
#ifndef DRAY_IOD_SLAB_H
#define DRAY_IOD_SLAB_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#define IOD_SLAB_CLASSES 16 /* 4 KiB .. 128 MiB */

struct iod_slab_buf;

struct iod_slab {
	pthread_t owner;
	struct iod_slab_buf *free[IOD_SLAB_CLASSES];
	uint64_t kept_bytes, keep_most;
	char *arena; /* NULL: not mapped yet, or not to be had */
	uint64_t arena_bytes, arena_used;
	_Atomic uint64_t used_bytes;
	uint64_t use_most;
	_Atomic(struct iod_slab_buf *) returned;
};

/* `arena_bytes`: a multiple of 2 MiB, or 0. `owner` is set by iod_slab_own on the owning thread before the first use there. */
void iod_slab_init(struct iod_slab *slab, uint64_t use_most, uint64_t keep_most, uint64_t arena_bytes);
void iod_slab_own(struct iod_slab *slab);
/* Nothing is in use. */
void iod_slab_free(struct iod_slab *slab);
/* Any thread. NULL: over the limit, or no memory. */
void *iod_slab_get(struct iod_slab *slab, uint64_t bytes);
/* Any thread; `bytes` as given to get. */
void iod_slab_put(struct iod_slab *slab, void *buf, uint64_t bytes);

#endif
