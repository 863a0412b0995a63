/* SPDX-License-Identifier: BSD-3-Clause */
/* The copy's window against model disks: what a request takes grows with what the copy has under way, and the window has to find its place. */
#include "engine/pacer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define US UINT64_C(1000)
#define MS UINT64_C(1000000)
#define S  UINT64_C(1000000000)

struct world {
	struct dray_pacer p;
	uint64_t now, random;
	uint64_t base_ns, step_ns; /* what a request takes alone, and more of it for each step under way */
	uint64_t others;           /* steps that others have under way on the same disk, in 1/16 */
	bool copying;
	/* of the last run */
	uint64_t n, over, longest; /* over: took longer than `p.allowed_ns` */
	unsigned least, most;      /* window, where the copy does not stand still */
	uint64_t still;            /* how many requests came while it did */
};

static struct world begin(uint64_t base_ns, uint64_t step_ns)
{
	struct world w = { .now = 5 * S, .random = 88172645463325252U, .base_ns = base_ns, .step_ns = step_ns, .copying = true };
	dray_pacer_init(&w.p);
	w.p.most = 8;
	return w;
}

/* Most take about the base, one in fifty three times as long. */
static uint64_t spread(struct world *w, uint64_t ns)
{
	w->random ^= w->random << 13;
	w->random ^= w->random >> 7;
	w->random ^= w->random << 17;
	return w->random % 50 == 0 ? 3 * ns : ns * (80 + w->random / 50 % 41) / 100;
}

static unsigned window(const struct world *w, bool running)
{
	return w->copying ? dray_pacer_window(&w->p, w->now, running) : 0;
}

static void one(struct world *w, uint64_t every)
{
	dray_pacer_asked(&w->p, w->now);
	unsigned at = window(w, true);
	bool met = w->copying && at;
	uint64_t took = spread(w, w->base_ns + w->step_ns * (at + w->others) / DRAY_PACER_STEP);
	w->n++;
	w->over += w->p.allowed_ns && took > w->p.allowed_ns;
	w->longest = took > w->longest ? took : w->longest;
	w->still += w->copying && !at;
	w->least = (at || !w->copying) && at < w->least ? at : w->least;
	w->most = at > w->most ? at : w->most;
	w->now += took;
	dray_pacer_answered(&w->p, w->now, took, met);
	if (took < every)
		w->now += every - took;
}

static void run(struct world *w, uint64_t ns, uint64_t every)
{
	w->n = w->over = w->longest = w->still = 0;
	w->least = UINT32_MAX;
	w->most = 0;
	for (uint64_t end = w->now + ns; w->now < end;)
		one(w, every);
}

static void idle_application(void **state)
{
	struct world w = begin(200 * US, 2 * MS);
	assert_int_equal(window(&w, false), 8 * DRAY_PACER_STEP); /* never asked anything */
	run(&w, S, MS);
	assert_true(window(&w, true) < 4 * DRAY_PACER_STEP);
	w.now = w.p.last_ns + DRAY_PACER_IDLE_NS - 1;
	assert_true(window(&w, false) < 4 * DRAY_PACER_STEP);
	w.now += 1;
	assert_int_equal(window(&w, false), 8 * DRAY_PACER_STEP);
	/* Not while something waits for its answer, however long. */
	assert_true(window(&w, true) < 4 * DRAY_PACER_STEP);
}

/* Unknown at first: the least. A look stands still for a moment, no longer, and only the first after a sleep does not. */
static void nothing_known(void **state)
{
	struct world w = begin(200 * US, 50 * US);
	dray_pacer_asked(&w.p, w.now);
	assert_int_equal(window(&w, true), DRAY_PACER_LEAST);
	assert_int_equal(dray_pacer_still_until(&w.p, w.now), UINT64_MAX);
	while (window(&w, true))
		run(&w, MS, MS);
	assert_int_equal(dray_pacer_still_until(&w.p, w.now), w.p.began_ns + 200 * MS);
	w.now += 200 * MS;
	assert_int_equal(window(&w, true), DRAY_PACER_LEAST);
	assert_int_equal(dray_pacer_still_until(&w.p, w.now), UINT64_MAX);
}

/* A disk that the copy hurts: what is allowed is kept to, a tenth of a second after the application woke up. */
static void waking_application(void **state)
{
	struct world w = begin(200 * US, 300 * US);
	w.copying = false;
	run(&w, 2 * S, MS);
	assert_in_range(w.p.base_ns, 180 * US, 300 * US);
	w.copying = true;
	for (int i = 0; i < 5; i++) {
		w.now += 10 * S;
		run(&w, 100 * MS, MS);
		run(&w, 2 * S, MS);
		assert_true(w.over * 10 <= w.n);
		assert_in_range(w.p.base_ns, 150 * US, 400 * US); /* the copy has not taught it to expect more */
		assert_true(w.least >= DRAY_PACER_LEAST);
	}
}

/* One that it does not hurt: full speed within seconds, also beside an application. */
static void harmless_copy(void **state)
{
	struct world w = begin(200 * US, 5 * US);
	run(&w, 3 * S, MS);
	assert_int_equal(window(&w, true), 8 * DRAY_PACER_STEP);
	uint64_t sum = 0;
	for (int i = 0; i < 1000; i++) {
		run(&w, 10 * MS, MS);
		sum += w.most;
	}
	assert_true(sum / 1000 >= 7 * DRAY_PACER_STEP); /* neither the spread of the disk itself nor the looks at the base take much of it */
}

/* An application that begins to want all of the disk makes its own requests slow. The copy gives way, and then gets its share: it has to end. */
static void saturating_application(void **state)
{
	struct world w = begin(200 * US, 50 * US);
	run(&w, 5 * S, MS);
	w.base_ns = 5 * MS;
	run(&w, S / 2, 0);
	assert_true(w.least >= DRAY_PACER_LEAST && w.least <= DRAY_PACER_STEP);
	run(&w, 20 * S, 0);
	assert_true(w.most >= 4 * DRAY_PACER_STEP);
	assert_true(w.p.allowed_ns < 20 * MS);
	/* ... and back. */
	w.base_ns = 200 * US;
	w.step_ns = 300 * US;
	run(&w, 20 * S, MS);
	run(&w, 10 * S, MS);
	assert_true(w.p.allowed_ns < 1500 * US);
	assert_true(w.most < 4 * DRAY_PACER_STEP);
}

/* With a goal of its own, as much as it allows and no more: the p99 stays under it. */
static void goal(void **state)
{
	struct world w = begin(200 * US, MS);
	w.p.goal_ns = 10 * MS;
	run(&w, 5 * S, MS);
	unsigned long long in_all = 0, over = 0;
	for (int i = 0; i < 20; i++) {
		run(&w, S, MS);
		in_all += w.n;
		over += w.over;
		assert_int_equal(w.p.allowed_ns, 10 * MS);
	}
	assert_true(over * 100 <= in_all);
	assert_true(w.most >= DRAY_PACER_STEP * 3 / 2);
	/* A goal that can't be had: the least. */
	w.p.goal_ns = 100 * US;
	run(&w, S, MS);
	run(&w, S, MS);
	assert_int_equal(w.most, DRAY_PACER_LEAST);
}

/* A few requests a second are protected, too. */
static void sparse_application(void **state)
{
	struct world w = begin(200 * US, 2 * MS);
	w.copying = false;
	run(&w, 20 * S, 200 * MS);
	w.copying = true;
	run(&w, 20 * S, 200 * MS);
	run(&w, 20 * S, 200 * MS);
	assert_true(w.most <= DRAY_PACER_STEP);
}

/* Two volumes whose copies share one disk come to rest, and neither starves. */
static void two_on_one_disk(void **state)
{
	struct world w[2] = { begin(200 * US, 100 * US), begin(200 * US, 100 * US) };
	w[1].random = 1234567;
	w[1].p.window = 8 * DRAY_PACER_STEP;
	for (int i = 0; i < 2; i++) {
		w[i].copying = false;
		run(&w[i], 2 * S, MS);
		w[i].copying = true;
	}
	uint64_t sum[2] = { 0, 0 }, n = 0, over = 0, asked = 0;
	for (int ms = 0; ms < 30000; ms++) {
		for (int i = 0; i < 2; i++) {
			w[i].others = dray_pacer_window(&w[!i].p, w[i].now, true);
			run(&w[i], MS, MS);
			if (ms >= 10000) {
				sum[i] += window(&w[i], true);
				n += i;
				over += w[i].over;
				asked += w[i].n;
			}
		}
	}
	for (int i = 0; i < 2; i++)
		assert_true(sum[i] / n >= DRAY_PACER_LEAST * 2);
	assert_true(sum[0] < 4 * sum[1] && sum[1] < 4 * sum[0]);
	assert_true(over * 8 <= asked);
}

/* However an application goes about it, and whatever others on its disk do: seven eighths of the time belong to the copy. */
static void never_still_for_long(void **state)
{
	static const uint64_t every[] = { 600 * MS, 510 * MS, 300 * MS, 50 * MS, 5 * MS, MS };
	for (size_t k = 0; k < sizeof every / sizeof every[0]; k++) {
		struct world w = begin(200 * US, 300 * US);
		uint64_t still = 0, looked = 0, next = w.now;
		for (uint64_t end = w.now + 60 * S; w.now < end; w.now += MS / 2) {
			if (w.now >= next) {
				dray_pacer_asked(&w.p, w.now);
				dray_pacer_answered(&w.p, w.now + 200 * US, 200 * US, dray_pacer_window(&w.p, w.now, true));
				next += every[k];
			}
			still += !dray_pacer_window(&w.p, w.now, false);
			looked++;
		}
		print_message("a request every %llu ms: still for %.1f %% of the time\n", (unsigned long long)(every[k] / MS), 100.0 * still / looked);
		assert_true(still || every[k] >= DRAY_PACER_IDLE_NS);
		assert_true(still * 8 <= looked);
	}
}

/* A look that is due soon is taken together with another's on the same disk, and none is taken right after it. */
static void looks_together(void **state)
{
	struct world w = begin(200 * US, 300 * US);
	w.random = 1234567; /* (no look that shows twice the base by chance) */
	run(&w, 20 * S, MS);
	while (w.p.looking || w.p.look_ns - w.now > S)
		run(&w, MS, MS);
	dray_pacer_others_still(&w.p, w.now, false);
	assert_true(window(&w, true) > 0);
	dray_pacer_others_still(&w.p, w.now, true);
	assert_int_equal(window(&w, true), 0);
	uint64_t began = w.now;
	while (!window(&w, true)) {
		dray_pacer_others_still(&w.p, w.now, true);
		run(&w, MS, MS);
	}
	assert_in_range(w.now - began, 20 * MS, 200 * MS);
	dray_pacer_others_still(&w.p, w.now, false);
	assert_true(w.p.look_ns >= began + 5 * S);
	/* Not one that was taken a moment ago. */
	dray_pacer_others_still(&w.p, w.now, true);
	assert_true(window(&w, true) > 0);
	w.now += 100 * MS;
	dray_pacer_others_still(&w.p, w.now, true);
	dray_pacer_others_still(&w.p, w.now, false);
	assert_true(w.p.still_again_ns >= w.now + 700 * MS);
}

/* A number of steps that somebody set is the most, and below three the window begins there. */
static void few_steps(void **state)
{
	struct world w = begin(200 * US, US);
	w.p.most = 1;
	run(&w, 5 * S, MS);
	assert_int_equal(w.most, DRAY_PACER_STEP);
	w.p.most = 2;
	run(&w, 5 * S, MS);
	assert_int_equal(w.most, 2 * DRAY_PACER_STEP);
	while (w.p.looking)
		run(&w, MS, MS);
	w.p.most = 1;
	assert_int_equal(window(&w, true), DRAY_PACER_STEP);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(idle_application),
		cmocka_unit_test(nothing_known),
		cmocka_unit_test(waking_application),
		cmocka_unit_test(harmless_copy),
		cmocka_unit_test(saturating_application),
		cmocka_unit_test(goal),
		cmocka_unit_test(sparse_application),
		cmocka_unit_test(two_on_one_disk),
		cmocka_unit_test(never_still_for_long),
		cmocka_unit_test(looks_together),
		cmocka_unit_test(few_steps),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
