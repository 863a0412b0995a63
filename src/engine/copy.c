/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which step comes next, and when.
 *
 * Work of a leg, in this order: regions that are open, dirty regions in ascending order, regions in doubt (once late writes can't
 * come any more), and a verification somebody asked for. Legs take turns. A step starts when
 *
 *  - there is a place: steps in flight and bytes in flight below their limits, and within the window, which follows what the application's
 *    requests take (pacer.c). A window of less than a step is a pause after each;
 *  - its time has come: with a rate, each step moves the time of the next by length / rate. No credit is saved up: no bursts;
 *  - there is a buffer.
 *
 * All that is waited for before the step claims its range: nothing sleeps while holding a claim (H7).
 */
#include "engine/internal.h"

#define NS_S         UINT64_C(1000000000)
#define STEPS_MOST   8 /* to one leg, where nobody set a number: measured, more bring no speed */
#define PAUSE_MOST   (NS_S / 2)
#define NO_BUFFER_NS UINT64_C(5000000)
#define OTHERS_LOOK_NS UINT64_C(5000000)

static bool paced(uint64_t rate)
{
	return rate && rate != DRAY_RATE_STOP;
}

static bool more(uint64_t is, uint64_t was)
{
	return was && (!is || is > was);
}

int dray_vol_set_limits(struct dray_vol *v, const struct dray_copy_limits *limits)
{
	struct dray_copy_limits l = *limits;
	if (!l.step_bytes)
		l.step_bytes = 256 << 10;
	if (!l.leg_timeout_ns)
		l.leg_timeout_ns = NS_S;
	if (!l.give_up_ns)
		l.give_up_ns = 60 * NS_S;
	if ((l.step_bytes & (l.step_bytes - 1)) || l.step_bytes < (16 << 10) || l.prio > 8)
		return -EINVAL;
	uint64_t due = v->next_step_ns > v->now_ns ? v->next_step_ns - v->now_ns : 0, was = v->limits.rate;
	v->next_step_ns = 0;
	if (due && paced(was) && paced(l.rate))
		v->next_step_ns = v->now_ns + min_u64((uint64_t)((unsigned __int128)due * was / l.rate), NS_S * 86400);
	/* What begins now has not waited for a number that holds no more. */
	if ((v->bound.now == DRAY_BOUND_STEPS && more(l.steps, v->limits.steps)) ||
		(v->bound.now == DRAY_BOUND_IN_FLIGHT && more(l.in_flight_bytes, v->limits.in_flight_bytes)))
		v->bound.now = DRAY_BOUND_IDLE;
	v->limits = l;
	v->pacer.most = l.steps ? (unsigned)min_u64(l.steps, MAX_STEPS) : STEPS_MOST;
	v->pacer.goal_ns = l.app_latency_ns;
	v->bound.any = false; /* it was judged by other limits */
	memset(v->bound.n, 0, sizeof v->bound.n);
	v->bound.began_ns = v->now_ns;
	dray_pump(v);
	return 0;
}

void dray_vol_get_limits(const struct dray_vol *v, struct dray_copy_limits *limits)
{
	*limits = v->limits;
}

void dray_copy_refund(struct dray_vol *v, uint64_t bytes)
{
	v->paced_bytes -= min_u64(v->paced_bytes, bytes);
	if (!paced(v->limits.rate))
		return;
	uint64_t ns = (uint64_t)((unsigned __int128)bytes * NS_S / v->limits.rate);
	v->next_step_ns = v->next_step_ns > ns ? v->next_step_ns - ns : 0;
}

unsigned dray_copy_window(const struct dray_vol *v)
{
	unsigned own = dray_pacer_window(&v->pacer, v->now_ns, v->running);
	return own < v->others_window ? own : v->others_window;
}

void dray_vol_neighbours(struct dray_vol *v, bool copying, unsigned allowed)
{
	v->others_copy = copying;
	v->others_window = allowed;
	dray_pacer_others_still(&v->pacer, v->now_ns, !allowed);
}

bool dray_vol_copied_lately(struct dray_vol *v)
{
	bool lately = v->copied_lately || v->step_bytes_in_flight;
	v->copied_lately = false;
	return lately;
}

bool dray_vol_allows(const struct dray_vol *v, unsigned *allowed)
{
	*allowed = dray_pacer_window(&v->pacer, v->now_ns, v->running);
	return v->running || v->now_ns - v->pacer.last_ns < DRAY_PACER_IDLE_NS;
}

void dray_copy_step_over(struct dray_vol *v, struct leg *leg, uint64_t took_ns)
{
	unsigned w = dray_copy_window(v);
	v->copied_lately = true;
	v->step_over_ns = v->now_ns;
	if (w < DRAY_PACER_LEAST)
		w = DRAY_PACER_LEAST;
	if (w < DRAY_PACER_STEP)
		leg->pause_until_ns = v->now_ns + min_u64(took_ns * (DRAY_PACER_STEP - w) / w, PAUSE_MOST);
}

static uint64_t step_bytes(const struct dray_vol *v)
{
	return max_u64(min_u64(v->limits.step_bytes, v->config.region_bytes), v->part_bytes);
}

/* Parts of an open region that nobody has and nobody is at: the first run of them, at most a step. */
static bool choose_parts(const struct dray_vol *v, const struct open_region *o, uint64_t *offset, uint64_t *length)
{
	uint64_t free_parts = dray_region_mask(v, o->region) & ~o->done & ~o->in_flight;
	if (free_parts && v->n_trouble)
		free_parts &= ~dray_probe_busy_parts(v, o->region);
	if (free_parts && v->bad.again_gen)
		free_parts &= ~dray_bad_busy_parts(v, o->region);
	if (!free_parts)
		return false;
	unsigned first = (unsigned)__builtin_ctzll(free_parts), n = 0;
	uint64_t most = step_bytes(v) / v->part_bytes;
	/* A step stays inside its own multiple of the step size, so that steps are aligned whatever was done before. */
	most -= first % most;
	while (n < most && first + n < PARTS && free_parts >> (first + n) & 1)
		n++;
	*offset = o->region * v->config.region_bytes + first * v->part_bytes;
	*length = min_u64(n * v->part_bytes, region_end(v, o->region) - *offset);
	return true;
}

static bool choose_open(struct dray_vol *v, struct link *l, uint64_t *offset, uint64_t *length, int *open)
{
	for (unsigned i = 0, left = l->n_open; i < MAX_OPEN && left; i++) {
		if (!l->open[i].used)
			continue;
		left--;
		if (!l->open[i].closing && choose_parts(v, &l->open[i], offset, length)) {
			*open = (int)i;
			return true;
		}
	}
	return false;
}

/* Opens the next region: dirty ones first, then doubtful ones. */
static bool open_next(struct dray_vol *v, struct link *l)
{
	struct open_region *o = NULL;
	for (int pass = 0; pass < 2 && !o; pass++) {
		for (uint64_t r = l->cursor; (r = dray_bitmap_next_clear(&l->clean, r)) != DRAY_BITMAP_NONE; r++) {
			if (dray_link_find_open(l, r))
				continue;
			o = dray_link_open(l, r, WALK_COPY);
			l->cursor = r + 1;
			break;
		}
		if (!o)
			l->cursor = 0;
	}
	if (o || l->doubt_until_ns > v->now_ns)
		return o;
	for (uint64_t r = 0; l->doubt.nset && (r = dray_bitmap_next_set(&l->doubt, r)) != DRAY_BITMAP_NONE; r++) {
		if (dray_bitmap_test(&l->clean, r) && !dray_link_find_open(l, r))
			return dray_link_open(l, r, WALK_RECHECK);
	}
	return false;
}

static bool choose_verify(struct dray_vol *v, struct link *l, uint64_t *offset, uint64_t *length)
{
	if (!l->verifying || l->verify_next >= v->config.size_bytes)
		return false;
	*offset = l->verify_next;
	uint64_t step = step_bytes(v);
	*length = min_u64(step - *offset % step, region_end(v, region_of(v, *offset)) - *offset);
	return true;
}

static bool has_work(const struct dray_vol *v, const struct leg *leg)
{
	const struct link *l = leg->link;
	if (!l || !leg_active(leg) || leg->paused)
		return false;
	return l->clean.nset < v->n_regions || l->doubt.nset || l->verifying;
}

/* Makes one step for the leg; false if there is nothing to do for it now. */
static bool start_step(struct dray_vol *v, int leg_no)
{
	struct leg *leg = &v->legs[leg_no];
	struct link *l = leg->link;
	uint64_t offset, length;
	int open = -1;
	enum walk walk = WALK_VERIFY;
	if (!has_work(v, leg) || (v->n_trouble && dray_probe_crowded(v)))
		return false;
	if (leg->copy_after_ns <= v->now_ns &&
		(choose_open(v, l, &offset, &length, &open) || (open_next(v, l) && choose_open(v, l, &offset, &length, &open)))) {
		walk = l->open[open].walk;
	} else if (choose_verify(v, l, &offset, &length)) {
		l->verify_next = offset + length;
		if (l->verify_sample > 1 && l->verify_next < v->config.size_bytes)
			l->verify_next += (l->verify_sample - 1) * step_bytes(v);
	} else {
		return false;
	}
	if (v->limits.in_flight_bytes && v->step_bytes_in_flight && v->step_bytes_in_flight + length > v->limits.in_flight_bytes) {
		if (walk == WALK_VERIFY)
			l->verify_next = offset;
		return false;
	}
	struct step *s = v->steps;
	while (s < v->steps + MAX_STEPS && s->phase != ST_FREE)
		s++;
	if (s == v->steps + MAX_STEPS) {
		/* Only with many legs, or many given up on: the next completion frees one. */
		if (walk == WALK_VERIFY)
			l->verify_next = offset;
		return false;
	}
	bool compare = walk != WALK_COPY || dray_bitmap_test(&l->suspect, region_of(v, offset));
	void *buf[2] = { v->ops->buf_get(v->host, length), NULL };
	if (buf[0] && compare)
		buf[1] = v->ops->buf_get(v->host, length);
	if (!buf[0] || (compare && !buf[1])) {
		if (buf[0])
			v->ops->buf_put(v->host, buf[0], length);
		v->out_of_buffers = true;
		if (walk == WALK_VERIFY)
			l->verify_next = offset;
		return false;
	}
	struct dray_io io[2] = { s->io[0], s->io[1] };
	*s = (struct step){
		.leg = leg_no,
		.link = l,
		.source = v->primary,
		.walk = walk,
		.open = open,
		.offset = offset,
		.length = length,
		.compare = compare,
		.fix = walk != WALK_VERIFY || l->verify_repair,
		.buf = { buf[0], buf[1] },
		.io = { io[0], io[1] },
	};
	v->paced_bytes += length;
	dray_bound_step(v);
	if (v->limits.rate) {
		uint64_t ns = (uint64_t)((unsigned __int128)length * NS_S / v->limits.rate);
		/* A tick that came late is made up for by one step, no more. */
		uint64_t base = v->now_ns > ns ? v->now_ns - ns : 0;
		v->next_step_ns = max_u64(v->next_step_ns, base) + ns;
	}
	dray_step_begin(v, s);
	return true;
}

static void verify_end(struct dray_vol *v, int leg_no)
{
	struct leg *leg = &v->legs[leg_no];
	leg->link->verifying = false;
	dray_emit(v, (struct dray_event){ .kind = DRAY_EV_VERIFIED, .leg = leg_no, .leg_state = leg->state, .error = leg->link->verify_error });
}

static bool look_for_ends(struct dray_vol *v)
{
	bool moved = false;
	for_links(v, n) {
		int i = (int)n;
		struct leg *leg = &v->legs[i];
		struct link *l = leg->link;
		if (l->verifying && !l->verify_in_flight &&
			(l->verify_next >= v->config.size_bytes || !leg_active(leg))) {
			if (!leg_active(leg) && !l->verify_error)
				l->verify_error = -EAGAIN;
			verify_end(v, i);
			moved = true;
		}
		if (!leg->pausing)
			continue;
		if (!leg->n_steps) {
			leg->pausing = false;
			dray_emit(v, (struct dray_event){ .kind = DRAY_EV_PAUSED, .leg = i, .leg_state = leg->state });
			moved = true;
		}
	}
	return moved;
}

static unsigned steps_of(unsigned w)
{
	return (w + DRAY_PACER_STEP - 1) / DRAY_PACER_STEP;
}

/* The number that somebody set is of all legs together; the window is each one's. */
static bool all_steps_taken(const struct dray_vol *v)
{
	unsigned n = 0;
	if (!v->limits.steps)
		return false;
	for_links(v, i)
		n += v->legs[i].n_steps;
	return n >= v->limits.steps;
}

/* What holds up the next step for this leg, which has work. */
static enum dray_bound holds_up(const struct dray_vol *v, const struct leg *leg, unsigned w)
{
	if (v->limits.rate == DRAY_RATE_STOP)
		return DRAY_BOUND_RATE;
	enum dray_bound by_window = w < dray_pacer_window(&v->pacer, v->now_ns, v->running) ? DRAY_BOUND_NEIGHBOUR : DRAY_BOUND_WINDOW;
	if (leg->n_steps >= steps_of(w) && w < v->pacer.most * DRAY_PACER_STEP)
		return by_window;
	if (all_steps_taken(v))
		return DRAY_BOUND_STEPS;
	if (leg->n_steps >= steps_of(w))
		return DRAY_BOUND_STORAGE;
	if (v->limits.in_flight_bytes && v->step_bytes_in_flight && v->step_bytes_in_flight + step_bytes(v) > v->limits.in_flight_bytes)
		return DRAY_BOUND_IN_FLIGHT;
	uint64_t pause = w < DRAY_PACER_STEP ? leg->pause_until_ns : 0;
	if (v->next_step_ns > v->now_ns && v->next_step_ns >= pause)
		return DRAY_BOUND_RATE;
	if (pause > v->now_ns)
		return by_window;
	return DRAY_BOUND_STORAGE;
}

/* The pump comes to rest. Of several legs one that a limit holds up counts. */
static void note_bound(struct dray_vol *v, unsigned w)
{
	enum dray_bound waits = DRAY_BOUND_IDLE;
	for_links(v, i) {
		if (has_work(v, &v->legs[i]) && waits <= DRAY_BOUND_STORAGE)
			waits = holds_up(v, &v->legs[i], w);
	}
	dray_bound_rests(v, waits);
}

/* A step for the leg whose turn it is, or the next that has work. What may be started at once, a rate or a window, is often one
 * step: the turn goes on from the leg that had it last, or the first one would get them all. */
static bool start_next(struct dray_vol *v, unsigned w)
{
	unsigned most = steps_of(w);
	if (all_steps_taken(v))
		return false;
	for (unsigned k = 0; k < DRAY_MAX_LEGS; k++) {
		unsigned i = (v->turn + k) % DRAY_MAX_LEGS;
		if (!(v->links & 1u << i) || v->next_step_ns > v->now_ns || v->legs[i].n_steps >= most ||
			(w < DRAY_PACER_STEP && v->legs[i].pause_until_ns > v->now_ns) || !start_step(v, (int)i))
			continue;
		v->turn = i + 1;
		return true;
	}
	return false;
}

bool dray_copy_pump(struct dray_vol *v)
{
	if (!v->links) {
		dray_bound_rests(v, DRAY_BOUND_IDLE);
		return false;
	}
	bool moved = look_for_ends(v);
	/* Each leg has a window of its own, so that a slow target does not hold up another. */
	unsigned w = dray_copy_window(v);
	bool stands = v->suspended || v->takeover.phase >= TK_DRAINING || v->limits.rate == DRAY_RATE_STOP || v->out_of_buffers;
	while (!stands && start_next(v, w))
		moved = true;
	note_bound(v, w);
	return moved;
}

uint64_t dray_copy_tick(struct dray_vol *v)
{
	uint64_t next = min_u64(dray_bound_tick(v), dray_pacer_still_until(&v->pacer, v->now_ns));
	for_links(v, i) {
		struct leg *leg = &v->legs[i];
		if (!has_work(v, leg) || v->limits.rate == DRAY_RATE_STOP)
			continue;
		if (v->next_step_ns > v->now_ns)
			next = min_u64(next, v->next_step_ns);
		if (leg->copy_after_ns > v->now_ns)
			next = min_u64(next, leg->copy_after_ns);
		if (leg->link->doubt.nset && leg->link->doubt_until_ns > v->now_ns)
			next = min_u64(next, leg->link->doubt_until_ns);
		if (v->out_of_buffers)
			next = min_u64(next, v->now_ns + NO_BUFFER_NS);
		/* Another's look is over when it says so. */
		if (!v->others_window)
			next = min_u64(next, v->now_ns + OTHERS_LOOK_NS);
		/* The window is wide open when the application falls idle. */
		if (v->now_ns - v->pacer.last_ns < DRAY_PACER_IDLE_NS)
			next = min_u64(next, v->pacer.last_ns + DRAY_PACER_IDLE_NS);
		if (leg->pause_until_ns > v->now_ns)
			next = min_u64(next, leg->pause_until_ns);
	}
	v->out_of_buffers = false;
	return next;
}

/* ---- verification ---- */

int dray_vol_verify(struct dray_vol *v, int leg_no, unsigned sample, bool repair)
{
	if (leg_no < 0 || leg_no >= DRAY_MAX_LEGS || !v->legs[leg_no].link)
		return -ENOENT;
	struct leg *leg = &v->legs[leg_no];
	struct link *l = leg->link;
	if (l->verifying)
		return -EBUSY;
	if (!leg_active(leg) || l->clean.nset < v->n_regions)
		return -EAGAIN;
	l->verifying = true;
	l->verify_repair = repair;
	l->verify_sample = sample ? sample : 1;
	l->verify_next = 0;
	l->verify_error = 0;
	leg->verify_compared = leg->verify_differing = leg->verify_repaired = leg->verify_skipped = 0;
	leg->verify_ranges = 0;
	dray_pump(v);
	return 0;
}

int dray_vol_verify_stop(struct dray_vol *v, int leg_no)
{
	if (leg_no < 0 || leg_no >= DRAY_MAX_LEGS || !v->legs[leg_no].link)
		return -ENOENT;
	v->legs[leg_no].link->verify_next = v->config.size_bytes;
	dray_pump(v);
	return 0;
}
