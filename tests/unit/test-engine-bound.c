/* SPDX-License-Identifier: BSD-3-Clause */
/* Which limit holds the copy back is told by what its steps waited for last; limits that are set while it runs take effect at once, count for all
 * targets together, and setting them often makes a paced copy no faster. */
#include "tests/lib/engine-host.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MS   HOST_MS
#define S    UINT64_C(1000000000)
#define KiB  UINT64_C(1024)
#define MiB  (1024 * KiB)
#define SIZE (24576 * MiB)

struct mock {
	struct engine_host h;
	unsigned most_steps; /* operations of copy steps under way (each has one at a time) */
	uint64_t most_bytes;
	unsigned prio_copy[16], prio_other[16]; /* how many had which */
	struct dray_request request; /* the application's; one at a time, of so many */
	unsigned asked;
};

static bool of_copy(const struct dray_io *io)
{
	return (io->op == DRAY_OP_READ || io->op == DRAY_OP_WRITE) && io->length >= 16 * KiB;
}

static void sent(struct engine_host *h, const struct dray_io *io)
{
	struct mock *m = dray_container(h, struct mock, h);
	unsigned steps = 0;
	uint64_t bytes = 0;
	for (unsigned i = 0; i < h->n; i++) {
		steps += of_copy(h->ops[i].io);
		bytes += of_copy(h->ops[i].io) ? h->ops[i].io->length : 0;
	}
	m->most_steps = steps > m->most_steps ? steps : m->most_steps;
	m->most_bytes = bytes > m->most_bytes ? bytes : m->most_bytes;
	if (io->op != DRAY_OP_MAP_WRITE && io->op != DRAY_OP_MAP_SYNC)
		(of_copy(io) || io->op == DRAY_OP_EXTENTS ? m->prio_copy : m->prio_other)[dray_flags_prio(io->flags)]++;
}

static struct mock *mock_new(uint64_t takes_ns, unsigned targets, struct dray_copy_limits limits)
{
	struct mock *m = calloc(1, sizeof *m);
	m->h = (struct engine_host){ .now = 10 * S, .takes_ns = takes_ns, .sent = sent, .unchecked = true };
	assert_int_equal(host_start(&m->h, &(struct dray_vol_config){ .size_bytes = SIZE, .block_bytes = 512 }), 0);
	assert_int_equal(dray_vol_set_limits(m->h.vol, &limits), 0);
	for (unsigned i = 0; i <= targets; i++)
		assert_int_equal(dray_vol_leg_attach(m->h.vol, &(struct dray_leg_config){ .map_id = { 1, 1 } }), (int)i);
	return m;
}

static void mock_free(struct mock *m)
{
	host_end(&m->h);
	free(m);
}

static void run(struct mock *m, uint64_t ns, bool application)
{
	static uint8_t data[4096];
	m->most_steps = 0;
	m->most_bytes = 0;
	for (uint64_t end = m->h.now + ns; m->h.now < end;) {
		if (application && m->h.replies == m->asked) {
			m->request = (struct dray_request){ .op = DRAY_OP_READ, .length = sizeof data, .data = data };
			m->asked++;
			dray_vol_submit(m->h.vol, &m->request);
		}
		host_pass(&m->h, MS / 4);
	}
}

static struct dray_vol_info info(const struct mock *m)
{
	return host_vol(&m->h);
}

static uint64_t copied(const struct mock *m, int leg)
{
	return host_leg(&m->h, leg).copied_bytes;
}

static void set(struct mock *m, struct dray_copy_limits limits)
{
	assert_int_equal(dray_vol_set_limits(m->h.vol, &limits), 0);
}

/* Half a second of each, one after the other: what is told follows. */
static void what_binds(void **state)
{
	static const struct {
		struct dray_copy_limits limits;
		enum dray_bound bound;
	} cases[] = {
		{ { 0 }, DRAY_BOUND_STORAGE },
		{ { .rate = 16 * MiB }, DRAY_BOUND_RATE },
		{ { .steps = 2 }, DRAY_BOUND_STEPS },
		/* One step at a time does 62 MiB/s here: a rate below that is what counts, one above it is not. */
		{ { .steps = 1, .rate = 16 * MiB }, DRAY_BOUND_RATE },
		{ { .steps = 1, .rate = 48 * MiB }, DRAY_BOUND_RATE },
		{ { .steps = 1, .rate = 200 * MiB }, DRAY_BOUND_STEPS },
		{ { .in_flight_bytes = MiB }, DRAY_BOUND_IN_FLIGHT },
		{ { .in_flight_bytes = MiB, .steps = 3 }, DRAY_BOUND_STEPS },
		{ { .in_flight_bytes = 64 * MiB, .steps = 64 }, DRAY_BOUND_STEPS },
		{ { .rate = DRAY_RATE_STOP }, DRAY_BOUND_RATE },
		{ { .rate = 1024 }, DRAY_BOUND_RATE },
		{ { 0 }, DRAY_BOUND_STORAGE },
	};
	struct mock *m = mock_new(2 * MS, 1, cases[0].limits);
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		set(m, cases[i].limits);
		run(m, S, false);
		if (info(m).bound != cases[i].bound)
			print_message("case %zu\n", i);
		assert_int_equal(info(m).bound, cases[i].bound);
	}
	mock_free(m);
}

/* A number that is raised above what is ever under way binds nothing from then on, and is not told for as long as all that begins at once takes. */
static void raised(void **state)
{
	static const struct dray_copy_limits from[] = { { .steps = 1 }, { .in_flight_bytes = 256 * KiB } },
		to[] = { { .steps = 200 }, { .in_flight_bytes = 1024 * MiB } };
	for (int i = 0; i < 2; i++) {
		struct mock *m = mock_new(300 * MS, 1, from[i]);
		run(m, 5 * S, false);
		assert_int_equal(info(m).bound, i ? DRAY_BOUND_IN_FLIGHT : DRAY_BOUND_STEPS);
		set(m, to[i]);
		for (int k = 0; k < 20; k++) {
			run(m, 100 * MS, false);
			assert_int_equal(info(m).bound, DRAY_BOUND_STORAGE);
		}
		mock_free(m);
	}
}

/* The next step is minutes away: what is told changes all the same, when the engine asked to be called, and it doesn't ask for ever. */
static void while_nothing_happens(void **state)
{
	struct mock *m = mock_new(2 * MS, 1, (struct dray_copy_limits){ .rate = 1024 });
	run(m, 600 * MS, false); /* its first step waited for nothing but the storage */
	assert_int_equal(info(m).bound, DRAY_BOUND_STORAGE);
	uint64_t end = m->h.now + 60 * S, next;
	unsigned calls = 0;
	while ((next = dray_vol_tick(m->h.vol, m->h.now)) < end) {
		assert_true(next > m->h.now && ++calls < 100);
		m->h.now = next;
		run(m, 10 * MS, false); /* what it began then */
	}
	assert_int_equal(info(m).bound, DRAY_BOUND_RATE);
	m->h.now = end;
	dray_vol_tick(m->h.vol, m->h.now);
	assert_int_equal(info(m).bound, DRAY_BOUND_RATE);
	mock_free(m);
}

static void nothing_to_copy(void **state)
{
	struct mock *m = mock_new(MS, 0, (struct dray_copy_limits){ .rate = 1024 });
	run(m, S, false);
	assert_int_equal(info(m).bound, DRAY_BOUND_IDLE);
	mock_free(m);
}

/* An application that the copy makes wait: the window holds it back, whatever else is allowed; and no more when it falls silent. */
static void an_application(void **state)
{
	struct mock *m = mock_new(4 * MS, 1, (struct dray_copy_limits){ .app_latency_ns = MS });
	run(m, 3 * S, true);
	assert_int_equal(info(m).bound, DRAY_BOUND_WINDOW);
	run(m, 3 * S, false);
	assert_int_equal(info(m).bound, DRAY_BOUND_STORAGE);
	mock_free(m);
}

/* Steps and bytes are of all targets together. More steps than the engine ever has under way is no error. */
static void of_all_targets(void **state)
{
	struct mock *m = mock_new(2 * MS, 3, (struct dray_copy_limits){ .steps = 2 });
	run(m, S, false);
	assert_int_equal(m->most_steps, 2);
	for (int leg = 1; leg <= 3; leg++)
		assert_true(copied(m, leg) > 4 * MiB);
	set(m, (struct dray_copy_limits){ .steps = 200 });
	run(m, S, false);
	assert_in_range(m->most_steps, 24, 200);
	set(m, (struct dray_copy_limits){ .in_flight_bytes = MiB });
	run(m, S / 10, false);
	run(m, S, false);
	assert_true(m->most_bytes <= MiB);
	mock_free(m);
}

/* A rate set ten times a second, to about the same, is kept to, and never in bursts: no 100 ms have more than their part and a step. */
static void paced_while_set(void **state)
{
	struct mock *m = mock_new(MS / 4, 1, (struct dray_copy_limits){ .rate = 8 * MiB });
	run(m, S, false);
	uint64_t begin = copied(m, 1), last = begin;
	for (int i = 0; i < 100; i++) {
		set(m, (struct dray_copy_limits){ .rate = 8 * MiB - (i & 1) });
		run(m, 100 * MS, false);
		assert_true(copied(m, 1) - last <= 8 * MiB / 10 + 512 * KiB);
		last = copied(m, 1);
	}
	assert_in_range(last - begin, 80 * MiB * 95 / 100, 80 * MiB + 512 * KiB);
	/* From next to nothing to more: at once, not when the step that was due comes. */
	set(m, (struct dray_copy_limits){ .rate = 1 });
	run(m, S, false);
	set(m, (struct dray_copy_limits){ .rate = 64 * MiB });
	last = copied(m, 1);
	run(m, S / 2, false);
	assert_in_range(copied(m, 1) - last, 24 * MiB, 33 * MiB);
	/* What the rate counts is what was begun. */
	assert_true(info(m).paced_bytes >= copied(m, 1) && info(m).paced_bytes <= copied(m, 1) + 2 * MiB);
	mock_free(m);
}

/* The copy's operations carry what is set, from then on; those of the application never do. */
static void priority(void **state)
{
	struct mock *m = mock_new(MS, 1, (struct dray_copy_limits){ 0 });
	run(m, S / 10, true);
	assert_true(m->prio_copy[0] > 10 && m->prio_other[0] > 10);
	set(m, (struct dray_copy_limits){ .prio = 7 });
	run(m, S / 100, true);
	unsigned before = m->prio_copy[0], other = m->prio_other[0];
	run(m, S / 10, true);
	assert_int_equal(m->prio_copy[0], before);
	assert_true(m->prio_copy[7] > 10 && m->prio_other[0] > other + 10);
	for (unsigned i = 1; i < 16; i++)
		assert_true(!m->prio_other[i] && (i == 7 || !m->prio_copy[i]));
	assert_int_equal(dray_vol_set_limits(m->h.vol, &(struct dray_copy_limits){ .prio = 9 }), -22);
	mock_free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_binds),
		cmocka_unit_test(raised),
		cmocka_unit_test(while_nothing_happens),
		cmocka_unit_test(nothing_to_copy),
		cmocka_unit_test(an_application),
		cmocka_unit_test(of_all_targets),
		cmocka_unit_test(paced_while_set),
		cmocka_unit_test(priority),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
