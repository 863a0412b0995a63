/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A copy that nobody notices.
 *
 * A disk is kept busy by a few steps in flight; more bring no speed, but every request of the application waits behind them. How many are
 * too many depends on the disk, on who shares it, and on what the application does, and all of these change. So it is measured: by
 * the only figure that counts, what the application's requests take.
 *
 * Periods. Answers are counted by what they took, in buckets of a quarter of an octave, until there are 24 of them and 20 ms have gone by, or
 * 100 ms have and there are a few. Then the period is judged by what nine of ten took (all but one of a hundred, if a goal for the p99 was set).
 *
 *   more than allowed      the window shrinks in proportion, by a tenth at least, by half at most
 *   less than 3/4 of it    it grows by a quarter of a step (by half of it, if it is less than 1/4: far from a goal)
 *   between                it stays
 *
 * Allowed is the goal, or else twice what the application's requests took before, and a little: that is "near" for a disk whose own spread
 * is that wide. A window of less than a step means that there is a pause between one step and the next (copy.c). It never
 * falls below a quarter: a copy has to end, also beside an application that wants all of the disk.
 *
 * What they took before is known from the periods without a copy. Applications change, though, while a copy goes on for days. So every five
 * seconds there is a look: for one period no step begins, and only requests that met none count. On a disk that does one thing after the other
 * nothing less would do, since all that waited behind a step bring its time with them, and a base that has it in it allows twice that. What is
 * seen moves the base half way, and if it is twice the base or half of it, the next look is soon; so an application that saturates its disk by itself
 * gets a base that says so, and the copy its share back. What is less than the base moves it down a little at any time; what met a step never moves
 * it up. With a goal nothing depends on the base, and nothing stands still for it.
 *
 * A look is over in 20 ms where requests are many, in 100 ms where there are some. Where next to none came in 200 ms, because few are asked or a
 * step under way does not end (a target may be slow), the copy goes on with the least of a window; and after a second what met a step counts as
 * well, so that something is known at all. An eighth of the time is the most that a volume has for looks, and what it is told of others on its
 * disk counts.
 *
 * Volumes that share a disk share this, too: whose requests are slow while any of them is copied counts that as a copy, and the least window that one
 * of their applications allows is the window of all their copies (iod/disks.h). So they grow and shrink together, they stand still together for
 * a look, and those that are to look soon look at the same time.
 *
 * An application that asked nothing for half a second needs no protection: then as much is under way as is allowed at all. When it asks again the window
 * is at its least for one period, which is a look, if not one that stands still: who wakes for a request now and then has no need of it. If it shows
 * less than the base it is the base: what it took to saturate the disk is no measure any more. Then the window grows from half a step, whatever it was
 * before the sleep: the other way round, down from a window that is too large for this disk or this work, takes a tenth of a second and more,
 * which the application has to pay, while the copy pays for a start that is too small, with a second at less than its speed. Who woke to other work
 * than before is met soon: looks come again after an eighth of a second, a quarter, and so on up to the five seconds. What is in flight too much
 * at the first moment is through in a few milliseconds. While nothing at all is known of what its requests take, the window is at its least.
 */
#include "engine/pacer.h"

#include <string.h>

#define MS UINT64_C(1000000)
#define PERIOD_NS      (20 * MS)
#define PERIOD_LONG_NS (100 * MS)
#define ENOUGH         24
#define FEW            4
#define SLACK_NS       UINT64_C(200000)
#define WINDOW_FIRST   (DRAY_PACER_STEP / 2) /* what a disk that does one thing after the other can stand */
#define GROWTH         (DRAY_PACER_STEP / 4)
#define LOOK_NS        (5000 * MS)
#define LOOK_FIRST_NS  (125 * MS)
#define LOOK_MOST_NS   (1000 * MS) /* then all that is answered counts */
#define STILL_NS       (200 * MS)
#define STILL_PART     8 /* of the time */

void dray_pacer_init(struct dray_pacer *p)
{
	memset(p, 0, sizeof *p);
	p->most = 1;
	p->window = WINDOW_FIRST;
}

/* Four buckets an octave, from one microsecond on. */
static unsigned bucket_of(uint64_t ns)
{
	uint64_t us = ns / 1000;
	if (us < 4)
		return (unsigned)us;
	unsigned octave = 63 - (unsigned)__builtin_clzll(us), quarter = (unsigned)(us >> (octave - 2) & 3);
	unsigned b = (octave - 1) * 4 + quarter;
	return b < DRAY_PACER_BUCKETS ? b : DRAY_PACER_BUCKETS - 1;
}

/* The most that is still in the bucket. */
static uint64_t bucket_ns(unsigned b)
{
	if (b < 4)
		return (b + 1) * UINT64_C(1000);
	return ((UINT64_C(4) + b % 4 + 1) << (b / 4 - 1)) * 1000;
}

static uint64_t quantile(const struct dray_pacer *p, uint32_t per_thousand)
{
	uint64_t beyond = (uint64_t)p->n * (1000 - per_thousand) / 1000, seen = 0;
	for (unsigned b = DRAY_PACER_BUCKETS; b-- > 0;) {
		seen += p->hist[b];
		if (seen > beyond)
			return bucket_ns(b);
	}
	return 0;
}

static uint64_t moved(uint64_t from, uint64_t to, unsigned part)
{
	return to > from ? from + (to - from) / part : from - (from - to) / part;
}

static void learn(struct dray_pacer *p, uint64_t seen)
{
	if (!p->base_ns || (p->woke && seen < p->base_ns))
		p->base_ns = seen;
	else if (p->looking && !p->copied)
		p->base_ns = moved(p->base_ns, seen, 2);
	else if (!p->copied)
		p->base_ns = moved(p->base_ns, seen, 4);
	else if (seen < p->base_ns)
		p->base_ns = moved(p->base_ns, seen, 16);
}

static void judge(struct dray_pacer *p)
{
	unsigned most = p->most * DRAY_PACER_STEP;
	learn(p, quantile(p, 900));
	p->seen_ns = quantile(p, p->goal_ns ? 990 : 900);
	p->allowed_ns = p->goal_ns ? p->goal_ns : 2 * p->base_ns + SLACK_NS;
	if (p->looking) {
		/* It says nothing of the window. */
	} else if (p->copied && p->seen_ns > p->allowed_ns) {
		uint64_t w = p->window * p->allowed_ns / p->seen_ns;
		if (w > p->window * 9 / 10)
			w = p->window * 9 / 10;
		if (w < p->window / 2)
			w = p->window / 2;
		p->window = (unsigned)w;
	} else if (p->copied && p->seen_ns < p->allowed_ns - p->allowed_ns / 4) {
		p->window += p->seen_ns < p->allowed_ns / 4 && p->window / 2 > GROWTH ? p->window / 2 : GROWTH;
	}
	if (p->window > most)
		p->window = most;
	if (p->window < DRAY_PACER_LEAST)
		p->window = DRAY_PACER_LEAST;
}

static void begin(struct dray_pacer *p, uint64_t now)
{
	memset(p->hist, 0, sizeof p->hist);
	p->n = 0;
	p->copied = false;
	p->began_ns = now;
}

static bool stands_still(const struct dray_pacer *p, uint64_t now)
{
	return now < p->still_ns;
}

/* `still`: no step begins, until it is over or for STILL_NS. */
static void look(struct dray_pacer *p, uint64_t now, bool still)
{
	begin(p, now);
	p->looking = true;
	p->still_ns = still ? now + STILL_NS : 0;
	if (still)
		p->still_again_ns = now + STILL_NS * STILL_PART;
}

static void look_over(struct dray_pacer *p, uint64_t now)
{
	if (stands_still(p, now))
		p->still_again_ns = now + (now - p->began_ns) * STILL_PART;
	p->looking = p->woke = false;
	p->still_ns = 0;
}

/* (With a goal nothing is compared with the base.) */
static bool may_stand_still(const struct dray_pacer *p, uint64_t now)
{
	return !p->goal_ns && now >= p->still_again_ns;
}

static void next_look_after(struct dray_pacer *p, uint64_t now)
{
	p->look_every_ns = p->look_every_ns && p->look_every_ns < LOOK_NS / 2 ? 2 * p->look_every_ns : LOOK_NS;
	p->look_ns = now + p->look_every_ns;
}

/* A look, which moves the base half way, showed twice of it or half. */
static bool other_work(uint64_t was, uint64_t is)
{
	return is > was + was / 2 || is < was - was / 4;
}

void dray_pacer_asked(struct dray_pacer *p, uint64_t now)
{
	/* A pause says nothing, and what came before it is old. */
	if (now - p->last_ns >= DRAY_PACER_IDLE_NS) {
		look(p, now, false);
		p->woke = true;
	}
	p->last_ns = now;
}

void dray_pacer_others_still(struct dray_pacer *p, uint64_t now, bool still)
{
	if (!still) {
		p->others_still_ns = 0;
		return;
	}
	if (!p->others_still_ns)
		p->others_still_ns = now;
	/* Two that look one after the other would have the copies stand still for twice as long. */
	if (!p->looking && p->base_ns && !p->goal_ns && now + p->look_every_ns / 2 >= p->look_ns && now - p->last_ns < DRAY_PACER_IDLE_NS) {
		look(p, now, true);
		next_look_after(p, now);
	}
	uint64_t again = now + (now - p->others_still_ns) * STILL_PART;
	if (again > p->still_again_ns)
		p->still_again_ns = again;
}

void dray_pacer_answered(struct dray_pacer *p, uint64_t now, uint64_t took, bool copying)
{
	uint64_t since = now - p->began_ns, at_most = PERIOD_LONG_NS;
	p->last_ns = now;
	if (p->looking && copying && since < LOOK_MOST_NS)
		return;
	p->hist[bucket_of(took)]++;
	p->n++;
	p->copied |= copying;
	/* Where next to none met no step, those that are counted then are to be more than a few. */
	if (p->looking && p->copied)
		at_most += LOOK_MOST_NS;
	if (!((p->n >= ENOUGH && since >= PERIOD_NS) || (p->n >= FEW && since >= at_most)))
		return;
	uint64_t was = p->base_ns;
	judge(p);
	if (p->woke && p->window > WINDOW_FIRST)
		p->window = WINDOW_FIRST;
	if (p->woke || (p->looking && other_work(was, p->base_ns))) {
		p->look_every_ns = LOOK_FIRST_NS;
		p->look_ns = now + LOOK_FIRST_NS;
	}
	if (p->looking)
		look_over(p, now);
	begin(p, now);
	if (now >= p->look_ns && may_stand_still(p, now)) {
		look(p, now, true);
		next_look_after(p, now);
	}
}

uint64_t dray_pacer_still_until(const struct dray_pacer *p, uint64_t now)
{
	return stands_still(p, now) ? p->still_ns : UINT64_MAX;
}

unsigned dray_pacer_window(const struct dray_pacer *p, uint64_t now, bool running)
{
	unsigned most = p->most * DRAY_PACER_STEP, window = p->looking || !p->base_ns ? DRAY_PACER_LEAST : p->window;
	if (!running && now - p->last_ns >= DRAY_PACER_IDLE_NS)
		return most;
	if (stands_still(p, now))
		return 0;
	return window < most ? window : most;
}
