/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The operator looks at one volume every few milliseconds and does one thing that is possible there, or tries one that is not.
 * What is likely depends on the seed's mixture (struct sim_mix), so a seed without crashes gets far into switches and undos,
 * and one with crashes sees them in every state.
 */
#include "sim/verbs.h"

#include "sim/app.h"
#include "sim/check.h"
#include "sim/cover.h"
#include "sim/crash.h"
#include "sim/disk.h"
#include "sim/group.h"
#include "sim/host.h"
#include "sim/oracle.h"
#include "sim/sched.h"

#include <errno.h>
#include <string.h>

static bool chance(struct sim *s, unsigned percent)
{
	return rng_below(&s->rng, 100) < percent;
}

static struct sim_vol *any_volume(struct sim *s)
{
	return s->vols[rng_below(&s->rng, s->n_vols)];
}

static struct sim_leg *any_leg(struct sim_vol *v)
{
	struct sim_leg *found[DRAY_MAX_LEGS];
	unsigned n = 0;
	for (int i = 0; i < DRAY_MAX_LEGS; i++)
		if (v->legs[i].used && !v->legs[i].detaching && v->legs[i].disk != v->primary)
			found[n++] = &v->legs[i];
	return n ? found[rng_below(&v->s->rng, n)] : NULL;
}

static void info_of(struct sim_vol *v, const struct sim_leg *leg, struct dray_leg_info *info)
{
	if (dray_vol_leg_info(v->eng, leg_index(v, leg), info))
		sim_fail(v->s, "leg-info", "volume %u: no figures of leg %d, which is attached", v->no, leg_index(v, leg));
}

/* ---- verbs ---- */

void verbs_limits(struct sim_vol *v, bool plain)
{
	struct rng *g = &v->s->rng;
	struct dray_copy_limits l = {
		.step_bytes = UINT64_C(16384) << rng_below(g, 3),
		.steps = (unsigned)rng_range(g, 1, 6),
		.leg_timeout_ns = v->leg_timeout_ns,
		.give_up_ns = 500 * MS,
	};
	if (!plain && rng_one_in(g, 4))
		l.rate = rng_one_in(g, 4) ? DRAY_RATE_STOP : rng_range(g, 1 << 20, 64 << 20);
	if (!plain && rng_one_in(g, 4))
		l.in_flight_bytes = l.step_bytes * rng_range(g, 1, 3);
	vol_enter(v);
	int rc = dray_vol_set_limits(v->eng, &l);
	if (rc)
		sim_fail(v->s, "limits", "volume %u: good limits were refused: %d", v->no, rc);
	vol_leave(v);
}

static void attach(struct sim_vol *v)
{
	struct sim *s = v->s;
	struct sim_disk *d = v->disks[rng_below(&s->rng, v->n_disks)];
	if ((v->members >> d->no & 1) || vol_leg_of(v, d) || d->orphans || d->late || d->in_flight)
		return;
	/* The host does not let a second pair of legs grow where a switch is under way. */
	map_format(v->maps[v->primary->no][d->no]);
	v->copy_roles &= ~(1u << d->no);
	v->unmapped &= ~(1u << d->no);
	d->leg_id = ++v->next_leg_id;
	if (s->mix.unmapped && chance(s, 50))
		v->unmapped |= 1u << d->no;
	if (__builtin_popcount(v->members) > 1 && chance(s, 60))
		v->copy_roles |= 1u << d->no;
	int rc = vol_attach(v, d, NULL, s->mix.pauses && chance(s, 10), s->mix.aside && chance(s, 5));
	if (rc < 0 && rc != -EBUSY)
		sim_fail(s, "attach", "volume %u: attach of disk %u gave %d", v->no, d->no, rc);
	if (rc >= 0)
		d->known_zero = false;
}

static void set_paused(struct sim_vol *v, struct sim_leg *leg, bool paused)
{
	leg->paused = paused;
	vol_enter(v);
	int rc = dray_vol_leg_pause(v->eng, leg_index(v, leg), leg->paused);
	sim_trace(v->s, "volume %u: leg %d %s -> %d", v->no, leg_index(v, leg), leg->paused ? "paused" : "resumed", rc);
	if (rc)
		sim_fail(v->s, "pause", "volume %u: pause of leg %d gave %d", v->no, leg_index(v, leg), rc);
	vol_leave(v);
}

static void pause_or_resume(struct sim_vol *v, struct sim_leg *leg)
{
	set_paused(v, leg, leg->paused ? false : chance(v->s, 40));
}

static void set_aside(struct sim_vol *v, struct sim_leg *leg)
{
	vol_enter(v);
	int rc = dray_vol_leg_set_aside(v->eng, leg_index(v, leg));
	sim_trace(v->s, "volume %u: leg %d set aside -> %d", v->no, leg_index(v, leg), rc);
	if (rc == 0)
		leg->held = true;
	else if (rc != -EBUSY)
		sim_fail(v->s, "set-aside", "volume %u: setting leg %d aside gave %d", v->no, leg_index(v, leg), rc);
	vol_leave(v);
}

static void retry(struct sim_vol *v, struct sim_leg *leg)
{
	check_excuse_all(v);
	vol_enter(v);
	leg->kept = false; /* from inside the call on it is written */
	int rc = dray_vol_leg_retry(v->eng, leg_index(v, leg));
	sim_trace(v->s, "volume %u: leg %d retried -> %d", v->no, leg_index(v, leg), rc);
	if (rc && rc != -EBUSY)
		sim_fail(v->s, "retry", "volume %u: retry of leg %d gave %d", v->no, leg_index(v, leg), rc);
	leg->held = false;
	vol_leave(v);
}

static void fail_leg(struct sim_vol *v, struct sim_leg *leg)
{
	check_excuse_all(v);
	vol_enter(v);
	int rc = dray_vol_leg_fail(v->eng, leg_index(v, leg), -ENODEV);
	sim_trace(v->s, "volume %u: leg %d found dead -> %d", v->no, leg_index(v, leg), rc);
	if (rc && rc != -EBUSY)
		sim_fail(v->s, "fail", "volume %u: failing leg %d gave %d", v->no, leg_index(v, leg), rc);
	vol_leave(v);
}

static void set_role(struct sim_vol *v, struct sim_leg *leg, bool copy)
{
	vol_enter(v);
	if (dray_vol_leg_set_role(v->eng, leg_index(v, leg), copy))
		sim_fail(v->s, "set-role", "volume %u: the role of leg %d can't be set", v->no, leg_index(v, leg));
	leg->copy_role = copy;
	v->copy_roles = (v->copy_roles & ~(1u << leg->disk->no)) | (uint32_t)copy << leg->disk->no;
	vol_leave(v);
}

/* A block of a clean leg changes behind everybody's back. */
static void corrupt(struct sim_vol *v, struct sim_leg *leg)
{
	struct sim *s = v->s;
	unsigned b = (unsigned)rng_below(&s->rng, v->n_blocks), region = b / v->region_blocks;
	/* Reads that the primary can't serve may come from the leg: then the application would see it. */
	if (s->mix.errors || s->mix.latent || s->mix.net_source || s->group || leg->disk->dirty[b] || dray_vol_leg_region(v->eng, leg_index(v, leg), region) < DRAY_REGION_CLEAN ||
		app_writing(v, region * v->region_blocks, v->region_blocks))
		return;
	v->corrupt = leg->disk;
	v->was_corrupt = leg->disk;
	v->corrupt_block = b;
	v->corrupt_stamp = stamp_make(99, b, s->next_gen++);
	/* In the cache only: a repair would have to be flushed before the leg is right whatever happens, and the region is recorded clean. */
	leg->disk->cache[b] = v->corrupt_stamp;
	sim_trace(s, "volume %u: block %u of disk %u corrupted", v->no, b, leg->disk->no);
}

static void verify(struct sim_vol *v, struct sim_leg *leg, bool all, bool repair)
{
	if (leg->verifying)
		return;
	vol_enter(v);
	leg->verifying = true; /* VERIFIED may come at once */
	leg->verify_all = all;
	leg->verify_repair = repair;
	leg->verify_excused = v->judgement_open || disk_dropped(leg->disk);
	int rc = dray_vol_verify(v->eng, leg_index(v, leg), all ? 1 : (unsigned)rng_range(&v->s->rng, 2, 4), repair);
	sim_trace(v->s, "volume %u: verify leg %d%s -> %d", v->no, leg_index(v, leg), repair ? " with repair" : "", rc);
	if (rc) {
		leg->verifying = false;
		if (rc != -EAGAIN && rc != -EBUSY)
			sim_fail(v->s, "verify", "volume %u: verify of leg %d gave %d", v->no, leg_index(v, leg), rc);
	}
	vol_leave(v);
}

static struct sim_leg *switch_target(struct sim_vol *v)
{
	struct sim_leg *leg = any_leg(v);
	if (!leg || v->corrupt)
		return NULL;
	struct dray_leg_info info;
	info_of(v, leg, &info);
	if (info.synced)
		return leg;
	if (!chance(v->s, 6))
		return NULL;
	if (info.dirty_bytes)
		sim_cover(v->s, COVER_H19_SWITCH_TO_DIRTY);
	return leg;
}

/* A forced switch leaves a primary behind, whatever the leg lacks. */
static struct sim_leg *forced_target(struct sim_vol *v)
{
	struct sim_leg *leg = any_leg(v);
	if (!leg || v->corrupt)
		return NULL;
	struct dray_leg_info info;
	info_of(v, leg, &info);
	return info.state == DRAY_LEG_MIRROR || info.state == DRAY_LEG_COPYING || chance(v->s, 6) ? leg : NULL;
}

static void change_over(struct sim *s, struct sim_vol *v, bool split, bool force)
{
	static const uint64_t deadlines[] = { 1 * MS, 3 * MS, 10 * MS, 40 * MS, 200 * MS };
	struct sim_vol *vols[SIM_VOLS];
	struct sim_disk *targets[SIM_VOLS];
	unsigned n = 0;
	bool all = chance(s, 60);
	force &= !split;
	for (unsigned i = 0; i < s->n_vols; i++) {
		if (s->vols[i] != v && !all)
			continue;
		struct sim_leg *leg = force ? forced_target(s->vols[i]) : switch_target(s->vols[i]);
		if (!leg && s->vols[i] == v)
			return;
		if (!leg)
			continue;
		s->vols[i]->force = force;
		vols[n] = s->vols[i];
		targets[n++] = leg->disk;
	}
	if (n)
		group_start(s, vols, targets, n, split, deadlines[rng_below(&s->rng, 5)] + rng_below(&s->rng, MS));
}

/* A decision that comes too late is refused, whatever it was. */
static void late_token(struct sim_vol *v)
{
	struct sim *s = v->s;
	if (!v->old_token || v->group)
		return;
	sim_cover(s, COVER_TOKEN_LATE);
	vol_enter(v);
	int rc;
	switch (rng_below(&s->rng, 3)) {
	case 0: rc = dray_vol_switch_apply(v->eng, v->old_token); break;
	case 1: rc = dray_vol_switch_seal(v->eng, v->old_token); break;
	default: rc = dray_vol_switch_abort(v->eng, v->old_token); break;
	}
	if (rc != -ESTALE)
		sim_fail(s, "late-token", "volume %u: a token of a switch that is over was accepted (%d)", v->no, rc);
	vol_leave(v);
}

/* In need, or when it is the most delicate: while old writes may still land on the leg, or have landed and were not looked for yet, for which
 * the leg is kept from looking. Returns whether anything was done. */
static bool forced(struct sim_vol *v, struct sim_leg *leg, const struct dray_leg_info *info)
{
	struct sim *s = v->s;
	bool dead = v->primary->dead_until > s->now;
	/* Sooner than by itself: what was sent to it before may land after that, and after the switch. */
	if (leg->disk->late && info->state == DRAY_LEG_DEGRADED && chance(s, 50)) {
		retry(v, leg);
		if (!s->group)
			change_over(s, v, false, true);
		return true;
	}
	if (info->doubt_bytes && !info->dirty_bytes && !leg->paused && chance(s, 60)) {
		set_paused(v, leg, true);
		return true;
	}
	if (s->group || !(dead || info->doubt_bytes) || !chance(s, dead ? 50 : 40))
		return info->doubt_bytes && leg->paused && chance(s, 80);
	change_over(s, v, false, true);
	return true;
}

/* A corruption that was planted for a verification would look like the crash's doing. */
static bool corrupted(const struct sim *s)
{
	for (unsigned i = 0; i < s->n_vols; i++)
		if (s->vols[i]->corrupt)
			return true;
	return false;
}

static void on_power(struct sim *s, void *arg, uint32_t gen)
{
	if (!s->calm && !s->down && !corrupted(s))
		crash_now(s, true);
}

/* A retry takes ranges off the list of bad ones: the moments until the disk says so, too, are made longer, and the power fails in them. */
static void look_while_listed(struct sim_vol *v, uint64_t bad_bytes)
{
	struct sim *s = v->s;
	if (!bad_bytes || !chance(s, 50))
		return;
	v->bad->stall_until = s->now + rng_range(&s->rng, MS, 20 * MS);
	if (s->mix.power && chance(s, 70))
		sched_at(s, s->now + rng_range(&s->rng, MS, 20 * MS), true, on_power, NULL, 0);
}

static void one_verb(struct sim *s)
{
	struct sim_vol *v = any_volume(s);
	struct sim_leg *leg = any_leg(v);
	if (v->corrupt || v->was_corrupt) {
		if (leg)
			verify(v, leg, true, chance(s, 50));
		return;
	}
	if (!leg || chance(s, 4)) {
		attach(v);
		return;
	}
	struct dray_leg_info info;
	info_of(v, leg, &info);
	if (s->mix.forced && forced(v, leg, &info))
		return;
	unsigned x = (unsigned)rng_below(&s->rng, 100);
	if (x < 20) {
		if (s->mix.switches && !s->group)
			change_over(s, v, s->mix.splits && chance(s, 10), s->mix.forced && chance(s, 10));
	} else if (x < 26) {
		if (s->mix.kills && !corrupted(s) && chance(s, s->group ? 60 : 25))
			crash_now(s, false);
	} else if (x < 32) {
		if (s->mix.power && !corrupted(s) && chance(s, s->group ? 60 : 25))
			crash_now(s, true);
	} else if (x < 42) {
		if (s->mix.verifies) {
			if (info.synced && !leg->verifying && chance(s, 30))
				corrupt(v, leg);
			verify(v, leg, v->corrupt || chance(s, 70), chance(s, 50));
		}
	} else if (x < 48) {
		if (s->mix.pauses || leg->paused)
			pause_or_resume(v, leg);
	} else if (x < 52) {
		if (s->mix.aside)
			set_aside(v, leg);
	} else if (x < 62) {
		struct dray_vol_info vol;
		dray_vol_info(v->eng, &vol);
		if (leg->held || chance(s, vol.bad_behind_bytes ? 60 : 5)) {
			retry(v, leg);
			look_while_listed(v, vol.bad_behind_bytes);
		}
	} else if (x < 66) {
		if (s->mix.limits)
			verbs_limits(v, chance(s, 50));
	} else if (x < 70) {
		if (s->mix.detaches && !v->group && (v->undo_to == leg->disk || chance(s, 30)))
			vol_detach(v, leg);
	} else if (x < 74) {
		late_token(v);
	} else if (x < 78) {
		attach(v);
	} else if (x < 80) {
		set_role(v, leg, chance(s, 50));
	} else if (x < 82 && leg->verifying && !v->corrupt) {
		vol_enter(v);
		dray_vol_verify_stop(v->eng, leg_index(v, leg));
		leg->verify_all = false; /* it did not see everything */
		vol_leave(v);
	}
}

static void on_verb(struct sim *s, void *arg, uint32_t gen)
{
	if (s->calm || s->down)
		return;
	sched_at(s, s->now + rng_range(&s->rng, 300 * US, s->group ? 4 * MS : 10 * MS), true, on_verb, NULL, 0);
	one_verb(s);
}

/* ---- faults ---- */

static void break_something(struct sim *s)
{
	struct sim_vol *v = any_volume(s);
	const struct sim_mix *m = &s->mix;
	struct sim_disk *d = v->disks[rng_below(&s->rng, v->n_disks)];
	struct sim_leg *leg = any_leg(v);
	if (leg && !rng_one_in(&s->rng, 3))
		d = leg->disk; /* the primary breaks less often than a target */
	uint64_t until = s->now + rng_range(&s->rng, MS, 40 * MS);
	if (m->forced && rng_one_in(&s->rng, 6)) {
		/* The primary dies, and it is not known whether it comes back. Or it may: then its connections are lost, too. */
		v->primary->dead_until = s->now + rng_range(&s->rng, 5 * MS, 60 * MS);
		if (v->primary->net && rng_one_in(&s->rng, 2))
			disk_lose_connections(v->primary);
		return;
	}
	if (m->reopens && rng_one_in(&s->rng, 12)) {
		if (leg && v->eng && !leg->detaching && leg->disk != v->primary && rng_one_in(&s->rng, 3))
			fail_leg(v, leg);
		else
			vol_reopen_primary(v);
		return;
	}
	switch (rng_below(&s->rng, 11)) {
	case 0:
		if (m->errors)
			d->errors_until = until;
		break;
	case 1:
		if (m->stalls)
			d->stall_until = s->now + rng_range(&s->rng, v->leg_timeout_ns / 2, v->leg_timeout_ns * 5);
		break;
	case 2:
		if (m->flush_errors)
			d->flush_errors_until = until + 20 * MS;
		break;
	case 3:
	case 4:
		if (m->lost && d->net)
			disk_lose_connections(d);
		break;
	case 5:
		if (m->no_space && d != v->primary)
			d->no_space_until = until;
		break;
	case 6:
		if (m->map_errors && d != v->primary)
			map_of(v, d)->errors_until = until;
		break;
	case 7:
		if (m->map_errors && d != v->primary)
			map_of(v, d)->stall_until = until;
		break;
	case 8:
		if (m->latent && rng_one_in(&s->rng, 3)) {
			unsigned b = (unsigned)rng_below(&s->rng, v->n_blocks);
			d = rng_one_in(&s->rng, 2) ? v->primary : d;
			d->latent[b] = 1;
			if (b + 1 < v->n_blocks && rng_one_in(&s->rng, 2))
				d->latent[b + 1] = 1;
		} else if (m->latent) {
			/* One of the primary's that was found comes back: the drive had another idea. */
			for (unsigned b = 0; b < v->n_blocks; b++)
				if (v->primary->latent[b] && v->lost_ok[b] && rng_one_in(&s->rng, 2)) {
					v->primary->latent[b] = 0;
					sim_cover(s, COVER_H17_RECOVERED);
				}
		}
		break;
	case 9:
		if (m->map_errors && rng_one_in(&s->rng, 2))
			v->bad->errors_until = until;
		else if (m->map_errors)
			v->bad->stall_until = until;
		break;
	default:
		if (m->errors) {
			d->bad_n = d->bad_n ? 0 : (unsigned)rng_range(&s->rng, 1, 4);
			d->bad_first = (unsigned)rng_below(&s->rng, v->n_blocks);
			d->bad_reads = rng_one_in(&s->rng, 2);
			d->bad_writes = !d->bad_reads || rng_one_in(&s->rng, 2);
		}
	}
}

static void on_fault(struct sim *s, void *arg, uint32_t gen)
{
	if (s->calm)
		return;
	sched_at(s, s->now + rng_range(&s->rng, 2 * MS, 25 * MS), true, on_fault, NULL, 0);
	if (!s->down)
		break_something(s);
}

void verbs_start(struct sim *s)
{
	sched_at(s, s->now + rng_below(&s->rng, 2 * MS), true, on_verb, NULL, 0);
	sched_at(s, s->now + rng_below(&s->rng, 10 * MS), true, on_fault, NULL, 0);
}

/* ---- the end ---- */

static bool leg_at_rest(struct sim_vol *v, struct sim_leg *leg)
{
	if (leg->detaching)
		return false;
	if (leg->paused)
		pause_or_resume(v, leg);
	struct dray_leg_info info;
	info_of(v, leg, &info);
	if (info.held) {
		retry(v, leg);
		return false;
	}
	if (v->corrupt || v->was_corrupt) {
		verify(v, leg, true, true);
		return false;
	}
	return info.synced && info.dirty_bytes == 0 && info.doubt_bytes == 0 && !info.unsettled && !leg->verifying;
}

bool verbs_settle(struct sim *s)
{
	if (s->down || s->group)
		return false;
	bool rest = true;
	for (unsigned i = 0; i < s->n_vols; i++) {
		struct sim_vol *v = s->vols[i];
		if (!dray_list_empty(&v->reqs))
			rest = false;
		for (int l = 0; l < DRAY_MAX_LEGS; l++)
			if (v->legs[l].used && v->legs[l].disk != v->primary && !leg_at_rest(v, &v->legs[l]))
				rest = false;
	}
	return rest;
}
