/* SPDX-License-Identifier: BSD-3-Clause */
#include "iod/disks.h"

#include "storage/below.h"
#include "storage/nbd.h"

#include <string.h>

#define COPIED_MS  100 /* a copy with pauses between its steps is one all the same */
#define ALLOWED_MS 500

/* Each word: 12 bits of a window (`tightest`), 20 of who, 32 of when. */
#define WINDOW_MOST 0xfffU
#define WHO_MASK    0xfffffU

static uint64_t word(uint32_t who, uint32_t window, uint64_t now_ms)
{
	return (uint64_t)(window < WINDOW_MOST ? window : WINDOW_MOST) << 52 | (uint64_t)(who & WHO_MASK) << 32 | (uint32_t)now_ms;
}

static uint32_t whose(uint64_t w)
{
	return (uint32_t)(w >> 32) & WHO_MASK;
}

static uint32_t age_ms(uint64_t w, uint64_t now_ms)
{
	uint32_t age = (uint32_t)now_ms - (uint32_t)w;
	return age >> 31 ? 0 : age; /* said by a thread whose clock was read a moment later */
}

static bool holds(uint64_t w, uint64_t now_ms)
{
	return w && age_ms(w, now_ms) < ALLOWED_MS;
}

/* Each may overwrite what another says at the same moment: it says so again as long as it is true. */
void iod_disk_copied(struct iod_disk *d, uint32_t who, uint64_t now_ms)
{
	uint64_t was = atomic_load_explicit(&d->copied, memory_order_relaxed), is = word(who, 0, now_ms);
	if (was == is)
		return;
	if (was && whose(was) != whose(is))
		atomic_store_explicit(&d->copied_before, was, memory_order_relaxed);
	atomic_store_explicit(&d->copied, is, memory_order_relaxed);
}

static bool by_others(uint64_t w, uint32_t who, uint64_t now_ms)
{
	return w && whose(w) != (who & WHO_MASK) && age_ms(w, now_ms) < COPIED_MS;
}

bool iod_disk_is_copied(const struct iod_disk *d, uint32_t who, uint64_t now_ms)
{
	return by_others(atomic_load_explicit(&d->copied, memory_order_relaxed), who, now_ms) ||
		by_others(atomic_load_explicit(&d->copied_before, memory_order_relaxed), who, now_ms);
}

static uint32_t window_of(uint64_t w)
{
	return (uint32_t)(w >> 52);
}

/* The two tightest of two that are known and, unless it is 0, one that is said now; `is` instead of what the same volume said before. */
static void tightest_of(const uint64_t was[2], uint64_t is, uint32_t who, uint64_t now_ms, uint64_t out[2])
{
	unsigned n = 0;
	bool before = is && whose(was[0]) == whose(is); /* of two that are alike the one that was first stays so */
	out[0] = out[1] = 0;
	for (unsigned i = 0; i < 2; i++) {
		if (!holds(was[i], now_ms) || whose(was[i]) == (who & WHO_MASK))
			continue;
		if (is && n < 2 && (before ? window_of(is) <= window_of(was[i]) : window_of(is) < window_of(was[i]))) {
			out[n++] = is;
			is = 0;
		}
		if (n < 2)
			out[n++] = was[i];
	}
	if (is && n < 2)
		out[n] = is;
}

/* Two threads at once: one of them may be left out, and says it again in a moment. */
static void say(struct iod_disk *d, uint64_t is, uint32_t who, uint64_t now_ms)
{
	uint64_t was[2], now[2];
	for (unsigned i = 0; i < 2; i++)
		was[i] = atomic_load_explicit(&d->tightest[i], memory_order_relaxed);
	tightest_of(was, is, who, now_ms, now);
	for (unsigned i = 0; i < 2; i++) {
		/* The same again is worth a write only now and then: all threads read it. */
		if (now[i] && now[i] >> 32 == was[i] >> 32 && age_ms(was[i], now_ms) < ALLOWED_MS / 10)
			continue;
		if (now[i] != was[i])
			atomic_store_explicit(&d->tightest[i], now[i], memory_order_relaxed);
	}
}

void iod_disk_allow(struct iod_disk *d, uint32_t who, uint32_t window, uint64_t now_ms)
{
	say(d, word(who, window, now_ms), who, now_ms);
}

void iod_disk_allow_all(struct iod_disk *d, uint32_t who, uint64_t now_ms)
{
	if (whose(atomic_load_explicit(&d->tightest[0], memory_order_relaxed)) == (who & WHO_MASK) ||
		whose(atomic_load_explicit(&d->tightest[1], memory_order_relaxed)) == (who & WHO_MASK))
		say(d, 0, who, now_ms);
}

uint32_t iod_disk_allowed(const struct iod_disk *d, uint32_t who, uint64_t now_ms)
{
	for (unsigned i = 0; i < 2; i++) {
		uint64_t w = atomic_load_explicit(&d->tightest[i], memory_order_relaxed);
		if (holds(w, now_ms) && whose(w) != (who & WHO_MASK))
			return window_of(w);
	}
	return IOD_WINDOW_ANY;
}

/* ---- which they are ---- */

static struct iod_disk *place(struct iod_disks *disks, uint64_t key)
{
	for (unsigned i = 0; i < IOD_DISKS; i++) {
		struct iod_disk *d = &disks->disk[(key * UINT64_C(0x9e3779b97f4a7c15) + i) % IOD_DISKS];
		uint64_t was = 0;
		if (atomic_compare_exchange_strong(&d->key, &was, key) || was == key)
			return d;
	}
	return NULL;
}

struct found {
	struct iod_disks *disks;
	struct iod_disk **out;
	unsigned n;
};

static void add(struct found *f, uint64_t key)
{
	struct iod_disk *d = key && f->n < IOD_DISKS_OF_LEG ? place(f->disks, key) : NULL;
	for (unsigned i = 0; d && i < f->n; i++)
		if (f->out[i] == d)
			return;
	if (d)
		f->out[f->n++] = d;
}

static bool add_device(void *arg, dev_t dev)
{
	/* A device of major 0 is none: the file system's own number (tmpfs, btrfs, NFS), which its files share all the same. */
	add(arg, (uint64_t)dev + 1);
	return false;
}

unsigned iod_disks_below(struct iod_disks *disks, const char *resource, const struct dray_storage_info *info,
	struct iod_disk *out[IOD_DISKS_OF_LEG])
{
	struct found f = { .disks = disks, .out = out };
	if (!strncmp(resource, "fault:", 6) && strchr(resource + 6, ':'))
		resource = strchr(resource + 6, ':') + 1;
	dray_storage_below(resource, add_device, &f);
	if (!f.n && !strncmp(info->identity, "nbd:", 4)) {
		char server[8600];
		dray_nbd_server(resource, server, sizeof server);
		uint64_t hash = UINT64_C(14695981039346656037);
		for (const char *c = server; *c; c++)
			hash = (hash ^ (uint8_t)*c) * UINT64_C(1099511628211);
		add(&f, hash | UINT64_C(1) << 63);
	}
	return f.n;
}
