/* SPDX-License-Identifier: BSD-3-Clause */
/* The essay is in switch.h. */
#include "engine/switch.h"
#include "engine/plant.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

enum phase { SW_NEW, SW_PREPARE, SW_SUSPEND, SW_SEAL, SW_RECORD, SW_SUPERSEDE, SW_WAIT, SW_DONE };

struct member {
	bool prepared;
};

struct dray_switch {
	enum phase phase;
	unsigned n, pending;
	bool split, failed;
	int culprit, error;
	uint64_t deadline_in_ns;
	const struct dray_switch_ops *ops;
	void *ctx;
	struct member members[];
};

int dray_switch_new(struct dray_switch **sw, unsigned n_vols, bool split, uint64_t deadline_in_ns,
	const struct dray_switch_ops *ops, void *ctx)
{
	struct dray_switch *s = calloc(1, sizeof *s + n_vols * sizeof s->members[0]);
	if (!s)
		return -ENOMEM;
	s->n = n_vols;
	s->split = split;
	s->deadline_in_ns = deadline_in_ns;
	s->ops = ops;
	s->ctx = ctx;
	s->culprit = -1;
	*sw = s;
	return 0;
}

void dray_switch_free(struct dray_switch *sw)
{
	free(sw);
}

static void done(struct dray_switch *s, enum dray_switch_outcome outcome)
{
	s->phase = SW_DONE;
	s->ops->done(s->ctx, outcome, s->culprit, s->error);
}

/* Everyone goes on where they were. Volumes that refused to prepare, or whose token is void, ignore it. */
static void give_up(struct dray_switch *s)
{
	bool suspended = s->phase != SW_PREPARE;
	for (unsigned i = 0; i < s->n; i++) {
		if (s->members[i].prepared)
			s->ops->abort(s->ctx, i);
	}
	done(s, suspended ? DRAY_SWITCH_ROLLED_BACK : DRAY_SWITCH_REFUSED);
}

static void apply(struct dray_switch *s)
{
	for (unsigned i = 0; i < s->n; i++)
		s->ops->apply(s->ctx, i);
	done(s, DRAY_SWITCH_SWITCHED);
}

static void note(struct dray_switch *s, unsigned vol, int error)
{
	if (error && !s->failed) {
		s->failed = true;
		s->culprit = (int)vol;
		s->error = error;
	}
}

void dray_switch_start(struct dray_switch *s, uint64_t now_ns)
{
	assert(s->phase == SW_NEW);
	s->phase = SW_PREPARE;
	s->pending = s->n;
	for (unsigned i = 0; i < s->n; i++)
		s->ops->prepare(s->ctx, i);
}

void dray_switch_on_prepared(struct dray_switch *s, unsigned vol, int error, uint64_t now_ns)
{
	assert(s->phase == SW_PREPARE && s->pending);
	s->members[vol].prepared = !error;
	note(s, vol, error);
	if (--s->pending)
		return;
	if (s->failed) {
		give_up(s);
		return;
	}
	/* One deadline for all, counted from the first suspend (H10). */
	s->phase = SW_SUSPEND;
	s->pending = s->n;
	for (unsigned i = 0; i < s->n; i++)
		s->ops->suspend(s->ctx, i, now_ns + s->deadline_in_ns);
}

void dray_switch_on_drained(struct dray_switch *s, unsigned vol, int error, uint64_t now_ns)
{
	assert(s->phase == SW_SUSPEND && s->pending);
	note(s, vol, error);
	if (--s->pending)
		return;
	if (s->failed) {
		give_up(s);
		return;
	}
	s->phase = SW_SEAL;
	s->pending = s->n;
	for (unsigned i = 0; i < s->n; i++)
		s->ops->seal(s->ctx, i);
}

void dray_switch_on_sealed(struct dray_switch *s, unsigned vol, int error, uint64_t now_ns)
{
	assert(s->phase == SW_SEAL && s->pending);
	note(s, vol, error);
	if (--s->pending)
		return;
	if (s->failed) {
		/* Nothing was recorded yet: the sealed ones can still go back. */
		give_up(s);
		return;
	}
	if (s->split) {
		apply(s);
		return;
	}
	s->phase = SW_RECORD;
	if (PLANT(H10_RESUME_BEFORE_OUTCOME)) {
		for (unsigned i = 0; i < s->n; i++)
			s->ops->apply(s->ctx, i);
	}
	s->ops->record(s->ctx, true);
}

void dray_switch_on_recorded(struct dray_switch *s, int error, uint64_t now_ns)
{
	assert(s->phase == SW_RECORD || s->phase == SW_SUPERSEDE);
	if (s->phase == SW_RECORD && !error) {
		apply(s);
		return;
	}
	if (s->phase == SW_RECORD) {
		/* The disk may hold the record or not: until one that says "old side" is durable, nobody may leave (H8). */
		s->failed = true;
		s->error = error;
		if (PLANT(H8_NO_SUPERSEDE)) {
			give_up(s);
			return;
		}
		s->phase = SW_SUPERSEDE;
		s->ops->record(s->ctx, false);
		return;
	}
	if (!error) {
		give_up(s);
		return;
	}
	s->phase = SW_WAIT;
	s->ops->backoff(s->ctx);
}

void dray_switch_retry(struct dray_switch *s, uint64_t now_ns)
{
	assert(s->phase == SW_WAIT);
	s->phase = SW_SUPERSEDE;
	s->ops->record(s->ctx, false);
}
