/* SPDX-License-Identifier: BSD-3-Clause */
#include "iod/slab.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define HUGE_PAGE (UINT64_C(2) << 20)

/* A free buffer holds its own list node. */
struct iod_slab_buf {
	struct iod_slab_buf *next;
	unsigned class;
};

static uint64_t class_bytes(unsigned class)
{
	return UINT64_C(4096) << class;
}

static unsigned class_of(uint64_t bytes)
{
	unsigned c = 0;
	while (c < IOD_SLAB_CLASSES && class_bytes(c) < bytes)
		c++;
	return c;
}

void iod_slab_init(struct iod_slab *slab, uint64_t use_most, uint64_t keep_most, uint64_t arena_bytes)
{
	memset(slab, 0, sizeof *slab);
	slab->use_most = use_most;
	slab->keep_most = keep_most;
	slab->arena_bytes = arena_bytes;
}

void iod_slab_own(struct iod_slab *slab)
{
	slab->owner = pthread_self();
}

/* Memory of the arena is never freed one by one. */
static bool in_arena(const struct iod_slab *slab, const void *p)
{
	return slab->arena && (const char *)p >= slab->arena && (const char *)p < slab->arena + slab->arena_bytes;
}

/* The owner's thread. NULL: the arena is used up, or there is none. */
static void *arena_get(struct iod_slab *slab, uint64_t size)
{
	if (!slab->arena && slab->arena_bytes) {
		void *p = NULL;
		if (posix_memalign(&p, HUGE_PAGE, slab->arena_bytes)) {
			slab->arena_bytes = 0;
			return NULL;
		}
		/* Without huge pages it is ordinary memory: slower to pin, just as good. */
		(void)madvise(p, slab->arena_bytes, MADV_HUGEPAGE);
		slab->arena = p;
	}
	uint64_t at = (slab->arena_used + size - 1) / size * size;
	if (at + size > slab->arena_bytes)
		return NULL;
	slab->arena_used = at + size;
	return slab->arena + at;
}

static void keep(struct iod_slab *slab, struct iod_slab_buf *buf, unsigned class)
{
	bool arena = in_arena(slab, buf);
	if (!arena && slab->kept_bytes + class_bytes(class) > slab->keep_most) {
		free(buf);
		return;
	}
	buf->next = slab->free[class];
	buf->class = class;
	slab->free[class] = buf;
	slab->kept_bytes += arena ? 0 : class_bytes(class);
}

static void take_returned(struct iod_slab *slab)
{
	if (!atomic_load_explicit(&slab->returned, memory_order_relaxed))
		return;
	struct iod_slab_buf *buf = atomic_exchange_explicit(&slab->returned, NULL, memory_order_acquire);
	while (buf) {
		struct iod_slab_buf *next = buf->next;
		keep(slab, buf, buf->class);
		buf = next;
	}
}

void iod_slab_free(struct iod_slab *slab)
{
	take_returned(slab);
	for (unsigned c = 0; c < IOD_SLAB_CLASSES; c++)
		while (slab->free[c]) {
			struct iod_slab_buf *buf = slab->free[c];
			slab->free[c] = buf->next;
			if (!in_arena(slab, buf))
				free(buf);
		}
	slab->kept_bytes = 0;
	free(slab->arena);
	slab->arena = NULL;
	slab->arena_used = 0;
}

static bool is_owner(const struct iod_slab *slab)
{
	return pthread_equal(slab->owner, pthread_self());
}

void *iod_slab_get(struct iod_slab *slab, uint64_t bytes)
{
	unsigned c = class_of(bytes);
	if (c == IOD_SLAB_CLASSES)
		return NULL;
	uint64_t size = class_bytes(c);
	uint64_t used = atomic_fetch_add_explicit(&slab->used_bytes, size, memory_order_relaxed);
	if (used + size > slab->use_most)
		goto refuse;
	if (is_owner(slab)) {
		if (!slab->free[c])
			take_returned(slab);
		struct iod_slab_buf *buf = slab->free[c];
		if (buf) {
			slab->free[c] = buf->next;
			slab->kept_bytes -= in_arena(slab, buf) ? 0 : size;
			return buf;
		}
		void *p = arena_get(slab, size);
		if (p)
			return p;
	}
	void *fresh = NULL;
	if (posix_memalign(&fresh, 4096, size) == 0)
		return fresh;
refuse:
	atomic_fetch_sub_explicit(&slab->used_bytes, size, memory_order_relaxed);
	return NULL;
}

void iod_slab_put(struct iod_slab *slab, void *ptr, uint64_t bytes)
{
	unsigned c = class_of(bytes);
	struct iod_slab_buf *buf = ptr;

	if (is_owner(slab)) {
		keep(slab, buf, c);
	} else {
		buf->class = c;
		buf->next = atomic_load_explicit(&slab->returned, memory_order_relaxed);
		while (!atomic_compare_exchange_weak_explicit(&slab->returned, &buf->next, buf, memory_order_release,
			memory_order_relaxed))
			;
	}
	atomic_fetch_sub_explicit(&slab->used_bytes, class_bytes(c), memory_order_relaxed);
}
