/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A volume's part in a switch (the group's part: switch.c).
 *
 *   NONE -prepare-> PREPARING -all legs flushed-> PREPARED -suspend-> DRAINING -nothing in flight-> FLUSHING
 *        -new primary flushed, recount clean-> DRAINED -seal-> SEALED -apply-> NONE, on the new primary
 *                                                                     -abort-> NONE, on the old one
 *
 * Up to DRAINED the deadline means: resume on the old primary, the token is void, a late decision is refused. From SEALED on a
 * record may be on its way to the disk and can't be called back, so the deadline means DOUBT: requests flow again, but strictly
 * mirrored: whatever the record turns out to say after a crash, both legs have every answered write (H8). In doubt
 *  - a write or flush is answered when both legs have it; one that fails on either is parked until the doubt is over;
 *  - no leg is set aside for being slow;
 *  - nothing is copied, verified or recorded.
 *
 * A forced one (H19) goes to a leg that lacks something, because the primary is dead or dying: it counts as fit if it is there and nothing is unsettled
 * on it, nor can land late: it will serve, and nobody would compare it with anything any more. The dead one's requests come back with
 * errors; while it is drained they are put to those that wait, and begin again where the volume goes on, so that the application sees a
 * pause. A flush that failed is owed to it all the same: what it wrote before may be lost.
 *
 * What can take long is done in PREPARING, with the application running: so the flush under the suspend is short. A failure of the
 * old primary's flush decides nothing (H18).
 */
#include "engine/internal.h"

#include <string.h>

#define OLD_FLUSH_TIMEOUTS 5
#define FORCED_FLUSH_NS    UINT64_C(5000000000) /* most, however long leg_timeout is; requests that wait for a server that is gone have half a minute */

static void drained(struct dray_vol *v, int error)
{
	dray_emit(v, (struct dray_event){ .kind = DRAY_EV_DRAINED, .leg = v->takeover.leg, .error = error, .token = v->takeover.token });
}

static void prepared(struct dray_vol *v, int leg, uint64_t token, int error)
{
	dray_emit(v, (struct dray_event){ .kind = DRAY_EV_PREPARED, .leg = leg, .error = error, .token = token });
}

/* Whether the leg (or, for a split, every leg) is fit to be what it is to become. */
static bool fit(const struct dray_vol *v, int leg_no)
{
	const struct leg *to = leg_no == DRAY_NO_LEG ? NULL : &v->legs[leg_no];
	if (to && v->force)
		/* (While ranges are dropped for another look, the list on disk may be without them, or not yet.) */
		return to->link && leg_active(to) && !to->unsettled && !v->bad.dropping &&
			(!to->link->doubt.nset || to->link->doubt_until_ns <= v->now_ns || PLANT(H19_FORCED_TO_UNSETTLED));
	if (to)
		return dray_leg_ready(v, to);
	bool any = false;
	for (int i = 0; i < DRAY_MAX_LEGS; i++) {
		const struct leg *leg = &v->legs[i];
		if (!leg->link || leg->state == DRAY_LEG_DETACHED || leg->held)
			continue;
		if (!dray_leg_ready(v, leg))
			return false;
		any = true;
	}
	return any;
}

/* What the switch would leave behind has to be accepted (H17). */
static int bad_error(const struct dray_vol *v, int leg_no)
{
	return dray_bad_behind(v, leg_no == DRAY_NO_LEG) > v->bad.accepted && !PLANT(H17_NOT_REFUSED) ? -EUCLEAN : 0;
}

void dray_vol_switch_force(struct dray_vol *v, bool force)
{
	v->force = force;
}

bool dray_takeover_keeps_failed(const struct dray_vol *v)
{
	return v->force && v->takeover.phase == TK_DRAINING && v->takeover.leg != DRAY_NO_LEG && !PLANT(H19_FORCED_ANSWERS_ERRORS);
}

void dray_vol_switch_accept_bad(struct dray_vol *v, uint64_t bytes)
{
	v->bad.accepted = bytes;
}

/*
 * ---- a failed flush of the old primary ----
 *
 * What it dropped had been acknowledged, so the application is owed an error at its next flush. Not if the switch was done meanwhile: the
 * new primary has all of it, flushed, and an error would make a database give up for nothing at the very moment it is saved from a
 * dying disk (H18). That holds for flushes which began with this takeover: then the new primary was equal to the old one before
 * anything was dropped. It does not hold if
 *
 *   - the flush began earlier: a step may have read between the loss and its report,
 *   - a step brought something to the new primary since (a repair, or what was dirty for a moment): it came from the old one,
 *   - the switch was forced: the new primary lacks something anyway.
 */
void dray_takeover_owes(struct dray_vol *v, const struct dray_io *io, int error)
{
	v->flush_owed = error;
	if (io->role != ROLE_TAKEOVER && io->since_ns <= v->takeover.prepare_since_ns)
		v->takeover.owed_stays = true;
}

void dray_takeover_step_writes(struct dray_vol *v, int leg_no)
{
	if (leg_no == v->takeover.leg)
		v->takeover.owed_stays = true;
}

static void lift_owed(struct dray_vol *v, const struct leg *to)
{
	if (!v->force && !v->takeover.owed_stays)
		v->flush_owed = v->takeover.owed_before;
	if (to->flush_poisoned) /* in doubt, and not of this primary until now */
		v->flush_owed = to->last_error;
}

static void send_flush(struct dray_vol *v, int leg_no)
{
	struct dray_io *io = &v->legs[leg_no].takeover_io;
	io->op = DRAY_OP_FLUSH;
	io->flags = 0;
	io->offset = io->length = 0;
	io->data = NULL;
	v->takeover.pending++;
	v->takeover.waiting |= 1u << leg_no;
	dray_io_send(v, io, ROLE_TAKEOVER, v, leg_no);
}

void dray_vol_switch_keep(struct dray_vol *v, bool keep)
{
	v->let_go_old = !keep;
}

void dray_vol_split_keep(struct dray_vol *v, bool keep)
{
	v->split_keep = keep;
}

void dray_vol_switch_prepare(struct dray_vol *v, int leg_no, uint64_t token)
{
	struct takeover *t = &v->takeover;
	int error = 0;
	if (leg_no != DRAY_NO_LEG && (leg_no < 0 || leg_no >= DRAY_MAX_LEGS || !v->legs[leg_no].link))
		error = -ENOENT;
	else if (t->phase != TK_NONE || t->pending)
		error = -EBUSY;
	else if (!fit(v, leg_no) && !(PLANT(H19_UNDO_WITH_DIRTY_LEG) && v->switches))
		error = -EAGAIN;
	else
		error = bad_error(v, leg_no);
	if (error) {
		prepared(v, leg_no, token, error);
		return;
	}
	*t = (struct takeover){ .phase = TK_PREPARING, .leg = leg_no, .token = token, .deadline_ns = DRAY_TIME_NEVER,
		.void_token = t->void_token, .void_leg = t->void_leg };
	t->prepare_since_ns = v->now_ns;
	t->owed_before = v->flush_owed;
	t->owed_stays = leg_no == DRAY_NO_LEG || v->legs[leg_no].n_steps;
	for (int i = 0; i < DRAY_MAX_LEGS; i++) {
		if (PLANT(NEW_PRIMARY_NOT_FLUSHED) && i == leg_no)
			continue;
		if (i == v->primary || (v->legs[i].link && leg_active(&v->legs[i])))
			send_flush(v, i);
	}
}

/* The end of a takeover, on whichever side. */
static void over(struct dray_vol *v)
{
	v->takeover.phase = TK_NONE;
	dray_leg_judge_flushes(v);
}

static void resume(struct dray_vol *v)
{
	if (!v->suspended)
		return;
	uint64_t longest = 0;
	v->suspended = false;
	struct dray_list held;
	dray_list_init(&held);
	struct dray_list *n;
	while ((n = dray_list_pop(&v->held)))
		dray_list_add_tail(&held, n);
	while ((n = dray_list_pop(&held))) {
		struct dray_request *req = dray_container(n, struct dray_request, node);
		longest = max_u64(longest, v->now_ns - req->arrived_ns);
		dray_request_start(v, req);
	}
	dray_emit(v, (struct dray_event){ .kind = DRAY_EV_RESUMED, .leg = v->takeover.leg, .token = v->takeover.token,
		.blackout_ns = longest, .suspended_ns = v->now_ns - v->suspended_ns });
}

void dray_vol_switch_suspend(struct dray_vol *v, uint64_t token, uint64_t deadline_ns)
{
	struct takeover *t = &v->takeover;
	if (t->phase != TK_PREPARED || t->token != token) {
		dray_emit(v, (struct dray_event){ .kind = DRAY_EV_DRAINED, .leg = DRAY_NO_LEG, .error = -ESTALE, .token = token });
		return;
	}
	t->phase = TK_DRAINING;
	t->deadline_ns = deadline_ns;
	v->suspended = true;
	v->suspended_ns = v->now_ns;
	dray_pump(v);
}

static void recount(struct dray_vol *v)
{
	struct takeover *t = &v->takeover;
	if (!t->error && !fit(v, t->leg) && !PLANT(SWITCH_WITHOUT_RECOUNT) && !PLANT(H19_UNDO_WITH_DIRTY_LEG))
		t->error = -EAGAIN;
	if (!t->error)
		t->error = bad_error(v, t->leg);
	t->phase = TK_DRAINED;
	drained(v, t->error);
}

bool dray_takeover_pump(struct dray_vol *v)
{
	struct takeover *t = &v->takeover;
	if (t->phase != TK_DRAINING || v->running)
		return false;
	for (int i = 0; i < DRAY_MAX_LEGS; i++) {
		if (v->legs[i].n_steps)
			return false;
	}
	t->phase = TK_FLUSHING;
	t->error = 0;
	if (t->leg != DRAY_NO_LEG && !PLANT(NEW_PRIMARY_NOT_FLUSHED))
		send_flush(v, t->leg);
	else
		recount(v);
	return true;
}

static void all_flushed(struct dray_vol *v)
{
	struct takeover *t = &v->takeover;
	if (!t->error && !fit(v, t->leg) && !PLANT(H19_UNDO_WITH_DIRTY_LEG) && !PLANT(SWITCH_WITHOUT_RECOUNT))
		t->error = -EAGAIN;
	if (!t->error)
		t->error = bad_error(v, t->leg);
	int error = t->error;
	t->phase = TK_PREPARED;
	if (error)
		over(v);
	prepared(v, t->leg, t->token, error);
}

void dray_takeover_io_done(struct dray_vol *v, struct dray_io *io)
{
	struct takeover *t = &v->takeover;
	if (io->error && (io->leg == t->leg || (PLANT(H18_OLD_LEG_FLUSH_DECIDES) && io->leg == v->primary)))
		t->error = io->error;
	t->pending--;
	if (!(t->waiting >> io->leg & 1))
		return; /* given up on */
	t->waiting &= ~(1u << io->leg);
	if (t->waiting)
		return;
	if (t->phase == TK_PREPARING)
		all_flushed(v);
	else if (t->phase == TK_FLUSHING)
		recount(v);
}

/* Which flushes are not worth the wait any more: a leg that was set aside meanwhile may not answer for ever. If it is the one
 * to take over, this is the answer; if not, it decides nothing. The old primary, which may be what is to be got away from, has
 * a few times leg_timeout, and no more than the others, which have give_up_ns. One that is given up (forced) still has some seconds: a flush
 * that fails in them is owed to the application (H13), which would not hear of one that fails after the switch. Returns when to look again. */
static uint64_t look_at_preparing(struct dray_vol *v)
{
	struct takeover *t = &v->takeover;
	uint64_t most = v->force ? min_u64(FORCED_FLUSH_NS, v->limits.give_up_ns) : v->limits.give_up_ns;
	uint64_t old_until = t->prepare_since_ns + min_u64(OLD_FLUSH_TIMEOUTS * v->limits.leg_timeout_ns, most);
	uint64_t until = t->prepare_since_ns + v->limits.give_up_ns, next = DRAY_TIME_NEVER;
	for (int i = 0; i < DRAY_MAX_LEGS; i++) {
		uint64_t wait_until = i == v->primary ? old_until : until;
		if (!(t->waiting >> i & 1))
			continue;
		bool late = v->now_ns >= wait_until;
		if (!late && (i == v->primary || leg_active(&v->legs[i]))) {
			next = min_u64(next, wait_until);
			continue;
		}
		t->waiting &= ~(1u << i);
		if (late && (i == t->leg || (t->leg == DRAY_NO_LEG && i != v->primary)))
			t->error = -ETIMEDOUT;
	}
	if (t->leg != DRAY_NO_LEG && !leg_active(&v->legs[t->leg]))
		t->waiting = 0;
	if (t->waiting)
		return next;
	all_flushed(v);
	return DRAY_TIME_NEVER;
}

/* The deadline. Returns when it is. */
uint64_t dray_takeover_tick(struct dray_vol *v)
{
	struct takeover *t = &v->takeover;
	if (t->phase == TK_PREPARING)
		return look_at_preparing(v);
	if (!v->suspended || v->now_ns < t->deadline_ns)
		return v->suspended ? t->deadline_ns : DRAY_TIME_NEVER;
	if (t->phase == TK_SEALED) {
		t->phase = TK_DOUBT;
		resume(v);
		dray_emit(v, (struct dray_event){ .kind = DRAY_EV_IN_DOUBT, .leg = t->leg, .token = t->token });
	} else {
		bool told = t->phase == TK_DRAINED;
		t->void_token = t->token;
		t->void_leg = t->leg;
		over(v);
		resume(v);
		if (!told)
			drained(v, -ETIMEDOUT);
	}
	dray_pump(v);
	return DRAY_TIME_NEVER;
}

int dray_vol_switch_seal(struct dray_vol *v, uint64_t token)
{
	struct takeover *t = &v->takeover;
	dray_takeover_tick(v);
	if (PLANT(LATE_TOKEN_ACCEPTED) && t->phase == TK_NONE && t->void_token == token && v->legs[t->void_leg < 0 ? 0 : t->void_leg].link) {
		t->phase = TK_SEALED;
		t->token = token;
		t->leg = t->void_leg;
		return 0;
	}
	if (t->phase != TK_DRAINED || t->token != token || t->error)
		return -ESTALE;
	t->phase = TK_SEALED;
	return 0;
}

/* The old primary takes the place of the leg that took over: the link between the two is the same, equality has no direction. */
static void exchange(struct dray_vol *v, int leg_no)
{
	struct leg *from = primary_leg(v), *to = &v->legs[leg_no];
	lift_owed(v, to);
	/* A verification was of one against the other in one direction; what it would say now is not what was asked for. */
	if (to->link->verifying) {
		to->link->verifying = false;
		dray_emit(v, (struct dray_event){ .kind = DRAY_EV_VERIFIED, .leg = leg_no, .leg_state = to->state, .error = -ECANCELED });
	}
	from->link = to->link;
	to->link = NULL;
	v->links ^= 1u << v->primary | 1u << leg_no;
	from->config.durable = to->config.durable;
	memcpy(from->config.map_id, to->config.map_id, sizeof from->config.map_id);
	from->config.copy_role = false;
	from->paused = from->held = from->set_aside = false;
	from->failing_since_ns = from->backoff_ns = 0;
	from->state = DRAY_LEG_MIRROR;
	for (uint64_t r = 0; PLANT(H19_FORCED_CALLED_EQUAL) && v->force && r < v->n_regions; r++)
		dray_bitmap_set(&from->link->clean, r);
	to->state = DRAY_LEG_PRIMARY;
	dray_bitmap_clear_all(&from->known_zero);
	dray_bitmap_clear_all(&to->known_zero);
	v->primary = leg_no;
	v->switches++;
	dray_probe_reset(v);
	dray_bad_again_off(v);
}

/* Nothing is in flight, and requests that were held find it set aside: from here on it is the image of this instant, and what is written
 * makes it dirty (H12, H21). */
static void keep_image(const struct dray_vol *v, struct leg *leg)
{
	leg->held = leg->set_aside = leg->paused = true;
	leg->settled_told = false;
	if (!leg_active(leg))
		return;
	leg->state = DRAY_LEG_DEGRADED;
	leg->degraded_since_ns = v->now_ns;
}

int dray_vol_switch_apply(struct dray_vol *v, uint64_t token)
{
	struct takeover *t = &v->takeover;
	bool split = t->leg == DRAY_NO_LEG, keep = split || !v->let_go_old;
	/* A split has no record: it may be applied from DRAINED. */
	if (t->token != token || (t->phase != TK_SEALED && t->phase != TK_DOUBT && !(split && t->phase == TK_DRAINED && !t->error)))
		return -ESTALE;
	if (split && v->suspended && v->now_ns >= t->deadline_ns && t->phase == TK_DRAINED) {
		dray_takeover_tick(v);
		return -ESTALE;
	}
	int old = v->primary;
	if (!split)
		exchange(v, t->leg);
	/* Images of this instant: the copies of a switch, the old primary if it is not to be the way back, all of a split (H21, H22). */
	bool detached[DRAY_MAX_LEGS] = { false }, kept[DRAY_MAX_LEGS] = { false };
	/* The deadline came between the record and this: the volumes went on, each at a moment of its own. */
	bool late = split && t->phase == TK_DOUBT;
	for (int i = 0; i < DRAY_MAX_LEGS; i++) {
		struct leg *leg = &v->legs[i];
		if (!leg->link || (i == old && keep) || i == v->primary || leg->state == DRAY_LEG_DETACHED)
			continue;
		if (split && leg->held)
			continue;
		leg->image_error = late ? -ETIMEDOUT : dray_leg_ready(v, leg) && !leg->flush_poisoned ? 0 : -EAGAIN;
		if (split && v->split_keep) {
			if (PLANT(H21_KEPT_STILL_WRITTEN))
				leg->paused = true;
			else
				keep_image(v, leg);
			kept[i] = true;
			continue;
		}
		leg->state = DRAY_LEG_DETACHED;
		detached[i] = true;
	}
	over(v);
	resume(v);
	if (!split) {
		if (keep)
			v->legs[old].link->was_synced = dray_leg_ready(v, &v->legs[old]);
		if (keep && v->legs[old].state == DRAY_LEG_MIRROR && v->legs[old].link->clean.nset < v->n_regions)
			v->legs[old].state = DRAY_LEG_COPYING; /* forced */
		dray_emit(v, (struct dray_event){ .kind = DRAY_EV_LEG_STATE, .leg = v->primary, .leg_state = DRAY_LEG_PRIMARY });
		if (keep)
			dray_emit(v, (struct dray_event){ .kind = DRAY_EV_LEG_STATE, .leg = old, .leg_state = v->legs[old].state });
	}
	for (int i = 0; i < DRAY_MAX_LEGS; i++) {
		if (kept[i]) {
			dray_leg_review(v, i, 0, "set aside");
			dray_emit(v, (struct dray_event){ .kind = DRAY_EV_LEG_STATE, .leg = i, .leg_state = v->legs[i].state, .why = "set aside" });
			dray_leg_io_settled(v, i);
		}
		if (detached[i]) {
			dray_request_abandon_leg(v, i);
			dray_leg_io_settled(v, i);
		}
	}
	dray_pump(v);
	return 0;
}

int dray_vol_switch_abort(struct dray_vol *v, uint64_t token)
{
	struct takeover *t = &v->takeover;
	if (t->phase == TK_NONE || t->token != token)
		return -ESTALE;
	/* A flush may still be under way; the next prepare waits for it (t->pending). */
	over(v);
	resume(v);
	dray_pump(v);
	return 0;
}
