/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The life of a volume: brought up, kept whole, put to rest.
 *
 * Bringing up, after a restart or for a new volume:
 *   1. The epoch record says which leg is primary. Legs that share no link with it, and the one that the record names as let
 *      go, were let go at a switch whose last step, forgetting them, a crash cut off: they are forgotten now.
 *      The list of bad ranges is read; if there was one and it can't be understood, the volume is not served: which of its blocks are
 *      nobody's data can't be guessed.
 *   2. The primary is opened, waiting for its lock: a dray-iod that was killed may still have requests in the kernel, and the lock
 *      is free only once they are done (H6). It must be the storage that was recorded (H2). If it can't be opened the
 *      volume is not served, the reason is told, and it is tried again for as long as the process lives.
 *   3. The maps are read and the secondaries opened, for a short while; but those behind a network not at all: a server that does
 *      not answer would keep the application waiting. Every secondary becomes a leg of the engine before the first
 *      request, open or not: one that is not is tracked only, else the application's next write would be missing from
 *      its map (H12). A job goes on trying to open it, and it is not told as given up before that took give_up_ns.
 *   4. The volume is served.
 *
 * A secondary whose identity is only good for one boot ("block:8:16") is, in a new boot, not written until somebody vouches for
 * it (leg.retry): the name may mean another disk now (H2). Nor is anything known then of what it holds: somebody's word is for the name,
 * and a ramdisk has the right one and is empty. So its map is made anew before the volume is served, and it is copied from the beginning.
 *
 * Putting to rest, in order: no requests come any more; the copies are paused; the engine's clock is moved forward so that
 * it clears the intents and records what is clean; when nothing is left to record, or after a bounded wait, the engine is
 * freed and the storage closed. A volume stopped so has nothing to compare or copy again after the restart.
 */
#include "iod/volume.h"

#include "base/log.h"
#include "iod/mapfile.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SECOND          UINT64_C(1000000000)
#define LOCK_WAIT       (60 * SECOND)
#define LOCK_WAIT_SHORT (2 * SECOND)
#define GIVE_UP         (60 * SECOND) /* the engine's default give_up_ns */
#define IDLE_ENOUGH     (6 * SECOND) /* more than the engine's default intent_idle_ns */

struct attaching {
	struct iod_volume *v;
	struct iod_leg *leg;
	struct dray_leg_config config;
	struct iod_map_pages pages;
	const void *bad_slot[2];
	int map_fd, bad_fd;
	int rc;
};

static bool vouched(const struct iod_leg *leg)
{
	return leg->def->stable || strcmp(leg->def->boot_id, leg->volume->iod->state.boot_id) == 0;
}

/* A map belongs to a link: whether there is one was said when the younger of the two legs was attached. */
static bool link_durable(const struct iod_leg_def *primary, const struct iod_leg_def *leg)
{
	return leg->peer == primary->id ? leg->durable : primary->durable;
}

/* The engine's words for a leg, from what is recorded of it. */
static void configure(struct attaching *a, bool durable, bool reopened)
{
	const struct iod_leg_def *d = a->leg->def;
	a->config = (struct dray_leg_config){
		.id = d->id,
		.durable = durable,
		.late_writes = reopened && d->late_writes,
		.extents = d->extents,
		.thin = d->thin,
		.has_zero = d->has_zero,
		.copy_role = d->role == IOD_ROLE_COPY,
		.paused = d->paused,
		.tracked_only = !a->leg->storage || d->set_aside || !vouched(a->leg),
		.pages = a->pages.page,
		.n_pages = a->pages.n,
	};
}

static void attach_on_thread(void *arg)
{
	struct attaching *a = arg;
	a->leg->map_fd = a->map_fd;
	a->rc = iod_vio_attach(a->v, a->leg, &a->config);
	if (a->rc)
		a->leg->map_fd = -1;
}

static int attach_secondary(struct attaching *a, struct iod_leg *primary, struct dray_error *err)
{
	iod_map_id(a->v->def.uuid, primary->def->id, a->leg->def->id, a->config.map_id);
	iod_thread_call(a->v->thread, attach_on_thread, a);
	iod_map_pages_free(&a->pages);
	if (a->rc) {
		if (a->map_fd >= 0)
			close(a->map_fd);
		return dray_error_kind(err, a->rc, "busy", "volume %s: leg %u: cannot be attached: %s", a->v->def.name,
			a->leg->def->id, strerror(-a->rc));
	}
	return 0;
}

int iod_leg_attach_new(struct iod_leg *leg, struct iod_leg *primary, bool known_zero, int map_fd,
	struct dray_error *err)
{
	struct attaching a = { .v = leg->volume, .leg = leg, .map_fd = map_fd };
	configure(&a, leg->def->durable, false);
	a.config.known_zero = known_zero;
	return attach_secondary(&a, primary, err);
}

void iod_leg_not_open(struct iod_leg *leg, int rc, const char *why)
{
	iod_leg_error(leg, "%s", why);
	pthread_mutex_lock(&leg->volume->iod->lock);
	leg->mistaken = rc == -ESTALE;
	pthread_mutex_unlock(&leg->volume->iod->lock);
}

static int new_map(const struct iod_leg *primary, const struct iod_leg *leg, struct dray_error *err)
{
	struct iod_volume *v = leg->volume;
	int fd = iod_map_create(&v->iod->state, &v->def, primary->def->id, leg->def->id, err);
	int rc = fd < 0 ? fd : iod_map_sync_names(&v->iod->state, v->def.name, err);
	if (!rc)
		return fd;
	if (fd >= 0)
		close(fd);
	return rc;
}

/* Step 3 for one secondary. */
static int restore_secondary(struct iod_leg *leg, struct iod_leg *primary, struct dray_error *err)
{
	struct iod_volume *v = leg->volume;
	struct attaching a = { .v = v, .leg = leg, .map_fd = -1 };
	struct dray_error why = DRAY_ERROR_INIT;
	struct dray_storage *st;

	int rc = leg->def->late_writes ? -EINPROGRESS : iod_leg_open(leg, false, LOCK_WAIT_SHORT, true, &st, &why);
	if (!rc)
		iod_leg_install(leg, st);
	else
		iod_leg_not_open(leg, rc, rc == -EINPROGRESS ? "it is being opened" : why.text);
	if (leg->storage && !vouched(leg))
		iod_leg_error(leg, "%s: after a new boot its name (%s) may mean another disk: leg.retry vouches for it",
			leg->def->resource, leg->def->identity);
	bool durable = link_durable(primary->def, leg->def);
	if (durable && !vouched(leg)) {
		a.map_fd = new_map(primary, leg, err);
		if (a.map_fd < 0)
			return a.map_fd;
	} else if (durable) {
		a.map_fd = iod_map_open(&v->iod->state, &v->def, primary->def->id, leg->def->id, &a.pages, &why);
		if (a.map_fd == -ENOENT)
			a.map_fd = new_map(primary, leg, err);
		else if (a.map_fd < 0)
			*err = why;
		if (a.map_fd < 0)
			return a.map_fd;
	}
	configure(&a, durable, true);
	return attach_secondary(&a, primary, err);
}

/* Step 1. Returns the primary, or NULL. */
static struct iod_leg *find_primary(struct iod_volume *v)
{
	struct iod_leg *primary = NULL;
	bool forgot = false;
	pthread_mutex_lock(&v->iod->lock);
	for (unsigned i = 0; i < v->n_legs; i++)
		if (v->legs[i]->def->id == v->primary && !v->legs[i]->forgotten)
			primary = v->legs[i];
	for (unsigned i = 0; primary && i < v->n_legs; i++)
		if (v->legs[i] != primary &&
			(v->legs[i]->def->id == v->let_go || !iod_legs_linked(v->legs[i]->def, primary->def))) {
			dray_log(DRAY_LOG_INFO, "leg-forgotten", "%s leg %u was let go at the switch", v->def.name,
				v->legs[i]->def->id);
			v->legs[i]->forgotten = forgot = true;
		}
	pthread_mutex_unlock(&v->iod->lock);
	if (!forgot)
		return primary;
	struct dray_error err = DRAY_ERROR_INIT;
	if (iod_volume_save(v, &err))
		dray_log(DRAY_LOG_WARN, "volume-json", "%s", err.text); /* done again at the next start */
	for (bool again = true; again;) {
		again = false;
		for (unsigned i = 0; i < v->n_legs; i++)
			if (v->legs[i]->forgotten && !again) {
				unsigned id = v->legs[i]->def->id, peer = v->legs[i]->def->peer;
				iod_map_remove(&v->iod->state, v->def.name, id, id == primary->def->peer ? primary->def->id : peer);
				iod_volume_leg_drop(v->legs[i]);
				again = true;
			}
	}
	return primary;
}

static void make_engine(void *arg)
{
	struct attaching *a = arg;
	a->v->vio.bad_fd = a->bad_fd;
	a->rc = iod_vio_new(a->v, a->bad_fd < 0 ? NULL : a->bad_slot);
	if (!a->rc)
		a->rc = iod_vio_attach(a->v, a->leg, &a->config);
}

static void hand_bad(void *arg)
{
	struct attaching *a = arg;
	a->v->vio.bad_fd = a->bad_fd;
}

int iod_volume_need_bad(struct iod_volume *v, struct dray_error *err)
{
	/* It comes and goes under the verb right. */
	if (v->vio.bad_fd >= 0)
		return 0;
	struct attaching a = { .v = v };
	a.bad_fd = iod_bad_create(&v->iod->state, &v->def, err);
	if (a.bad_fd < 0)
		return a.bad_fd;
	iod_thread_call(v->thread, hand_bad, &a);
	return 0;
}

static void free_engine(void *arg)
{
	struct iod_volume *v = arg;
	if (v->vio.vol)
		iod_vio_free(v);
}

struct map_fds {
	struct iod_volume *v;
	int fd[2 * IOD_LEGS_MAX + 1];
	unsigned n;
};

static void take_maps(void *arg)
{
	struct map_fds *m = arg;
	for (unsigned i = 0; i < m->v->n_legs; i++) {
		struct iod_leg *leg = m->v->legs[i];
		if (leg->map_fd >= 0)
			m->fd[m->n++] = leg->map_fd;
		leg->map_fd = -1;
	}
	if (m->v->vio.bad_fd >= 0)
		m->fd[m->n++] = m->v->vio.bad_fd;
	m->v->vio.bad_fd = -1;
}

static void close_all(struct iod_volume *v)
{
	iod_thread_call(v->thread, free_engine, v);
	for (unsigned i = 0; i < v->n_legs; i++)
		iod_leg_close(v->legs[i], false);
	struct map_fds maps = { .v = v };
	iod_thread_call(v->thread, take_maps, &maps);
	for (unsigned i = 0; i < maps.n; i++)
		close(maps.fd[i]);
}

static int start(struct iod_volume *v, bool fresh, struct dray_error *err)
{
	struct iod_leg *primary = find_primary(v);
	if (!primary)
		return dray_error_set(err, -ENODATA, "volume %s: the epoch record names leg %u as primary, and there is none",
			v->def.name, v->primary);
	if (!primary->storage) {
		struct dray_storage *st;
		/* A word stands for a name that is good for one boot, never against an identity. */
		pthread_mutex_lock(&v->iod->lock);
		bool vouch = v->accepted && !vouched(primary);
		pthread_mutex_unlock(&v->iod->lock);
		int rc = iod_leg_open(primary, true, fresh ? 0 : LOCK_WAIT, !vouch, &st, err);
		if (!rc && vouch && st->info.stable_identity && strcmp(st->info.identity, primary->def->identity)) {
			rc = dray_error_kind(err, -ESTALE, "not_accessible", "%s: not the storage that was recorded: found %s, expected %s",
				primary->def->resource, st->info.identity, primary->def->identity);
			dray_storage_close(st);
		}
		if (!rc && vouch) {
			iod_leg_record(primary, &st->info);
			rc = iod_volume_save(v, err);
			if (rc)
				dray_storage_close(st);
		}
		if (rc) {
			iod_leg_error(primary, "%s", err->text);
			return rc;
		}
		iod_leg_install(primary, st);
	}
	struct attaching a = { .v = v, .leg = primary };
	static _Thread_local uint8_t memory[2 * DRAY_BAD_SLOT_BYTES];
	a.bad_fd = iod_bad_open(&v->iod->state, &v->def, memory, a.bad_slot, err);
	if (a.bad_fd == -ENOENT && v->n_legs > 1)
		a.bad_fd = iod_bad_create(&v->iod->state, &v->def, err); /* of a version that had none */
	if (a.bad_fd >= 0 && v->n_legs > 1 && iod_map_sync_names(&v->iod->state, v->def.name, err)) {
		close(a.bad_fd);
		return err->code;
	}
	if (a.bad_fd < 0 && a.bad_fd != -ENOENT)
		return a.bad_fd;
	*err = DRAY_ERROR_INIT;
	configure(&a, false, false);
	a.config.tracked_only = a.config.paused = a.config.copy_role = false;
	iod_thread_call(v->thread, make_engine, &a);
	if (a.rc == -EBADMSG)
		return dray_error_set(err, a.rc,
			"volume %s: its list of bad ranges is damaged: which blocks are nobody's data is not known", v->def.name);
	if (a.rc)
		return dray_error_errno(err, a.rc, "volume %s: make its engine", v->def.name);

	struct iod_leg *legs[2 * IOD_LEGS_MAX];
	unsigned n = v->n_legs;
	memcpy(legs, v->legs, n * sizeof *legs);
	for (unsigned i = 0; i < n; i++)
		if (legs[i] != primary) {
			int rc = restore_secondary(legs[i], primary, err);
			if (rc)
				return rc;
		}
	for (unsigned i = 0; i < n; i++)
		if (!legs[i]->storage)
			iod_leg_open_later(legs[i]);
	return 0;
}

int iod_volume_start(struct iod_volume *v, bool fresh, struct dray_error *err)
{
	int rc = start(v, fresh, err);
	if (rc) {
		close_all(v);
		iod_volume_reason(v, "%s", err->text);
		return rc;
	}
	pthread_mutex_lock(&v->iod->lock);
	v->served = true;
	v->reason[0] = '\0';
	pthread_mutex_unlock(&v->iod->lock);
	return 0;
}

static bool start_once(struct iod_attempt *at)
{
	struct iod_volume *v = dray_container(at, struct iod_volume, starting);
	struct dray_error err = DRAY_ERROR_INIT;
	int rc = iod_volume_take(v, 10 * SECOND, &err);
	if (rc)
		return rc == -ENOENT;
	rc = iod_volume_start(v, false, &err);
	iod_volume_give(v);
	if (rc) {
		dray_log(DRAY_LOG_WARN, "volume-not-served", "%s", err.text);
		return false;
	}
	dray_log(DRAY_LOG_INFO, "volume-served", "%s", v->def.name);
	iod_notify(v->iod, "volume-added", v->def.name, 0, "served", NULL);
	return true;
}

static void start_over(struct iod_attempt *at)
{
	iod_volume_put(dray_container(at, struct iod_volume, starting));
}

void iod_volume_start_later(struct iod_volume *v)
{
	struct iod *iod = v->iod;
	iod_volume_reason(v, "volume %s: its storage is being opened", v->def.name);
	pthread_mutex_lock(&iod->lock);
	v->refs++;
	pthread_mutex_unlock(&iod->lock);
	v->starting = (struct iod_attempt){ .run = start_once, .over = start_over, .pause_ns = SECOND / 2, .pause_most_ns = 8 * SECOND };
	iod_attempt_begin(iod, &iod->starts, &v->starting);
}

static void retry_on_thread(void *arg)
{
	struct attaching *a = arg;
	iod_vio_enter(a->v);
	a->rc = a->leg->index == DRAY_NO_LEG ? -ENOENT : dray_vol_leg_retry(a->v->vio.vol, a->leg->index);
}

int iod_leg_retry(struct iod_leg *leg)
{
	struct attaching a = { .v = leg->volume, .leg = leg };
	iod_thread_call(leg->volume->thread, retry_on_thread, &a);
	return a.rc;
}

static enum iod_offered install(struct iod_leg *leg, struct dray_storage *st)
{
	if (leg->forgotten || leg->storage || leg->volume->removed)
		return IOD_NOT_WANTED;
	if (!leg->volume->served)
		return IOD_NOT_YET;
	iod_leg_install(leg, st);
	if (!vouched(leg))
		iod_leg_error(leg, "%s: after a new boot its name (%s) may mean another disk: leg.retry vouches for it",
			leg->def->resource, leg->def->identity);
	else if (!leg->def->set_aside)
		iod_leg_retry(leg);
	return IOD_TAKEN;
}

/* One attempt; true: no other is needed. */
static bool try_open(struct iod_leg *leg)
{
	struct iod_volume *v = leg->volume;
	if (iod_leg_try_open(leg, false, LOCK_WAIT, install))
		return true;
	pthread_mutex_lock(&v->iod->lock);
	bool over = leg->forgotten || leg->storage || v->removed;
	pthread_mutex_unlock(&v->iod->lock);
	return over;
}

static bool open_once(struct iod_attempt *at)
{
	struct iod_leg *leg = dray_container(at, struct iod_leg, attempt);
	struct iod_volume *v = leg->volume;
	if (try_open(leg))
		return true;
	pthread_mutex_lock(&v->iod->lock);
	bool given_up = leg->hopeful && !iod_leg_hopeful(leg);
	leg->hopeful &= !given_up;
	if (given_up)
		iod_news_changed(v);
	pthread_mutex_unlock(&v->iod->lock);
	if (given_up)
		iod_notify(v->iod, "leg-held", v->def.name, leg->def->id, NULL, NULL);
	return false;
}

static void open_over(struct iod_attempt *at)
{
	struct iod_leg *leg = dray_container(at, struct iod_leg, attempt);
	struct iod_volume *v = leg->volume;
	pthread_mutex_lock(&v->iod->lock);
	leg->opening = false;
	iod_news_changed(v);
	pthread_mutex_unlock(&v->iod->lock);
	iod_leg_put(leg);
	iod_volume_put(v);
}

bool iod_leg_hopeful(const struct iod_leg *leg)
{
	/* (An attempt is over when the engine was told to go on, not when the storage is open.) */
	bool trying = leg->opening ? iod_now() < leg->opening_since_ns + GIVE_UP : !leg->volume->served && !leg->storage;
	return trying && !leg->mistaken && !leg->def->set_aside && vouched(leg);
}

void iod_leg_try(struct iod_leg *leg, bool (*run)(struct iod_attempt *at), uint64_t pause_ns, uint64_t pause_most_ns)
{
	struct iod_volume *v = leg->volume;
	pthread_mutex_lock(&v->iod->lock);
	bool start_it = !leg->opening;
	if (start_it) {
		leg->opening = leg->hopeful = true;
		leg->opening_since_ns = iod_now();
		iod_news_changed(v);
		leg->refs++;
		v->refs++;
	}
	pthread_mutex_unlock(&v->iod->lock);
	if (!start_it)
		return;
	leg->attempt = (struct iod_attempt){ .run = run, .over = open_over, .pause_ns = pause_ns, .pause_most_ns = pause_most_ns };
	iod_attempt_begin(v->iod, &v->iod->opens, &leg->attempt);
}

void iod_leg_open_later(struct iod_leg *leg)
{
	iod_leg_try(leg, open_once, SECOND / 4, 16 * SECOND);
}

/* ---- putting to rest ---- */

struct resting {
	struct iod_volume *v;
	bool pause, ahead; /* asked for */
	bool recorded;     /* found: nothing is left to record */
	bool freed;
};

static void rest(void *arg)
{
	struct resting *r = arg;
	struct iod_volume *v = r->v;
	r->recorded = true;
	if (!v->vio.vol)
		return;
	if (r->ahead)
		v->vio.ahead_ns += IDLE_ENOUGH;
	r->ahead = false;
	iod_vio_enter(v);
	for (int i = 0; i < DRAY_MAX_LEGS; i++) {
		struct dray_leg_info info;
		if (!v->vio.legs[i] || dray_vol_leg_info(v->vio.vol, i, &info) || info.state == DRAY_LEG_PRIMARY)
			continue;
		if (r->pause)
			dray_vol_leg_pause(v->vio.vol, i, true);
		bool tracked = info.state == DRAY_LEG_COPYING || info.state == DRAY_LEG_MIRROR;
		if (info.durable && tracked)
			r->recorded &= info.intents == 0 && info.recorded_bytes >= info.done_bytes;
	}
	r->pause = false;
	r->recorded &= iod_vio_quiet(v);
}

static void free_if_quiet(void *arg)
{
	struct resting *r = arg;
	if (r->v->vio.vol && iod_vio_quiet(r->v))
		iod_vio_free(r->v);
	r->freed = !r->v->vio.vol;
}

bool iod_volume_stop(struct iod_volume *v, bool record, uint64_t wait_ns)
{
	struct resting r = { .v = v, .pause = true };
	uint64_t until = iod_now() + wait_ns;
	uint64_t jump = iod_now() + SECOND / 4;
	iod_thread_call(v->thread, rest, &r);
	/* First what is under way ends, by the true clock: to it a jump would look like a stall. The engine clears an intent in the
	 * second sweep that finds it idle, so one jump is not enough. */
	while (record && !r.recorded && iod_now() < until) {
		usleep(2000);
		r.ahead = iod_now() >= jump;
		if (r.ahead)
			jump = iod_now() + SECOND / 4;
		iod_thread_call(v->thread, rest, &r);
	}
	/* What could not be recorded is compared or copied again after the restart; but nothing may be under way. */
	for (;;) {
		iod_thread_call(v->thread, free_if_quiet, &r);
		if (r.freed || iod_now() >= until)
			break;
		usleep(2000);
	}
	if (!r.freed)
		return false;
	close_all(v);
	return true;
}
