/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Driving a group switch
 * ======================
 * The rules are dray_switch's (engine/switch.h); this file carries its questions to the volumes' threads and the answers back. One
 * job runs the whole: it reads an inbox that the I/O threads write to, and it writes the epoch record itself, so the record can
 * take as long as the disk likes without anybody else waiting; the volumes watch their deadline on their own.
 *
 *      job                                            I/O thread of a volume
 *      prepare, suspend, seal, apply, abort  -- message -->  dray_vol_switch_*
 *      inbox  <---- PREPARED DRAINED RESUMED IN_DOUBT (events), the result of seal ----
 *      record: iod_epochs_write; a failed one is followed by one that says "old side", to the same slot, until it is durable
 *
 * Messages of one sender keep their order, so an abort never overtakes the suspend it takes back, and when the last
 * message of all, the one that takes the inbox away, has run, nothing of this switch is left on the thread.
 *
 * A split changes no primary, so its record is a file of its own (splits.h), written when all volumes are sealed and before the first goes on:
 * a crash before it leaves all as they were, one after it finds all split at that instant. Only then each volume forgets its legs in
 * its own file. A leg brought back with a map that missed writes can't come of it. A record that takes longer than the deadline is
 * taken back: past it the volumes may have gone on, each at a moment of its own.
 */
#include "iod/group.h"

#include "base/log.h"
#include "base/min.h"
#include "iod/splits.h"
#include "base/crash.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct letter {
	struct dray_list node;
	unsigned member;
	enum iod_answer what;
	int error;
	uint64_t blackout_ns, suspended_ns;
};

struct iod_inbox {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	struct dray_list letters, spare;
	struct iod_group *group;
	struct letter pool[]; /* as many as a member can send, for each */
};

/* PREPARED, DRAINED, SEALED, RESUMED, and some to spare. */
#define LETTERS_EACH 8

/* How long a primary that was given up may be silent, however long leg_timeout is: the deadline has to hold this and the time for which what it received
 * may land yet (H6). */
#define CUT_NS UINT64_C(5000000000)

static struct iod_inbox *inbox_new(unsigned n)
{
	struct iod_inbox *inbox = calloc(1, sizeof *inbox + (size_t)n * LETTERS_EACH * sizeof inbox->pool[0]);
	if (!inbox)
		return NULL;
	pthread_condattr_t attr;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_mutex_init(&inbox->lock, NULL);
	pthread_cond_init(&inbox->cond, &attr);
	pthread_condattr_destroy(&attr);
	dray_list_init(&inbox->letters);
	dray_list_init(&inbox->spare);
	for (unsigned i = 0; i < n * LETTERS_EACH; i++)
		dray_list_add_tail(&inbox->spare, &inbox->pool[i].node);
	return inbox;
}

void iod_inbox_put(struct iod_inbox *inbox, unsigned member, enum iod_answer what, int error, uint64_t blackout_ns,
	uint64_t suspended_ns)
{
	if (what == IOD_IN_DOUBT) {
		/* Told here: the job waits for the disk, that is what the doubt is about. */
		inbox->group->in_doubt(inbox->group);
		return;
	}
	pthread_mutex_lock(&inbox->lock);
	struct dray_list *n = dray_list_pop(&inbox->spare);
	if (n) {
		struct letter *l = dray_container(n, struct letter, node);
		l->member = member;
		l->what = what;
		l->error = error;
		l->blackout_ns = blackout_ns;
		l->suspended_ns = suspended_ns;
		dray_list_add_tail(&inbox->letters, n);
		pthread_cond_signal(&inbox->cond);
	}
	pthread_mutex_unlock(&inbox->lock);
}

static bool inbox_get(struct iod_inbox *inbox, struct letter *out, uint64_t wait_ns)
{
	struct timespec until;
	clock_gettime(CLOCK_MONOTONIC, &until);
	uint64_t ns = (uint64_t)until.tv_nsec + wait_ns;
	until.tv_sec += (time_t)(ns / 1000000000u);
	until.tv_nsec = (long)(ns % 1000000000u);
	int rc = 0;
	pthread_mutex_lock(&inbox->lock);
	while (dray_list_empty(&inbox->letters) && rc != ETIMEDOUT)
		rc = pthread_cond_timedwait(&inbox->cond, &inbox->lock, &until);
	struct dray_list *n = dray_list_pop(&inbox->letters);
	if (n) {
		*out = *dray_container(n, struct letter, node);
		dray_list_add_tail(&inbox->spare, n);
	}
	pthread_mutex_unlock(&inbox->lock);
	return n;
}

/* ---- on the volumes' threads ---- */

enum { M_PREPARE, M_SUSPEND, M_SEAL, M_APPLY, M_ABORT };

static struct iod_member *member_of(struct dray_loop_msg *msg, int which)
{
	return dray_container(msg - which, struct iod_member, message);
}

static void prepare_on_thread(struct dray_loop_msg *msg)
{
	struct iod_member *m = member_of(msg, M_PREPARE);
	struct iod_vio *vio = &m->v->vio;
	vio->inbox = m->group->inbox;
	vio->inbox_number = m->number;
	vio->switch_token = m->group->engine_token;
	iod_vio_enter(m->v);
	dray_vol_switch_keep(vio->vol, !m->group->commit);
	dray_vol_split_keep(vio->vol, m->group->keep);
	dray_vol_switch_accept_bad(vio->vol, m->accept_bad_bytes);
	dray_vol_switch_force(vio->vol, m->force);
	struct dray_vol_info info;
	dray_vol_info(vio->vol, &info);
	m->bad_behind_bytes = m->leg ? info.bad_behind_bytes : info.bad_bytes;
	if (m->leg && m->leg->index == DRAY_NO_LEG)
		iod_inbox_put(vio->inbox, m->number, IOD_PREPARED, -ENOENT, 0, 0);
	else
		dray_vol_switch_prepare(vio->vol, m->leg ? m->leg->index : DRAY_NO_LEG, vio->switch_token);
}

/* Whether requests wait for a primary whose server is gone, or does not answer. */
static void wait_for_primary(struct iod_member *m, bool wait)
{
	struct iod_vio *vio = &m->v->vio;
	struct dray_vol_info info;
	struct dray_copy_limits limits;
	dray_vol_info(vio->vol, &info);
	dray_vol_get_limits(vio->vol, &limits);
	if (!vio->legs[info.primary] || !vio->legs[info.primary]->io)
		return;
	if (wait)
		dray_storage_set_retry(vio->legs[info.primary]->io, true);
	else
		dray_storage_give_up(vio->legs[info.primary]->io, min_u64(limits.leg_timeout_ns, CUT_NS));
}

static void suspend_on_thread(struct dray_loop_msg *msg)
{
	struct iod_member *m = member_of(msg, M_SUSPEND);
	iod_vio_enter(m->v);
	dray_vol_switch_suspend(m->v->vio.vol, m->group->engine_token, m->deadline_ns + m->v->vio.ahead_ns);
	/* Given up: what waits for it ends now, and is kept by the engine, which drains. */
	if (m->force)
		wait_for_primary(m, false);
}

static void seal_on_thread(struct dray_loop_msg *msg)
{
	struct iod_member *m = member_of(msg, M_SEAL);
	iod_vio_enter(m->v);
	int rc = dray_vol_switch_seal(m->v->vio.vol, m->group->engine_token);
	iod_inbox_put(m->group->inbox, m->number, IOD_SEALED, rc, 0, 0);
}

/* What the leg that takes over lacks: regions, since that is what is known. */
static void note_lost(struct iod_member *m)
{
	const struct dray_vol *vol = m->v->vio.vol;
	uint64_t size = m->v->def.size_bytes, region = m->v->def.region_bytes;
	for (uint64_t r = 0; r * region < size; r++) {
		if (!dray_vol_leg_lacks(vol, m->leg->index, r))
			continue;
		uint64_t offset = r * region, length = size - offset < region ? size - offset : region;
		m->lost_bytes += length;
		if (m->n_lost && m->lost[m->n_lost - 1].offset + m->lost[m->n_lost - 1].length == offset)
			m->lost[m->n_lost - 1].length += length;
		else if (m->n_lost < sizeof m->lost / sizeof m->lost[0]) {
			m->lost[m->n_lost].offset = offset;
			m->lost[m->n_lost++].length = length;
		}
	}
}

static void apply_on_thread(struct dray_loop_msg *msg)
{
	struct iod_member *m = member_of(msg, M_APPLY);
	struct iod_vio *vio = &m->v->vio;
	struct dray_vol_info info;
	dray_vol_info(vio->vol, &info);
	iod_vio_enter(m->v);
	if (m->force && m->leg)
		note_lost(m);
	/* Before the call: it may write to the map already, under the other leg's index. */
	if (m->leg)
		iod_vio_swap_link(m->v, info.primary, m->leg->index);
	int rc = dray_vol_switch_apply(vio->vol, m->group->engine_token);
	if (!rc && m->leg) {
		struct iod_leg *old = vio->legs[info.primary];
		dray_storage_set_retry(m->leg->io, true);
		if (old && old->io)
			dray_storage_set_retry(old->io, false);
	}
	if (rc) /* a sealed token can't be stale */
		dray_log(DRAY_LOG_ERROR, "switch-apply", "%s: %s", m->v->def.name, strerror(-rc));
}

static void abort_on_thread(struct dray_loop_msg *msg)
{
	struct iod_member *m = member_of(msg, M_ABORT);
	iod_vio_enter(m->v);
	if (m->force)
		wait_for_primary(m, true);
	dray_vol_switch_abort(m->v->vio.vol, m->group->engine_token);
}

static void part_on_thread(void *arg)
{
	struct iod_member *m = arg;
	m->v->vio.inbox = NULL;
}

static void post(struct iod_group *g, unsigned i, int which, void (*run)(struct dray_loop_msg *msg))
{
	struct iod_member *m = &g->members[i];
	m->message[which].run = run;
	dray_loop_post(m->v->thread->loop, &m->message[which]);
}

/* ---- dray_switch's questions; on the job's thread ---- */

static void op_prepare(void *ctx, unsigned i)
{
	post(ctx, i, M_PREPARE, prepare_on_thread);
}

static void op_suspend(void *ctx, unsigned i, uint64_t deadline_ns)
{
	struct iod_group *g = ctx;
	g->members[i].deadline_ns = deadline_ns;
	g->members[i].suspended = true;
	post(g, i, M_SUSPEND, suspend_on_thread);
}

static void op_seal(void *ctx, unsigned i)
{
	post(ctx, i, M_SEAL, seal_on_thread);
}

static void op_record(void *ctx, bool to_new)
{
	struct iod_group *g = ctx;
	g->record = true;
	g->record_new = to_new;
}

static void op_apply(void *ctx, unsigned i)
{
	struct iod_group *g = ctx;
	dray_crash_point("apply-before");
	post(g, i, M_APPLY, apply_on_thread);
	dray_crash_point("apply-after");
}

static void op_abort(void *ctx, unsigned i)
{
	post(ctx, i, M_ABORT, abort_on_thread);
}

static void op_done(void *ctx, enum dray_switch_outcome outcome, int culprit, int error)
{
	struct iod_group *g = ctx;
	g->done = true;
	g->outcome = outcome;
	g->culprit = culprit;
	g->error = error;
}

static void op_backoff(void *ctx)
{
	struct iod_group *g = ctx;
	g->back_off = true;
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

/* ---- the job ---- */

static json_t *split_members(const struct iod_group *g)
{
	json_t *members = json_array();
	for (unsigned i = 0; i < g->n; i++) {
		const struct iod_volume *v = g->members[i].v;
		char uuid[37];
		json_t *legs = json_array();
		iod_uuid_format(v->def.uuid, uuid);
		pthread_mutex_lock(&g->iod->lock);
		for (unsigned k = 0; k < v->n_legs; k++)
			if (v->legs[k]->splitting)
				json_array_append_new(legs, json_integer(v->legs[k]->def->id));
		pthread_mutex_unlock(&g->iod->lock);
		json_array_append_new(members, json_pack("{s:s s:s s:o}", "volume", v->def.name, "uuid", uuid, "legs", legs));
	}
	return members;
}

static void unrecord_split(struct iod_group *g)
{
	struct dray_error err;
	if (iod_split_remove(&g->iod->state, g->engine_token, &err))
		dray_log(DRAY_LOG_ERROR, "split-record", "%s", err.text);
	g->split_recorded = false;
}

/* All are sealed: the one moment at which the split can be made durable. 0 or why it is not. */
static int record_split(struct iod_group *g)
{
	json_t *members = split_members(g);
	int rc = iod_split_write(&g->iod->state, g->engine_token, members, g->keep, &g->record_error);
	json_decref(members);
	g->split_recorded = !rc;
	if (!rc && iod_now() >= g->members[0].deadline_ns) {
		unrecord_split(g);
		rc = -ETIMEDOUT;
	}
	return rc;
}

void iod_group_forgotten(struct iod_group *g)
{
	struct dray_error err = DRAY_ERROR_INIT;
	for (unsigned i = 0; i < g->n; i++)
		if (iod_volume_save(g->members[i].v, &err)) {
			/* The record stays: the next start does it. */
			dray_log(DRAY_LOG_WARN, "volume-json", "%s", err.text);
			return;
		}
	unrecord_split(g);
}

static int write_record(struct iod_group *g)
{
	/* Superseding: the table as it was, under a higher number. The epochs do not change: nobody was ever told of the others. */
	if (!g->record_new)
		return iod_epochs_write(g->iod->epochs, NULL, 0, NULL);
	struct iod_epoch *changes = calloc(g->n, sizeof *changes);
	if (!changes)
		return -ENOMEM;
	for (unsigned i = 0; i < g->n; i++) {
		struct iod_member *m = &g->members[i];
		memcpy(changes[i].uuid, m->v->def.uuid, IOD_UUID_BYTES);
		changes[i].epoch = m->epoch + 1;
		changes[i].primary = m->leg->def->id;
		changes[i].let_go = g->commit ? m->old_primary : 0;
		strcpy(changes[i].token, g->token);
	}
	int rc = iod_epochs_write(g->iod->epochs, changes, g->n, &g->record_error);
	free(changes);
	if (rc)
		return rc;
	pthread_mutex_lock(&g->iod->lock);
	for (unsigned i = 0; i < g->n; i++) {
		struct iod_member *m = &g->members[i];
		m->v->epoch = m->epoch + 1;
		m->v->primary = m->leg->def->id;
		m->v->let_go = g->commit ? m->old_primary : 0;
		strcpy(m->v->token, g->token);
		m->v->blackout_us = m->v->suspended_us = -1;
	}
	pthread_mutex_unlock(&g->iod->lock);
	return 0;
}

static void read_letter(struct iod_group *g, const struct letter *l)
{
	struct iod_member *m = &g->members[l->member];
	uint64_t now_ns = iod_now();
	switch (l->what) {
	case IOD_PREPARED: dray_switch_on_prepared(g->sw, l->member, l->error, now_ns); break;
	case IOD_DRAINED: dray_switch_on_drained(g->sw, l->member, l->error, now_ns); break;
	case IOD_SEALED: {
		int error = l->error;
		if (g->split && !error && ++g->sealed == g->n)
			error = record_split(g);
		dray_switch_on_sealed(g->sw, l->member, error, now_ns);
		break;
	}
	case IOD_IN_DOUBT: break; /* is never put */
	case IOD_RESUMED:
		m->resumed = true;
		m->blackout_ns = l->blackout_ns;
		m->suspended_ns = l->suspended_ns;
		break;
	}
}

static void run(struct iod_group *g)
{
	uint64_t pause_ns = UINT64_C(50000000);
	struct letter letter;
	dray_switch_start(g->sw, iod_now());
	while (!g->done) {
		if (g->record) {
			g->record = false;
			int rc = write_record(g);
			if (rc)
				dray_log(DRAY_LOG_ERROR, "epoch-record", "%s record: %s", g->record_new ? "switch" : "superseding",
					strerror(-rc));
			dray_switch_on_recorded(g->sw, rc, iod_now());
		} else if (g->back_off) {
			/* Not ended by a stop of the process: until this record is durable nothing may be called void. */
			g->back_off = false;
			struct timespec ts = { (time_t)(pause_ns / 1000000000u), (long)(pause_ns % 1000000000u) };
			nanosleep(&ts, NULL);
			pause_ns = pause_ns < UINT64_C(2000000000) ? pause_ns * 2 : pause_ns;
			dray_switch_retry(g->sw, iod_now());
		} else if (inbox_get(g->inbox, &letter, UINT64_C(3600000000000))) {
			read_letter(g, &letter);
		}
	}
	/* How long the applications waited is known when requests flow again. */
	uint64_t until = iod_now() + UINT64_C(5000000000);
	for (unsigned i = 0; g->outcome == DRAY_SWITCH_SWITCHED && i < g->n; i++)
		while (!g->members[i].resumed && iod_now() < until && inbox_get(g->inbox, &letter, UINT64_C(100000000)))
			if (letter.what == IOD_RESUMED)
				read_letter(g, &letter);
}

int iod_group_run(struct iod_group *g)
{
	g->inbox = inbox_new(g->n);
	if (!g->inbox || dray_switch_new(&g->sw, g->n, g->split, g->deadline_ns, &ops, g) < 0) {
		free(g->inbox);
		return -ENOMEM;
	}
	g->inbox->group = g;
	g->engine_token = atomic_fetch_add(&g->iod->next_token, 1);
	for (unsigned i = 0; i < g->n; i++) {
		g->members[i].group = g;
		g->members[i].number = i;
	}
	run(g);
	for (unsigned i = 0; i < g->n; i++) {
		struct iod_member *m = &g->members[i];
		iod_thread_call(m->v->thread, part_on_thread, m);
	}
	if (g->split_recorded && g->outcome != DRAY_SWITCH_SWITCHED)
		unrecord_split(g);
	dray_switch_free(g->sw);
	pthread_cond_destroy(&g->inbox->cond);
	pthread_mutex_destroy(&g->inbox->lock);
	free(g->inbox);
	return 0;
}
