/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A run has three parts: a world is drawn from the seed; trouble, for a number of events; then calm: faults and applications
 * stop, whatever was paused goes on, and within a bounded virtual time every leg has to become equal, every request to be
 * answered and released, every switch to end. Then the books are closed.
 *
 * The engine's own assertions are caught, too, so that a failing seed prints how to replay it. (A program that overrides
 * __assert_fail: the engine is linked statically, so its assertions come here.)
 */
#include "sim/run.h"

#include "sim/app.h"
#include "sim/check.h"
#include "sim/crash.h"
#include "sim/disk.h"
#include "sim/host.h"
#include "sim/meta.h"
#include "sim/oracle.h"
#include "sim/sched.h"
#include "sim/sim.h"
#include "sim/verbs.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_STEPS   2500
#define CALM_STEPS      400000
#define CALM_NS         (300 * 1000 * MS)

struct sim_block {
	struct sim_block *next;
	_Alignas(16) uint8_t data[];
};

void *sim_alloc(struct sim *s, size_t bytes)
{
	struct sim_block *b = calloc(1, sizeof *b + bytes);
	if (!b)
		abort();
	b->next = s->blocks;
	s->blocks = b;
	return b->data;
}

void sim_fail(struct sim *s, const char *rule, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(s->why, sizeof s->why, fmt, ap);
	va_end(ap);
	snprintf(s->rule, sizeof s->rule, "%s", rule);
	s->failed = true;
	sim_trace(s, "FAILED %s: %s", s->rule, s->why);
	longjmp(s->out, 1);
}

void sim_trace_line(struct sim *s, const char *fmt, ...)
{
	va_list ap;
	printf("%6" PRIu64 " %10.3f ms  ", s->step, (double)(s->now - 1000 * MS) / (double)MS);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}

static struct sim *running;

/* Replaces the C library's: an assertion of the engine is a verdict like any other. */
void __assert_fail(const char *expr, const char *file, unsigned line, const char *function)
{
	if (running) {
		const char *slash = strrchr(file, '/');
		sim_fail(running, "assertion", "the engine's own assertion failed: %s, in %s at %s:%u", expr, function,
			slash ? slash + 1 : file, line);
	}
	fprintf(stderr, "%s:%u: %s: assertion failed: %s\n", file, line, function, expr);
	abort();
}

/* ---- the world ---- */

static void draw_mix(struct sim *s)
{
	struct rng *g = &s->rng;
	struct sim_mix *m = &s->mix;
	m->errors = rng_one_in(g, 2);
	m->latent = rng_one_in(g, 2);
	m->stalls = rng_one_in(g, 2);
	m->flush_errors = rng_one_in(g, 3);
	m->net_targets = rng_one_in(g, 2);
	m->net_source = rng_one_in(g, 4);
	m->lost = rng_one_in(g, 2);
	m->no_space = rng_one_in(g, 4);
	m->map_errors = rng_one_in(g, 3);
	m->record_errors = rng_one_in(g, 2);
	m->kills = rng_one_in(g, 2);
	m->power = rng_one_in(g, 2);
	m->switches = !rng_one_in(g, 4);
	m->splits = rng_one_in(g, 2);
	m->verifies = rng_one_in(g, 2);
	m->pauses = rng_one_in(g, 2);
	m->aside = rng_one_in(g, 3);
	m->detaches = rng_one_in(g, 2);
	m->limits = rng_one_in(g, 2);
	m->discards = rng_one_in(g, 2);
	m->slow_messages = rng_one_in(g, 2);
	m->no_buffers = rng_one_in(g, 3);
	m->unmapped = rng_one_in(g, 4);
	m->forced = m->switches && rng_one_in(g, 4);
	if (m->forced && rng_one_in(g, 2))
		m->net_targets = m->lost = true;
	m->reopens = rng_one_in(g, 2);
}

static void draw_disk(struct sim_vol *v, unsigned i)
{
	struct sim *s = v->s;
	struct rng *g = &s->rng;
	struct sim_disk *d = disk_new(v, i, i ? s->mix.net_targets && rng_one_in(g, 2) : s->mix.net_source && rng_one_in(g, 2));
	v->disks[i] = d;
	d->thin = rng_one_in(g, 2);
	d->has_zero = rng_one_in(g, 2);
	d->extents = !rng_one_in(g, 3);
	d->discard_zeroes = rng_one_in(g, 2);
	d->known_zero = i && rng_one_in(g, 2);
	unsigned holes = (unsigned)rng_below(g, 4);
	bool hole = false;
	for (unsigned b = 0; b < v->n_blocks; b++) {
		if (b % (v->region_blocks / 4 + 1) == 0)
			hole = rng_below(g, 4) < holes;
		if (d->known_zero || hole)
			continue;
		d->cache[b] = d->durable[b] = stamp_make(i ? 98 : v->no, b, s->next_gen++);
	}
	for (unsigned n = s->mix.latent ? (unsigned)rng_below(g, i ? 2 : 5) : 0; n; n--)
		d->latent[rng_below(g, v->n_blocks)] = 1;
}

static void draw_volume(struct sim *s, unsigned no)
{
	struct rng *g = &s->rng;
	struct sim_vol *v = sim_alloc(s, sizeof *v);
	s->vols[no] = v;
	v->s = s;
	v->no = no;
	v->block_bytes = rng_one_in(g, 3) ? 512 : 4096;
	uint64_t region = UINT64_C(65536) << (v->block_bytes == 4096 ? rng_below(g, 2) : 0);
	v->n_regions = (unsigned)(v->block_bytes == 512 ? rng_range(g, 1, 5) : rng_range(g, 2, 12));
	v->region_blocks = (unsigned)(region / v->block_bytes);
	v->n_blocks = v->n_regions * v->region_blocks;
	if (rng_one_in(g, 3)) /* the last region is a piece */
		v->n_blocks -= (unsigned)rng_below(g, v->region_blocks);
	v->leg_timeout_ns = rng_range(g, 20, 80) * MS;
	v->config = (struct dray_vol_config){
		.size_bytes = (uint64_t)v->n_blocks * v->block_bytes,
		.region_bytes = region,
		.block_bytes = v->block_bytes,
		.max_ios = rng_one_in(g, 4) ? (unsigned)rng_range(g, 16, 24) : 256,
		.record_every_ns = rng_range(g, 1, 30) * MS,
		.intent_idle_ns = rng_range(g, 2, 100) * MS,
		.max_intents = rng_one_in(g, 3) ? 2 : 64,
		.intent_group = 1u << rng_range(g, 0, 3),
		.settle_ns = rng_range(g, 20, 150) * MS,
		.read_retry_ns = rng_range(g, 100, 3000) * US,
		.chunk_bytes = region * rng_range(g, 1, 3) / 2,
	};
	v->config.chunk_bytes -= v->config.chunk_bytes % 65536;
	if (!v->config.chunk_bytes)
		v->config.chunk_bytes = 65536;
	dray_list_init(&v->reqs);
	v->n_disks = (unsigned)rng_range(g, 2, SIM_DISKS);
	for (unsigned i = 0; i < v->n_disks; i++)
		draw_disk(v, i);
	unsigned map_no = 0;
	for (unsigned a = 0; a < v->n_disks; a++)
		for (unsigned b = a + 1; b < v->n_disks; b++)
			v->maps[a][b] = v->maps[b][a] = map_new(v, map_no++);
	v->bad = bad_list_new(v);
	memcpy(v->config.bad_id, v->bad->id, sizeof v->config.bad_id);
	v->lost_ok = sim_alloc(s, v->n_blocks);
	v->lacked = sim_alloc(s, v->n_regions);
	v->lost_at = sim_alloc(s, v->n_blocks * sizeof *v->lost_at);
	v->primary = v->disks[0];
	v->primary->leg_id = v->next_leg_id = 1;
	v->members = 1;
	oracle_init(v, v->primary->cache);
	app_draw(v);
}

/* ---- the end ---- */

/* Keeps time going while nothing else happens. */
static void on_look(struct sim *s, void *arg, uint32_t gen)
{
	sched_at(s, s->now + 5 * MS, false, on_look, NULL, 0);
}

static void rest(struct sim *s)
{
	s->calm = true;
	on_look(s, NULL, 0);
	for (unsigned i = 0; i < s->n_vols; i++) {
		struct sim_vol *v = s->vols[i];
		for (unsigned a = 0; a < v->n_disks; a++) {
			disk_heal(v->disks[a]);
			for (unsigned b = a + 1; b < v->n_disks; b++)
				v->maps[a][b]->errors_until = v->maps[a][b]->stall_until = 0;
		}
		v->bad->errors_until = v->bad->stall_until = 0;
		if (v->eng)
			verbs_limits(v, true);
	}
	uint64_t until = s->now + CALM_NS, limit = s->step + CALM_STEPS, look = 0;
	while (s->now < until && s->step < limit) {
		if (s->now >= look) {
			if (verbs_settle(s))
				return;
			look = s->now + 5 * MS;
		}
		sched_step(s);
		s->step++;
	}
	for (unsigned i = 0; i < s->n_vols; i++) {
		struct sim_vol *v = s->vols[i];
		if (v->eng && !dray_list_empty(&v->reqs)) {
			const struct sim_req *r = dray_container(v->reqs.next, struct sim_req, node);
			sim_fail(s, "never-ends", "volume %u: operation %d on blocks %u+%u is %s for ever", v->no, r->req.op, r->first,
				r->n, r->replied ? "not released" : "not answered");
		}
		for (int l = 0; v->eng && l < DRAY_MAX_LEGS; l++) {
			struct dray_leg_info info;
			if (v->legs[l].used && v->legs[l].disk != v->primary && !dray_vol_leg_info(v->eng, l, &info) && !info.synced)
				sim_fail(s, "never-synced",
					"volume %u: all trouble is over, and leg %d (state %d%s%s%s) stays with %" PRIu64 " bytes dirty, %" PRIu64
					" in doubt, %u unsettled", v->no, l, info.state, info.held ? ", held" : "", info.paused ? ", paused" : "",
					v->legs[l].detaching ? ", detaching" : "", info.dirty_bytes, info.doubt_bytes, info.unsettled);
		}
	}
	sim_fail(s, "never-ends", "all trouble is over, and the run does not come to rest (switch under way: %s)", s->group ? "yes" : "no");
}

static void let_events_pass(struct sim *s, uint64_t ns)
{
	uint64_t until = s->now + ns;
	while (sched_next(s) <= until && sched_step(s))
		s->step++;
}

static void close_books(struct sim *s)
{
	/* Give the records their time, so that the map says what is known. */
	let_events_pass(s, 500 * MS);
	for (unsigned i = 0; i < s->n_vols; i++)
		check_rest(s->vols[i]);
	for (unsigned i = 0; i < s->n_vols; i++)
		for (int l = 0; l < DRAY_MAX_LEGS; l++)
			if (s->vols[i]->legs[l].used && s->vols[i]->legs[l].disk != s->vols[i]->primary)
				vol_detach(s->vols[i], &s->vols[i]->legs[l]);
	let_events_pass(s, 1000 * MS);
	for (unsigned i = 0; i < s->n_vols; i++) {
		struct sim_vol *v = s->vols[i];
		for (int l = 0; l < DRAY_MAX_LEGS; l++)
			if (v->legs[l].used && v->legs[l].disk != v->primary)
				sim_fail(s, "never-detached", "volume %u: leg %d is never let go", v->no, l);
		dray_vol_free(v->eng, false);
		v->eng = NULL;
	}
	host_check_buffers(s);
}

/* ---- the run ---- */

static void body(struct sim *s)
{
	draw_mix(s);
	s->n_vols = (unsigned)(rng_one_in(&s->rng, 2) ? 1 : rng_range(&s->rng, 2, SIM_VOLS));
	for (unsigned i = 0; i < s->n_vols; i++)
		draw_volume(s, i);
	record_init(s);
	for (unsigned i = 0; i < s->n_vols; i++)
		host_start_volume(s->vols[i], false);
	verbs_start(s);
	for (; s->step < s->max_steps; s->step++)
		if (!sched_step(s))
			sim_fail(s, "sim", "nothing happens any more");
	sim_trace(s, "calm");
	rest(s);
	close_books(s);
}

void sim_run(uint64_t seed, uint64_t steps, bool trace, struct sim_result *result)
{
	struct sim *s = calloc(1, sizeof *s);
	if (!s)
		abort();
	s->seed = seed;
	s->trace = trace;
	s->now = 1000 * MS;
	s->next_gen = 1;
	s->max_steps = steps ? steps : DEFAULT_STEPS;
	rng_seed(&s->rng, seed);
	sched_init(s);
	running = s;
	if (setjmp(s->out) == 0)
		body(s);
	running = NULL;
	result->failed = s->failed;
	memcpy(result->rule, s->rule, sizeof result->rule);
	memcpy(result->why, s->why, sizeof result->why);
	result->step = s->step;
	result->now_ns = s->now;
	memcpy(result->cover, s->cover, sizeof result->cover);
	for (unsigned i = 0; i < s->n_vols; i++) {
		struct sim_vol *v = s->vols[i];
		if (!v)
			continue;
		dray_list_for_each_safe(node, &v->reqs) {
			struct sim_req *r = dray_container(node, struct sim_req, node);
			free(r->buf);
			free(r->recs);
		}
		/* After a failure the engine may be in any state: even freeing it may trip. Its memory goes with the process. */
		if (v->eng && !s->failed)
			dray_vol_free(v->eng, true);
	}
	host_free_buffers(s);
	disk_free_ops(s);
	sched_free(s);
	for (struct sim_block *b = s->blocks, *next; b; b = next) {
		next = b->next;
		free(b);
	}
	free(s);
}
