/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The copy beside applications, on a model of the disk that forgives nothing: one arm, which does one thing after the other in the order in which they
 * came, 8 us for each KiB; and of one with several. The engine is the real one, with all that the copy waits for; volumes that share the disk tell each other what
 * dray-iod would have them tell (iod/disks.h). No clock runs: a minute of it takes a moment, and the same seed gives the same.
 *
 * What is asserted is what a user would see: what the application's requests take beside the copy, what they are taken to need without it, and
 * that the copy goes on.
 */
#include "engine/engine.h"
#include "engine/pacer.h"
#include "iod/disks.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define KiB     UINT64_C(1024)
#define MiB     (KiB * KiB)
#define US      UINT64_C(1000)
#define MS      UINT64_C(1000000)
#define S       UINT64_C(1000000000)
#define SIZE    (UINT64_C(64) << 30)
#define ASK     (4 * KiB)
#define VOLUMES 12
#define DEPTH   16
#define BUFS    64
#define ARMS    4

struct op {
	struct dray_io *io;
	uint64_t done_ns, order;
};

struct app {
	uint64_t every_ns; /* a request is due so often, on average; 0: as soon as one is answered */
	unsigned depth;    /* 0: it sleeps */
	uint64_t due_ns;
	struct dray_request req[DEPTH];
	bool flying[DEPTH];
	unsigned n_flying;
	uint8_t data[ASK];
	/* of the phase under way */
	uint64_t *took, n, room;
};

struct volume {
	struct world *w;
	struct dray_vol *vol;
	uint32_t number;
	struct app app;
	struct op ops[512];
	unsigned n_ops;
	uint64_t wake_ns, ticked_ns;
	bool touched;
	uint8_t *bufs[BUFS];
	bool taken[BUFS];
	/* of the phase under way */
	uint64_t copied, windows[DRAY_PACER_STEP * 8 + 1], looks;
};

struct world {
	uint64_t now, order, random;
	uint64_t kib_ns;     /* what an arm takes for each KiB */
	uint64_t free_ns[ARMS]; /* when an arm has nothing to do any more */
	unsigned arms;
	uint64_t target_ns;  /* what a target takes for a step */
	uint64_t still, looks; /* of the phase under way: how often somebody's look had all copies stand still */
	struct iod_disk disk;
	struct volume v[VOLUMES];
	unsigned n;
};

static uint64_t rnd(struct world *w)
{
	w->random ^= w->random << 13;
	w->random ^= w->random >> 7;
	w->random ^= w->random << 17;
	return w->random;
}

/* ---- the host ---- */

static void m_submit(void *host, struct dray_io *io)
{
	struct volume *v = host;
	struct world *w = v->w;
	uint64_t done = w->now + 100 * US;
	if (io->leg == 0 && (io->op == DRAY_OP_READ || io->op == DRAY_OP_WRITE)) {
		uint64_t *arm = &w->free_ns[0];
		for (unsigned i = 1; i < w->arms; i++)
			if (w->free_ns[i] < *arm)
				arm = &w->free_ns[i];
		done = *arm = (*arm > w->now ? *arm : w->now) + io->length / KiB * w->kib_ns;
	} else if (io->op == DRAY_OP_WRITE) {
		done = w->now + w->target_ns;
	}
	assert_true(v->n_ops < sizeof v->ops / sizeof v->ops[0]);
	v->ops[v->n_ops++] = (struct op){ io, done, w->order++ };
}

static void m_reply(void *host, struct dray_request *req, int error)
{
	struct volume *v = host;
	struct app *a = &v->app;
	assert_int_equal(error, 0);
	if (a->n == a->room)
		a->took = realloc(a->took, (a->room = a->room ? 2 * a->room : 4096) * sizeof *a->took);
	a->took[a->n++] = v->w->now - req->arrived_ns;
	a->n_flying--;
}

static void m_release(void *host, struct dray_request *req)
{
	struct app *a = &((struct volume *)host)->app;
	a->flying[req - a->req] = false;
}

static void m_event(void *host, const struct dray_event *ev)
{
}

static void *m_buf_get(void *host, uint64_t bytes)
{
	struct volume *v = host;
	for (unsigned i = 0; i < BUFS; i++) {
		if (v->taken[i])
			continue;
		v->taken[i] = true;
		if (!v->bufs[i])
			v->bufs[i] = malloc(bytes);
		return v->bufs[i];
	}
	return NULL;
}

static void m_buf_put(void *host, void *buf, uint64_t bytes)
{
	struct volume *v = host;
	for (unsigned i = 0; i < BUFS; i++)
		if (v->bufs[i] == buf)
			v->taken[i] = false;
}

static const struct dray_host_ops ops = { m_submit, m_reply, m_release, m_event, m_buf_get, m_buf_put };

/* ---- as iod/vio.c ---- */

static void tick(struct volume *v)
{
	struct world *w = v->w;
	uint64_t ms = w->now / MS;
	unsigned window;
	dray_vol_neighbours(v->vol, iod_disk_is_copied(&w->disk, v->number, ms), iod_disk_allowed(&w->disk, v->number, ms));
	v->ticked_ns = w->now;
	v->touched = false;
	v->wake_ns = dray_vol_tick(v->vol, w->now);
	bool copies = dray_vol_copied_lately(v->vol), works = dray_vol_allows(v->vol, &window);
	if (copies)
		iod_disk_copied(&w->disk, v->number, ms);
	if (works)
		iod_disk_allow(&w->disk, v->number, window, ms);
	else
		iod_disk_allow_all(&w->disk, v->number, ms);
}

static void enter(struct volume *v)
{
	if (v->ticked_ns != v->w->now)
		tick(v);
	v->touched = true;
}

/* ---- the world ---- */

static struct world *world(uint64_t kib_ns, unsigned n, unsigned seed)
{
	struct world *w = calloc(1, sizeof *w);
	*w = (struct world){ .now = 10 * S, .random = 88172645463325252U + seed, .kib_ns = kib_ns, .arms = 1, .target_ns = 200 * US, .n = n };
	for (unsigned i = 0; i < n; i++) {
		struct volume *v = &w->v[i];
		v->w = w;
		v->number = i + 1;
		struct dray_vol_config c = { .size_bytes = SIZE, .region_bytes = 4 * MiB, .block_bytes = 512 };
		assert_int_equal(dray_vol_new(&v->vol, &c, &ops, v), 0);
		tick(v);
		assert_int_equal(dray_vol_leg_attach(v->vol, &(struct dray_leg_config){ .map_id = { 1, 1 } }), 0);
		assert_int_equal(dray_vol_set_limits(v->vol, &(struct dray_copy_limits){ .step_bytes = 256 * KiB }), 0);
	}
	return w;
}

static void copy(struct volume *v)
{
	enter(v);
	assert_int_equal(dray_vol_leg_attach(v->vol, &(struct dray_leg_config){ .map_id = { 1, 1 } }), 1);
	tick(v);
}

static void end(struct world *w)
{
	for (unsigned i = 0; i < w->n; i++) {
		dray_vol_free(w->v[i].vol, true);
		for (unsigned k = 0; k < BUFS; k++)
			free(w->v[i].bufs[k]);
		free(w->v[i].app.took);
	}
	free(w);
}

/* 1,000 a second come as they come: at random, twice as often now and then. */
static uint64_t pause_of(struct world *w, const struct app *a)
{
	return a->every_ns / 2 + rnd(w) % a->every_ns;
}

static void app(struct volume *v, uint64_t every_ns, unsigned depth)
{
	v->app.every_ns = every_ns;
	v->app.depth = depth;
	v->app.due_ns = v->w->now;
}

static bool app_can_ask(const struct app *a)
{
	return a->n_flying < a->depth;
}

static void ask(struct volume *v)
{
	struct app *a = &v->app;
	unsigned i = 0;
	while (i < DEPTH && a->flying[i])
		i++;
	if (i == DEPTH)
		return;
	a->flying[i] = true;
	a->n_flying++;
	a->req[i] = (struct dray_request){ .op = rnd(v->w) % 2 ? DRAY_OP_READ : DRAY_OP_WRITE, .offset = rnd(v->w) % (SIZE / ASK) * ASK, .length = ASK, .data = a->data };
	if (a->every_ns)
		a->due_ns = (a->due_ns + S < v->w->now ? v->w->now : a->due_ns) + pause_of(v->w, a);
	enter(v);
	dray_vol_submit(v->vol, &a->req[i]);
}

static uint64_t next_of(const struct volume *v, unsigned *op)
{
	uint64_t next = v->wake_ns;
	*op = v->n_ops;
	for (unsigned i = 0; i < v->n_ops; i++) {
		const struct op *o = &v->ops[i];
		if (o->done_ns < next || (o->done_ns == next && *op < v->n_ops && o->order < v->ops[*op].order)) {
			next = o->done_ns;
			*op = i;
		}
	}
	const struct app *a = &v->app;
	if (app_can_ask(a) && (a->every_ns ? a->due_ns : v->w->now) < next) {
		next = a->every_ns && a->due_ns > v->w->now ? a->due_ns : v->w->now;
		*op = UINT32_MAX;
	}
	return next > v->w->now ? next : v->w->now;
}

static void complete(struct volume *v, unsigned i)
{
	struct op o = v->ops[i];
	v->ops[i] = v->ops[--v->n_ops];
	if (o.io->op == DRAY_OP_READ && o.io->length > ASK)
		memset(o.io->data, 1, 512);
	if (o.io->leg && o.io->op == DRAY_OP_WRITE && o.io->length > ASK)
		v->copied += o.io->length;
	enter(v);
	dray_vol_complete(v->vol, o.io, 0, 0);
}

static void look(struct world *w)
{
	w->still += !iod_disk_allowed(&w->disk, 0, w->now / MS);
	w->looks++;
	for (unsigned i = 0; i < w->n; i++) {
		struct dray_vol_info info;
		dray_vol_info(w->v[i].vol, &info);
		w->v[i].windows[info.window < 8 * DRAY_PACER_STEP ? info.window : 8 * DRAY_PACER_STEP]++;
		w->v[i].looks++;
	}
}

static void forget(struct world *w)
{
	w->still = w->looks = 0;
	for (unsigned i = 0; i < w->n; i++) {
		struct volume *v = &w->v[i];
		v->app.n = v->copied = v->looks = 0;
		memset(v->windows, 0, sizeof v->windows);
	}
}

static void run(struct world *w, uint64_t ns)
{
	forget(w);
	uint64_t until = w->now + ns, look_ns = w->now;
	for (;;) {
		uint64_t next = UINT64_MAX;
		unsigned op = 0, who = 0;
		for (unsigned i = 0; i < w->n; i++) {
			unsigned o;
			uint64_t t = next_of(&w->v[i], &o);
			if (t < next) {
				next = t;
				op = o;
				who = i;
			}
		}
		for (; look_ns < until && look_ns < next; look_ns += MS)
			look(w);
		if (next >= until)
			break;
		w->now = next;
		struct volume *v = &w->v[who];
		if (op == UINT32_MAX)
			ask(v);
		else if (op < v->n_ops)
			complete(v, op);
		tick(v);
	}
	w->now = until;
}

/* ---- what came of it ---- */

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

static uint64_t took(struct volume *v, unsigned per_cent)
{
	assert_true(v->app.n);
	qsort(v->app.took, v->app.n, sizeof v->app.took[0], by_value);
	return v->app.took[v->app.n * per_cent / 100];
}

static double window(const struct volume *v)
{
	uint64_t seen = 0;
	unsigned i = 0;
	while ((seen += v->windows[i]) * 2 < v->looks)
		i++;
	return (double)i / DRAY_PACER_STEP;
}

static double rate(const struct volume *v, uint64_t ns)
{
	return (double)v->copied / MiB / ((double)ns / S);
}

static uint64_t base(const struct volume *v)
{
	struct dray_vol_info i;
	dray_vol_info(v->vol, &i);
	return i.app_base_ns;
}

/* What a phase came to: of each volume. */
static void say(struct world *w, const char *what, uint64_t ns)
{
	for (unsigned i = 0; i < w->n; i++) {
		struct volume *v = &w->v[i];
		uint64_t n = v->app.n;
		print_message("%-24s %u: %6llu requests, p50 %6llu p90 %6llu p99 %6llu us, base %6llu us, window %.2f, copied %.1f MiB/s\n", what, i,
			(unsigned long long)n, n ? (unsigned long long)(took(v, 50) / US) : 0, n ? (unsigned long long)(took(v, 90) / US) : 0,
			n ? (unsigned long long)(took(v, 99) / US) : 0, (unsigned long long)(base(v) / US), window(v), rate(v, ns));
	}
}

static void phase(struct world *w, const char *what, uint64_t ns)
{
	run(w, ns);
	say(w, what, ns);
}

#define ALONE (ASK / KiB * 8 * US) /* what a request takes the arm of most of these */
#define STEP  (256 * 8 * US)       /* ... and a step */

/* An application that sleeps, asks 1,000 times a second, wants all of the disk, and sleeps again. */
static void through_a_day(void **state)
{
	for (unsigned seed = 1; seed <= 2; seed++) {
		struct world *w = world(8 * US, 1, seed);
		struct volume *v = &w->v[0];
		app(v, MS, 4);
		phase(w, "alone", 5 * S);
		assert_in_range(base(v), ALONE, 2 * ALONE);
		copy(v);
		app(v, 0, 0);
		phase(w, "asleep", 3 * S);
		assert_true(rate(v, 3 * S) >= 100);
		app(v, MS, 4);
		phase(w, "waking", 100 * MS);
		for (int i = 0; i < 6; i++) {
			/* From a tenth of a second on: most meet no step, and nobody waits for more than one. */
			phase(w, "1,000 a second", i ? 5 * S : S / 2);
			assert_true(took(v, 50) <= 2 * ALONE);
			assert_true(took(v, 99) <= STEP + 2 * ALONE);
			assert_in_range(base(v), ALONE, 3 * ALONE);
			assert_true(rate(v, 5 * S) >= 20 || !i);
		}
		app(v, 0, 16);
		phase(w, "begins to saturate", S);
		for (int i = 0; i < 2; i++) {
			/* Both go on: it has six tenths of what it would have alone at least, and the copy its floor. */
			phase(w, "saturating", 5 * S);
			assert_true(v->app.n * ALONE >= 5 * S * 6 / 10);
			assert_true(rate(v, 5 * S) >= 20);
			assert_in_range(base(v), 12 * ALONE, 24 * ALONE); /* the depth is 16: that it is its own doing is known soon */
		}
		app(v, 0, 0);
		phase(w, "asleep again", 3 * S);
		assert_true(rate(v, 3 * S) >= 90);
		end(w);
	}
}

/* A slow arm, whose steps take as long as it is from one request to the next. */
static void slow_disk(void **state)
{
	struct world *w = world(40 * US, 1, 1);
	struct volume *v = &w->v[0];
	assert_int_equal(dray_vol_set_limits(v->vol, &(struct dray_copy_limits){ .step_bytes = 128 * KiB }), 0);
	app(v, 5 * MS, 1);
	phase(w, "alone", 2 * S);
	copy(v);
	for (int i = 0; i < 8; i++) {
		phase(w, "200 a second", 5 * S);
		assert_true(took(v, 50) <= 250 * US);
		assert_in_range(base(v), 150 * US, 400 * US);
		assert_true(rate(v, 5 * S) >= 4);
	}
	end(w);
}

/* Four arms: a copy that has half of them hurts nobody, and has them beside an application that works, too. */
static void four_arms(void **state)
{
	struct world *w = world(8 * US, 1, 1);
	struct volume *v = &w->v[0];
	w->arms = 4;
	app(v, MS, 8);
	phase(w, "alone", 2 * S);
	copy(v);
	phase(w, "it begins", 5 * S);
	for (int i = 0; i < 4; i++) {
		phase(w, "four arms", 5 * S);
		assert_true(took(v, 50) <= 2 * ALONE);
		assert_true(took(v, 99) <= STEP);
		assert_true(window(v) >= 1.5 && rate(v, 5 * S) >= 150);
	}
	app(v, 0, 16);
	phase(w, "begins to saturate", 6 * S);
	for (int i = 0; i < 2; i++) {
		phase(w, "saturating", 2 * S);
		assert_true(v->app.n * ALONE >= 4 * 2 * S / 3); /* what is allowed is twice what it took, and 0.2 ms, which is much here */
		assert_true(rate(v, 2 * S) >= 50);
	}
	end(w);
}

/* Nothing was known of the application before the copy. */
static void never_alone(void **state)
{
	struct world *w = world(8 * US, 1, 1);
	struct volume *v = &w->v[0];
	copy(v);
	phase(w, "asleep", S);
	app(v, MS, 4);
	phase(w, "first seen", 100 * MS);
	for (int i = 0; i < 3; i++) {
		phase(w, "1,000 a second", 2 * S);
		assert_true(took(v, 50) <= 2 * ALONE);
		assert_in_range(base(v), ALONE, 3 * ALONE);
	}
	end(w);
}

/* Three volumes on one disk, two of which are copied. Nobody's application is told that the others' copies are what its disk is like. */
static void shared_disk(void **state)
{
	struct world *w = world(8 * US, 3, 1);
	for (int i = 0; i < 3; i++)
		app(&w->v[i], (i + 1) * 3 * MS, 4);
	phase(w, "alone", 5 * S);
	copy(&w->v[0]);
	copy(&w->v[1]);
	phase(w, "it begins", S);
	for (int i = 0; i < 6; i++) {
		phase(w, "shared", 5 * S);
		for (int k = 0; k < 3; k++) {
			assert_true(took(&w->v[k], 50) <= 3 * ALONE);
			assert_in_range(base(&w->v[k]), ALONE, 3 * ALONE);
		}
		assert_true(rate(&w->v[0], 5 * S) >= 10 && rate(&w->v[1], 5 * S) >= 10);
	}
	end(w);
}

/* A dozen of them, and their applications ask often, now and then, or wake from sleep all the time: each wants to look, the
 * copies go on, and nobody who falls asleep opens the window while others work. */
static void many_looks(void **state)
{
	static const uint64_t every[VOLUMES] = { 20 * MS, 60 * MS, 700 * MS, 550 * MS, 900 * MS, 1500 * MS, 30 * MS, 100 * MS, 250 * MS, 650 * MS, 800 * MS, 5 * MS };
	struct world *w = world(8 * US, VOLUMES, 1);
	for (int i = 0; i < VOLUMES; i++)
		app(&w->v[i], every[i], 4);
	copy(&w->v[0]);
	copy(&w->v[4]);
	phase(w, "it begins", 5 * S);
	for (int i = 0; i < 2; i++) {
		run(w, 10 * S);
		print_message("twelve: still for %.1f %% of the time, copied %.1f and %.1f MiB/s\n", 100.0 * w->still / w->looks, rate(&w->v[0], 10 * S),
			rate(&w->v[4], 10 * S));
		say(w, "twelve", 10 * S);
		assert_true(w->still && w->still * 5 <= w->looks);
		assert_true(rate(&w->v[0], 10 * S) >= 10 && rate(&w->v[4], 10 * S) >= 10);
		for (int k = 0; k < VOLUMES; k++)
			assert_true(w->v[k].app.n < 100 || (took(&w->v[k], 50) <= 3 * ALONE && took(&w->v[k], 99) <= STEP + 4 * ALONE));
	}
	end(w);
}

/* The target is what is slow: no reason to have less under way. */
static void slow_target(void **state)
{
	struct world *w = world(8 * US, 1, 1);
	struct volume *v = &w->v[0];
	w->target_ns = 300 * MS;
	app(v, MS, 4);
	phase(w, "alone", S);
	copy(v);
	phase(w, "it begins", 5 * S);
	for (int i = 0; i < 4; i++) {
		phase(w, "slow target", 5 * S);
		assert_true(window(v) >= 6);
		assert_true(took(v, 50) <= 2 * ALONE);
		assert_true(rate(v, 5 * S) >= 5);
	}
	end(w);
}

/* What somebody allows is made use of, and kept to. */
static void goal(void **state)
{
	struct world *w = world(8 * US, 1, 1);
	struct volume *v = &w->v[0];
	assert_int_equal(dray_vol_set_limits(v->vol, &(struct dray_copy_limits){ .step_bytes = 256 * KiB, .app_latency_ns = 10 * MS }), 0);
	app(v, MS, 4);
	copy(v);
	phase(w, "it begins", 5 * S);
	for (int i = 0; i < 4; i++) {
		phase(w, "10 ms allowed", 5 * S);
		assert_true(took(v, 99) <= 10 * MS);
		assert_true(window(v) >= 2);
		assert_true(rate(v, 5 * S) >= 90);
	}
	end(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(through_a_day),
		cmocka_unit_test(slow_disk),
		cmocka_unit_test(four_arms),
		cmocka_unit_test(never_alone),
		cmocka_unit_test(shared_disk),
		cmocka_unit_test(many_looks),
		cmocka_unit_test(slow_target),
		cmocka_unit_test(goal),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
