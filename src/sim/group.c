/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * dray_switch lives on one thread, each volume on its own: what they tell each other arrives in order per pair, after a
 * delay that may be longer than any deadline. The rules of a switch are checked here, at the moments they speak of:
 *
 *   seal     a token whose volume has resumed by itself is refused
 *   drained  "ready" means: the new primary holds what may be read now, and durably what may not be lost
 *   apply    the record is durable, and the new primary still (in doubt: again) holds all that
 *   abort    no crash can find the new side any more
 *   resumed  on the leg that is primary by the host's books
 *   done     all switched, or none
 */
#include "sim/group.h"

#include "sim/check.h"
#include "sim/cover.h"
#include "sim/disk.h"
#include "sim/host.h"
#include "sim/meta.h"
#include "sim/oracle.h"
#include "sim/sched.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

enum message {
	TO_PREPARE,
	TO_SUSPEND,
	TO_SEAL,
	TO_APPLY,
	TO_ABORT,
	FROM_PREPARED,
	FROM_DRAINED,
	FROM_SEALED,
	FROM_RECORDED,
	FROM_RETRY,
};

struct letter {
	struct sim_group *g;
	enum message what;
	unsigned i;
	int error;
	uint64_t deadline;
};

static void on_letter(struct sim *s, void *arg, uint32_t gen);

static void post(struct sim_group *g, enum message what, unsigned i, int error, uint64_t deadline)
{
	struct sim *s = g->s;
	struct letter *l = sim_alloc(s, sizeof *l);
	*l = (struct letter){ g, what, i, error, deadline };
	uint64_t t = rng_range(&s->rng, 2 * US, 100 * US);
	if (s->mix.slow_messages && rng_one_in(&s->rng, 6))
		t += rng_below(&s->rng, 40 * MS);
	if (what == FROM_RETRY)
		t += rng_range(&s->rng, MS, 20 * MS);
	uint64_t at = s->now + t, *last = what < FROM_PREPARED ? &g->last_to[i] : &g->last_from[i];
	if (at <= *last)
		at = *last + 1;
	*last = at;
	g->pending++;
	sched_at(s, at, true, on_letter, l, 0);
}

static unsigned member(const struct sim_group *g, const struct sim_vol *v)
{
	for (unsigned i = 0; i < g->n; i++)
		if (g->vols[i] == v)
			return i;
	return 0;
}

/* ---- what dray_switch asks of the host ---- */

static void op_prepare(void *ctx, unsigned vol)
{
	post(ctx, TO_PREPARE, vol, 0, 0);
}

static void op_suspend(void *ctx, unsigned vol, uint64_t deadline_ns)
{
	post(ctx, TO_SUSPEND, vol, 0, deadline_ns);
}

static void op_seal(void *ctx, unsigned vol)
{
	post(ctx, TO_SEAL, vol, 0, 0);
}

static void op_apply(void *ctx, unsigned vol)
{
	post(ctx, TO_APPLY, vol, 0, 0);
}

static void op_abort(void *ctx, unsigned vol)
{
	post(ctx, TO_ABORT, vol, 0, 0);
}

static void recorded(struct sim *s, int error)
{
	if (s->group)
		post(s->group, FROM_RECORDED, 0, error, 0);
}

static void op_record(void *ctx, bool to_new)
{
	struct sim_group *g = ctx;
	struct sim *s = g->s;
	struct sim_slot slot = { 0 };
	if (g->split)
		sim_fail(s, "split-record", "a split asks for a record");
	for (unsigned i = 0; i < s->n_vols; i++)
		slot.primary[i] = s->vols[i]->primary->no;
	if (to_new)
		for (unsigned i = 0; i < g->n; i++) {
			struct sim_vol *v = g->vols[i];
			slot.primary[v->no] = g->target[i]->no;
			slot.forget[v->no] = v->members & ~(1u << v->primary->no) & ~(1u << g->target[i]->no);
		}
	g->recording = true;
	record_write(s, &slot, to_new, recorded);
}

static void op_backoff(void *ctx)
{
	post(ctx, FROM_RETRY, 0, 0, 0);
}

static void op_done(void *ctx, enum dray_switch_outcome outcome, int culprit, int error)
{
	struct sim_group *g = ctx;
	struct sim *s = g->s;
	sim_trace(s, "switch done: outcome %d culprit %d error %d", outcome, culprit, error);
	if (g->done)
		sim_fail(s, "switch-done", "a switch ended twice");
	g->done = true;
	g->outcome = outcome;
	if (outcome == DRAY_SWITCH_ROLLED_BACK)
		sim_cover(s, COVER_ROLLED_BACK);
	if (outcome == DRAY_SWITCH_SWITCHED && error)
		sim_fail(s, "switch-done", "a switch that was done says error %d", error);
	if (outcome != DRAY_SWITCH_SWITCHED && !error)
		sim_fail(s, "switch-done", "a switch that was not done gives no reason");
}

static const struct dray_switch_ops ops = {
	.prepare = op_prepare,
	.suspend = op_suspend,
	.seal = op_seal,
	.record = op_record,
	.apply = op_apply,
	.abort = op_abort,
	.done = op_done,
	.backoff = op_backoff,
};

void group_start(struct sim *s, struct sim_vol **vols, struct sim_disk **targets, unsigned n, bool split, uint64_t deadline_in)
{
	struct sim_group *g = sim_alloc(s, sizeof *g);
	g->s = s;
	g->n = n;
	g->split = split;
	g->keep = split && (s->next_token & 1); /* half of them */
	g->deadline_in = deadline_in;
	g->started_ns = s->now;
	for (unsigned i = 0; i < n; i++) {
		g->vols[i] = vols[i];
		g->target[i] = split ? NULL : targets[i];
		vols[i]->group = g;
		vols[i]->token = ++s->next_token;
		vols[i]->token_void = vols[i]->sealed = vols[i]->drained = false;
		vols[i]->next_primary = g->target[i];
		vols[i]->accept_bad = rng_one_in(&s->rng, 2);
		vols[i]->suspend_errors_old = vols[i]->primary->errors;
		vols[i]->suspend_errors_new = split ? 0 : targets[i]->errors;
	}
	s->group = g;
	if (dray_switch_new(&g->sw, n, split, deadline_in, &ops, g))
		sim_fail(s, "sim", "out of memory");
	sim_trace(s, "%s of %u volume(s), deadline %" PRIu64 " us", split ? "split" : "switch", n, deadline_in / US);
	dray_switch_start(g->sw, s->now);
}

/* ---- at the volume ---- */

static int target_leg(struct sim_group *g, unsigned i)
{
	if (g->split)
		return DRAY_NO_LEG;
	struct sim_leg *leg = vol_leg_of(g->vols[i], g->target[i]);
	return leg ? leg_index(g->vols[i], leg) : DRAY_MAX_LEGS - 1;
}

static void seal(struct sim_group *g, unsigned i)
{
	struct sim_vol *v = g->vols[i];
	vol_enter(v);
	int rc = dray_vol_switch_seal(v->eng, v->token);
	sim_trace(g->s, "volume %u: seal -> %d", v->no, rc);
	if (rc == 0 && v->token_void)
		sim_fail(g->s, "late-token", "volume %u: the seal was accepted after the volume had resumed by itself", v->no);
	v->sealed = rc == 0;
	vol_leave(v);
	post(g, FROM_SEALED, i, rc, 0);
}

/* The images that a switch or a split leaves behind: whether they are right at this instant is held against what LEG_DETACHED
 * says of them. */
static void note_images(struct sim_group *g, struct sim_vol *v)
{
	for (int l = 0; l < DRAY_MAX_LEGS; l++) {
		struct sim_leg *leg = &v->legs[l];
		if (!leg->used || leg->detaching || leg->disk == v->primary || leg->disk == v->next_primary)
			continue;
		struct dray_leg_info info;
		if (dray_vol_leg_info(v->eng, l, &info) || (g->split && info.held))
			continue; /* a split leaves alone what was held */
		leg->bad_image = check_image(v, leg->disk);
		if (g->keep) {
			leg->kept = leg->held = leg->paused = true;
			sim_cover(v->s, COVER_H21_KEPT);
			continue;
		}
		leg->is_image = true;
		v->members &= ~(1u << leg->disk->no);
		leg->detaching = true;
	}
}

/* What a forced switch loses, as the host tells it: the oracle expects what is there instead. */
static void give_up(struct sim_vol *v)
{
	bool any = false;
	for (unsigned b = 0; b < v->n_blocks; b++) {
		bool elsewhere;
		if (!check_given_up(v, v->next_primary, b))
			continue;
		any = true;
		/* What is bad can't be read afterwards, and on the old primary, which alone may have it, it is what it was. */
		if (!check_bad(v, b, &elsewhere) || elsewhere)
			oracle_given_up(v, b, v->next_primary->cache[b], v->next_primary->durable[b]);
	}
	if (any)
		sim_cover(v->s, COVER_H19_FORCED);
	v->force = false;
}

/* What a split that keeps its legs says of them. */
static void check_kept(struct sim_vol *v)
{
	for (int l = 0; l < DRAY_MAX_LEGS; l++) {
		struct dray_leg_info info;
		if (!v->legs[l].used || !v->legs[l].kept || dray_vol_leg_info(v->eng, l, &info))
			continue;
		if (!info.image_error && v->legs[l].bad_image >= 0)
			sim_fail(v->s, "image-content", "volume %u: disk %u is kept as an image of the split, and its block %d is not of that instant; its history by now: %s",
				v->no, v->legs[l].disk->no, v->legs[l].bad_image, oracle_history(v, (unsigned)v->legs[l].bad_image));
	}
}

static void apply(struct sim_group *g, unsigned i)
{
	struct sim *s = g->s;
	struct sim_vol *v = g->vols[i];
	if (!g->split && !record_is_new(s))
		sim_fail(s, "apply-before-record", "volume %u: apply before the record of the new primary is durable", v->no);
	unsigned others = (unsigned)__builtin_popcount(v->members);
	vol_enter(v);
	note_images(g, v);
	if (!g->split)
		check_takeover(v, v->next_primary, true, "the new primary at the switch");
	for (unsigned b = 0; !g->split && b < v->n_blocks; b++) {
		bool lost;
		if (dray_vol_bad_at(v->eng, (uint64_t)b * v->block_bytes, &lost) && !lost) {
			sim_cover(s, COVER_H17_LEFT_BEHIND);
			break;
		}
	}
	give_up(v);
	/* The host's books change with the engine's: a map operation from inside the call is about the new pair. */
	struct sim_disk *old = v->primary;
	if (!g->split)
		vol_exchange(v, v->next_primary);
	v->doubt = v->judgement_open = false;
	int rc = dray_vol_switch_apply(v->eng, v->token);
	sim_trace(s, "volume %u: apply -> %d", v->no, rc);
	if (rc)
		sim_fail(s, "apply-refused", "volume %u: the record is durable, and apply gave %d", v->no, rc);
	if (!g->split) {
		if (others > 2)
			sim_cover(s, COVER_H22_SWITCH_ONE_OF_MANY);
		if (v->undo_to == v->primary)
			sim_cover(s, COVER_H19_UNDONE);
		v->undo_to = old;
	} else {
		sim_cover(s, COVER_SPLIT_DONE);
		if (g->keep)
			check_kept(v);
	}
	for (int l = 0; l < DRAY_MAX_LEGS; l++)
		v->legs[l].excuse = true;
	v->doubt = v->sealed = false;
	g->applied++;
	vol_leave(v);
}

static void do_abort(struct sim_group *g, unsigned i)
{
	struct sim *s = g->s;
	struct sim_vol *v = g->vols[i];
	if (!g->split && record_may_be_new(s))
		sim_fail(s, "abort-not-superseded",
			"volume %u: goes on on the old side while a crash could still find the record of the new one", v->no);
	if (g->applied)
		sim_fail(s, "half-a-group", "volume %u is to go back while another of its group has switched", v->no);
	vol_enter(v);
	if (v->judgement_open || v->doubt) /* what failed meanwhile is judged now */
		check_excuse_all(v);
	v->doubt = v->judgement_open = false;
	int rc = dray_vol_switch_abort(v->eng, v->token);
	sim_trace(s, "volume %u: abort -> %d", v->no, rc);
	if (rc && rc != -ESTALE)
		sim_fail(s, "abort-refused", "volume %u: abort gave %d", v->no, rc);
	v->doubt = v->sealed = false;
	v->token_void = true;
	g->aborted++;
	vol_leave(v);
	struct dray_vol_info info;
	dray_vol_info(v->eng, &info);
	if (info.suspended)
		sim_fail(s, "abort-leaves-suspended", "volume %u: still suspended after the abort", v->no);
	v->suspended = false;
}

static void to_volume(struct sim_group *g, const struct letter *l)
{
	struct sim *s = g->s;
	struct sim_vol *v = g->vols[l->i];
	switch (l->what) {
	case TO_PREPARE:
		vol_enter(v);
		dray_vol_split_keep(v->eng, g->keep);
		dray_vol_switch_accept_bad(v->eng, v->accept_bad ? UINT64_MAX : 0);
		dray_vol_switch_force(v->eng, v->force);
		dray_vol_switch_prepare(v->eng, target_leg(g, l->i), v->token);
		vol_leave(v);
		break;
	case TO_SUSPEND:
		vol_enter(v);
		v->suspended = true;
		v->suspended_at = s->now;
		v->deadline = l->deadline;
		dray_vol_switch_suspend(v->eng, v->token, l->deadline);
		vol_leave(v);
		break;
	case TO_SEAL: seal(g, l->i); break;
	case TO_APPLY: apply(g, l->i); break;
	default: do_abort(g, l->i); break;
	}
}

static void finish(struct sim_group *g)
{
	struct sim *s = g->s;
	if (g->outcome == DRAY_SWITCH_SWITCHED ? g->applied != g->n : g->applied != 0)
		sim_fail(s, "half-a-group", "outcome %d with %u of %u volumes switched", g->outcome, g->applied, g->n);
	if (g->outcome == DRAY_SWITCH_SWITCHED && g->n > 1 && !g->split)
		sim_cover(s, COVER_H10_GROUP_SWITCHED);
	for (unsigned i = 0; i < g->n; i++) {
		struct sim_vol *v = g->vols[i];
		v->group = NULL;
		v->next_primary = NULL;
		v->old_token = v->token;
		v->sealed = v->doubt = v->drained = v->judgement_open = v->force = false;
	}
	dray_switch_free(g->sw);
	g->sw = NULL;
	s->group = NULL;
	record_normalise(s);
}

static void on_letter(struct sim *s, void *arg, uint32_t gen)
{
	struct letter *l = arg;
	struct sim_group *g = l->g;
	if (s->group != g)
		return;
	g->pending--;
	if (l->what < FROM_PREPARED)
		to_volume(g, l);
	else if (!g->done)
		switch (l->what) {
		case FROM_PREPARED: dray_switch_on_prepared(g->sw, l->i, l->error, s->now); break;
		case FROM_DRAINED: dray_switch_on_drained(g->sw, l->i, l->error, s->now); break;
		case FROM_SEALED: dray_switch_on_sealed(g->sw, l->i, l->error, s->now); break;
		case FROM_RECORDED:
			g->recording = false;
			if (s->now > g->vols[0]->deadline)
				sim_cover(s, COVER_H8_RECORD_HUNG);
			dray_switch_on_recorded(g->sw, l->error, s->now);
			break;
		default: dray_switch_retry(g->sw, s->now); break;
		}
	if (g->done && g->pending == 0)
		finish(g);
}

/* H18: only the new primary's storage may stand in the way; the old one may be dying. */
static void check_reason(struct sim_group *g, struct sim_vol *v, const struct dray_event *ev)
{
	if (ev->error == -EIO && !g->split && v->next_primary->errors == v->suspend_errors_new)
		sim_fail(g->s, "old-leg-decides",
			"volume %u: the switch failed with an I/O error, and the new primary had none: the old leg's error decided", v->no);
}

void group_event(struct sim_vol *v, const struct dray_event *ev)
{
	struct sim *s = v->s;
	struct sim_group *g = v->group;
	unsigned i = g ? member(g, v) : 0;
	if (v->judgement_open) /* it may have been judged just now */
		check_excuse_all(v);
	if (ev->kind == DRAY_EV_RESUMED) {
		const struct sim_leg *leg = ev->primary >= 0 && ev->primary < DRAY_MAX_LEGS ? &v->legs[ev->primary] : NULL;
		if (!leg || !leg->used || leg->disk != v->primary)
			sim_fail(s, "resumed-on-wrong-leg", "volume %u: resumed on leg %d; the primary is disk %u", v->no, ev->primary,
				v->primary->no);
		if (g && v->suspended && s->now >= v->deadline && !v->sealed)
			sim_cover(s, COVER_DEADLINE_PASSED);
		v->suspended = false;
		v->token_void = true;
		return;
	}
	if (!g || ev->token != v->token)
		sim_fail(s, "wrong-token", "volume %u: an answer for token %" PRIu64 ", which is not under way", v->no, ev->token);
	switch (ev->kind) {
	case DRAY_EV_PREPARED:
		check_reason(g, v, ev);
		if (ev->error == -EUCLEAN)
			sim_cover(s, COVER_H17_REFUSED);
		post(g, FROM_PREPARED, i, ev->error, 0);
		break;
	case DRAY_EV_DRAINED:
		if (ev->error)
			check_reason(g, v, ev);
		else
			check_drained(v);
		v->drained = !ev->error;
		post(g, FROM_DRAINED, i, ev->error, 0);
		break;
	default: /* IN_DOUBT */
		if (!v->sealed)
			sim_fail(s, "in-doubt", "volume %u: in doubt without a seal", v->no);
		sim_cover(s, COVER_H8_IN_DOUBT);
		v->suspended = false;
		v->doubt = true;
		break;
	}
}

void group_crash(struct sim *s)
{
	struct sim_group *g = s->group;
	if (!g)
		return;
	if (g->n > 1 && (g->recording || g->applied))
		sim_cover(s, COVER_H10_CRASH_IN_GROUP);
	dray_switch_free(g->sw);
	for (unsigned i = 0; i < g->n; i++)
		g->vols[i]->group = NULL;
	s->group = NULL;
}
