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
 * seconds one period has the least of a window, and moves the base half way to what is seen then, of requests that came through between two
 * steps: on a disk that does one thing after the other even a quarter of a step would show. So an application that
 * saturates its disk by itself gets a base that says so, and the copy its share back. What is less than the base moves it down a little at any time.
 *
 * Volumes that share a disk share this, too: whose requests are slow while any of them is copied counts that as a copy, and the least window that one
 * of their applications allows is the window of all their copies (iod/disks.h). So they grow and shrink together.
 *
 * An application that asked nothing for half a second needs no protection: then as much is under way as is allowed at all. When it asks again, the
 * window is at its least for one period, and if that shows less than the base it is the base: what it took to saturate the disk is no
 * measure for a request now and then. Then it grows from half a step, whatever it was before the sleep: the other way round, down
 * from a window that is too large for this disk or this work, takes a tenth of a second and more, which the application has to pay, while the copy
 * pays for a start that is too small, with a second at less than its speed. Who woke to other work than before is met soon: periods at the least
 * come again after an eighth of a second, a quarter, and so on up to the five seconds. What is in flight too much at the first moment is
 * through in a few milliseconds. While nothing at all is known of what its requests take, the window is at its least.
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
#define PROBE_NS       (5000 * MS)
#define PROBE_FIRST_NS (125 * MS)

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
	else if (p->probing)
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
	if (p->probing) {
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

void dray_pacer_asked(struct dray_pacer *p, uint64_t now)
{
	/* A pause says nothing, and what came before it is old. */
	if (now - p->last_ns >= DRAY_PACER_IDLE_NS) {
		begin(p, now);
		p->woke = p->probing = true;
	}
	p->last_ns = now;
}

void dray_pacer_answered(struct dray_pacer *p, uint64_t now, uint64_t took, bool copying)
{
	uint64_t since = now - p->began_ns;
	p->last_ns = now;
	/* Between the few steps of such a period is the time without a copy. */
	if (p->probing && copying && since < PERIOD_LONG_NS)
		return;
	p->hist[bucket_of(took)]++;
	p->n++;
	p->copied |= copying;
	/* Where no request came between two steps, those that are counted then are to be more than a few. */
	uint64_t at_most = p->probing ? 2 * PERIOD_LONG_NS : PERIOD_LONG_NS;
	if (!((p->n >= ENOUGH && since >= PERIOD_NS) || (p->n >= FEW && since >= at_most)))
		return;
	judge(p);
	begin(p, now);
	if (p->woke) {
		if (p->window > WINDOW_FIRST)
			p->window = WINDOW_FIRST;
		p->probe_every_ns = PROBE_FIRST_NS;
		p->probe_ns = now + PROBE_FIRST_NS;
	}
	p->woke = false;
	p->probing = now >= p->probe_ns;
	if (p->probing) {
		p->probe_every_ns = p->probe_every_ns && p->probe_every_ns < PROBE_NS / 2 ? 2 * p->probe_every_ns : PROBE_NS;
		p->probe_ns = now + p->probe_every_ns;
	}
}

unsigned dray_pacer_window(const struct dray_pacer *p, uint64_t now, bool running)
{
	unsigned most = p->most * DRAY_PACER_STEP, window = p->probing || !p->base_ns ? DRAY_PACER_LEAST : p->window;
	if (!running && now - p->last_ns >= DRAY_PACER_IDLE_NS)
		return most;
	return window < most ? window : most;
}
