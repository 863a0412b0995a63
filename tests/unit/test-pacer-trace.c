/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The copy's window over what an application asked, as it was recorded: of a load that sleeps, asks 1,000 a second, saturates its disk and sleeps again
 * (tests/unit/traces, made by `bench/adaptive.py --trace`). When it asks, and what that takes without a copy, is as recorded; a step of the copy in
 * flight makes it longer, by little or by much. However much: never less than the floor; near what it was, a tenth of a second after
 * waking; all of the disk for the copy, within a second of falling idle.
 */
#include "engine/pacer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define US   UINT64_C(1000)
#define MS   UINT64_C(1000000)
#define S    UINT64_C(1000000000)
#define MOST 8

struct sample {
	uint64_t asked, took;  /* ns: recorded; `asked` from the trace's beginning */
	uint64_t done, longer; /* replayed: when it was answered, and what it took then */
	unsigned window;
	bool over, woke, met; /* longer than was allowed; the first after a sleep; a step was under way */
};

struct trace {
	struct sample *s;
	size_t n;
	uint64_t length;
};

static int by_asked(const void *a, const void *b)
{
	const struct sample *x = a, *y = b;
	return x->asked < y->asked ? -1 : x->asked > y->asked;
}

static struct trace trace_read(const char *name)
{
	char path[4096];
	const char *source = getenv("DRAY_SOURCE");
	if (!source)
		skip();
	snprintf(path, sizeof path, "%s/tests/unit/traces/%s", source, name);
	FILE *f = fopen(path, "r");
	assert_non_null(f);
	struct trace t = { 0 };
	unsigned long ms, us;
	while (fscanf(f, "%lu %lu", &ms, &us) == 2) {
		if (t.n % 1024 == 0)
			t.s = realloc(t.s, (t.n + 1024) * sizeof *t.s);
		/* It is told when it was answered, in whole milliseconds. */
		uint64_t took = us * US, at = ms * MS + (t.n * 7919 % 1000) * US;
		t.s[t.n++] = (struct sample){ .asked = at > took ? at - took : 0, .took = took };
		t.length = at > t.length ? at : t.length;
	}
	fclose(f);
	assert_true(t.n > 1000);
	qsort(t.s, t.n, sizeof *t.s, by_asked);
	return t;
}

struct replay {
	struct dray_pacer p;
	uint64_t begin, last;
	struct sample *flying[4096]; /* asked, and not answered */
	unsigned n;
	double sum, looks; /* of windows, each millisecond */
	unsigned least, idle_looks, still;
};

/* What is answered until then, in order; and the window is looked at. */
static void until(struct replay *r, uint64_t now)
{
	for (;;) {
		unsigned first = 0;
		for (unsigned i = 1; i < r->n; i++)
			if (r->flying[i]->done < r->flying[first]->done)
				first = i;
		if (!r->n || r->flying[first]->done > now)
			break;
		struct sample *s = r->flying[first];
		r->flying[first] = r->flying[--r->n];
		r->last = s->done;
		dray_pacer_answered(&r->p, s->done, s->longer, s->met);
		s->over = r->p.allowed_ns && s->longer > r->p.allowed_ns;
	}
}

static void look(struct replay *r, uint64_t now)
{
	unsigned w = dray_pacer_window(&r->p, now, r->n);
	if (!w)
		assert_true(r->p.looking); /* it stands still for a moment */
	else
		assert_in_range(w, DRAY_PACER_LEAST, MOST * DRAY_PACER_STEP);
	r->sum += w;
	r->looks++;
	r->still += !w;
	r->least = w && w < r->least ? w : r->least;
	/* Idle: all of it, from half a second on. */
	if (!r->n && now >= r->last + DRAY_PACER_IDLE_NS) {
		assert_int_equal(w, MOST * DRAY_PACER_STEP);
		r->idle_looks++;
	}
}

/* Once through it, with steps that cost so much. */
static void replay(struct replay *r, struct trace *t, uint64_t step_ns, bool copying)
{
	r->least = UINT32_MAX;
	r->sum = r->looks = r->idle_looks = r->still = 0;
	uint64_t now = r->begin;
	for (size_t i = 0; i < t->n; i++) {
		struct sample *s = &t->s[i];
		for (; now + MS <= r->begin + s->asked; now += MS) {
			until(r, now);
			look(r, now);
		}
		uint64_t at = r->begin + s->asked;
		until(r, at);
		s->woke = at >= r->last + DRAY_PACER_IDLE_NS && !r->n;
		dray_pacer_asked(&r->p, at);
		assert_true(r->n < sizeof r->flying / sizeof r->flying[0]);
		r->flying[r->n++] = s;
		s->window = dray_pacer_window(&r->p, at, true);
		/* With less than a step there are pauses, and whoever comes in one meets no step; who doesn't has to wait for a whole one. */
		s->met = copying && at / step_ns % DRAY_PACER_STEP < s->window;
		unsigned meets = s->window > DRAY_PACER_STEP ? s->window : DRAY_PACER_STEP;
		s->longer = s->took + (s->met ? step_ns * meets / DRAY_PACER_STEP : 0);
		s->done = at + s->longer;
	}
	for (uint64_t end = now + 2 * S; now < end; now += MS) {
		until(r, now);
		look(r, now);
	}
	assert_int_equal(r->n, 0);
	assert_true(r->idle_looks > 1000);
	r->begin = now;
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

/* What so many of ten took at most, of those asked in [from, to) of the trace; longer: as replayed. 0: too few to say. */
static uint64_t of_ten(unsigned many, const struct trace *t, uint64_t from, uint64_t to, bool longer)
{
	uint64_t *v = malloc(t->n * sizeof *v), got = 0;
	size_t n = 0;
	for (size_t i = 0; i < t->n; i++)
		if (t->s[i].asked >= from && t->s[i].asked < to)
			v[n++] = longer ? t->s[i].longer : t->s[i].took;
	qsort(v, n, sizeof *v, by_value);
	if (n >= 20)
		got = v[n * many / 10];
	free(v);
	return got;
}

/* slack: in percent. hurts: its requests take much less than a millisecond without a copy. */
static void bounds(const char *name, unsigned slack, bool hurts)
{
	static const uint64_t costs[] = { 10 * US, 200 * US, MS, 5 * MS };
	for (size_t k = 0; k < sizeof costs / sizeof costs[0]; k++) {
		struct trace t = trace_read(name);
		struct replay r = { .begin = 10 * S };
		dray_pacer_init(&r.p);
		r.p.most = MOST;
		replay(&r, &t, costs[k], false);
		double windows[3];
		for (unsigned round = 0; round < 3; round++) {
			replay(&r, &t, costs[k], true);
			windows[round] = r.sum / r.looks / DRAY_PACER_STEP;
			unsigned woken = 0;
			for (size_t i = 0; i < t.n; i++) {
				if (!t.s[i].woke)
					continue;
				uint64_t from = t.s[i].asked + 100 * MS, to = from + 500 * MS;
				uint64_t was = of_ten(9, &t, from, to, false), is = of_ten(5, &t, from, to, true);
				if (!was)
					continue;
				/* ... or before it fell asleep. */
				uint64_t before = of_ten(9, &t, 0, t.s[i].asked, false);
				was = before > was ? before : was;
				/* Near: half of them take no more than twice what nine of ten took, and a little; it is found by trying, so with some slack. (Not
				 * nine of ten: they meet a step also with the least of a window.) */
				uint64_t near = (2 * was + 400 * US) * slack / 100;
				if (is > near)
					print_message("%s, a step costs %llu us, waking at %llu ms: %llu us, were %llu\n", name, (unsigned long long)(costs[k] / US),
						(unsigned long long)(t.s[i].asked / MS), (unsigned long long)(is / US), (unsigned long long)(was / US));
				assert_true(is <= near);
				/* Where a step is what hurts, nobody waits for more than one from then on. */
				for (size_t j = i; j < t.n && costs[k] >= MS && hurts; j++)
					if (t.s[j].asked >= from && t.s[j].asked < to)
						assert_true(t.s[j].longer - t.s[j].took <= costs[k]);
				woken++;
			}
			assert_true(woken >= 1);
			assert_true(r.least >= DRAY_PACER_LEAST);
			assert_true(r.still * 8 <= r.looks);
		}
		/* The same load again is met in the same way: nothing is unlearned. */
		assert_true(windows[2] >= windows[0] / 2 && windows[2] <= windows[0] * 2);
		print_message("%s, a step costs %llu us: a window of %.2f steps on average\n", name, (unsigned long long)(costs[k] / US), windows[2]);
		free(t.s);
	}
}

static void one_arm(void **state)
{
	bounds("arm.txt", 150, true);
}

/* On a machine whose processors were taken: its own spread is wide. */
static void one_arm_busy(void **state)
{
	bounds("arm-busy.txt", 150, false);
}

/* A virtual machine's own disk, which does many things at once, and of which others want as much just then: a tenth of the requests took ten times as
 * long as half of them. */
static void a_disk(void **state)
{
	bounds("disk.txt", 200, false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_arm),
		cmocka_unit_test(one_arm_busy),
		cmocka_unit_test(a_disk),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
