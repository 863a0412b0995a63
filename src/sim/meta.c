/* SPDX-License-Identifier: BSD-3-Clause */
#include "sim/meta.h"

#include "sim/cover.h"
#include "sim/disk.h"
#include "sim/sched.h"

#include <errno.h>

void record_init(struct sim *s)
{
	s->record = sim_alloc(s, sizeof *s->record);
	record_normalise(s);
}

void record_normalise(struct sim *s)
{
	struct sim_record *r = s->record;
	struct sim_slot now = { .valid = true, .epoch = ++r->epoch };
	for (unsigned i = 0; i < s->n_vols; i++)
		now.primary[i] = s->vols[i]->primary->no;
	r->current = 0;
	r->cached[0] = r->durable[0] = now;
	r->cached[1] = r->durable[1] = (struct sim_slot){ 0 };
	r->new_epoch = 0;
	r->busy = false;
}

static const struct sim_slot *winner_of(const struct sim_slot *slots)
{
	if (!slots[0].valid)
		return &slots[1];
	return slots[1].valid && slots[1].epoch > slots[0].epoch ? &slots[1] : &slots[0];
}

const struct sim_slot *record_winner(const struct sim *s)
{
	return winner_of(s->record->cached);
}

static bool is_new(const struct sim_record *r, const struct sim_slot *slots)
{
	return r->new_epoch && winner_of(slots)->epoch == r->new_epoch;
}

bool record_is_new(const struct sim *s)
{
	const struct sim_record *r = s->record;
	return is_new(r, r->durable) && is_new(r, r->cached) && !r->busy;
}

bool record_may_be_new(const struct sim *s)
{
	const struct sim_record *r = s->record;
	return is_new(r, r->durable) || is_new(r, r->cached) || (r->busy && r->to_new);
}

struct answer {
	struct sim *s;
	void (*done)(struct sim *s, int error);
};

/* What a write that did not end well may have left. */
static void some_outcome(struct sim *s)
{
	struct sim_record *r = s->record;
	unsigned slot = 1 - r->current;
	switch (rng_below(&s->rng, 4)) {
	case 0: break;
	case 1: r->cached[slot].valid = r->durable[slot].valid = false; break; /* torn */
	case 2: r->cached[slot] = r->pending; break;
	default: r->cached[slot] = r->durable[slot] = r->pending; break;
	}
}

static void on_written(struct sim *s, void *arg, uint32_t gen)
{
	struct answer *a = arg;
	struct sim_record *r = s->record;
	unsigned slot = 1 - r->current;
	bool fails = s->mix.record_errors && !s->calm && rng_one_in(&s->rng, 3);
	r->busy = false;
	if (fails) {
		some_outcome(s);
		sim_cover(s, COVER_H8_RECORD_FAILED);
	} else {
		r->cached[slot] = r->durable[slot] = r->pending;
		r->current = slot;
	}
	sim_trace(s, "record epoch %llu (%s): %s", (unsigned long long)r->pending.epoch, r->to_new ? "new side" : "old side",
		fails ? "failed" : "durable");
	a->done(s, fails ? -EIO : 0);
}

void record_write(struct sim *s, const struct sim_slot *slot, bool to_new, void (*done)(struct sim *s, int error))
{
	struct sim_record *r = s->record;
	if (r->busy)
		sim_fail(s, "two-records", "a record is written while another write is under way");
	struct answer *a = sim_alloc(s, sizeof *a);
	*a = (struct answer){ s, done };
	r->busy = true;
	r->to_new = to_new;
	r->pending = *slot;
	r->pending.valid = true;
	r->pending.epoch = ++r->epoch;
	if (to_new)
		r->new_epoch = r->epoch;
	uint64_t t = rng_range(&s->rng, 100 * US, 2 * MS);
	if (s->mix.record_errors && rng_one_in(&s->rng, 3))
		t += rng_below(&s->rng, 300 * MS);
	sched_at(s, s->now + t, true, on_written, a, 0);
}

void record_crash(struct sim *s, bool power)
{
	struct sim_record *r = s->record;
	if (r->busy)
		some_outcome(s);
	r->busy = false;
	for (int i = 0; i < 2; i++) {
		if (power && rng_one_in(&s->rng, 2))
			r->cached[i] = r->durable[i];
		r->durable[i] = r->cached[i];
	}
}
