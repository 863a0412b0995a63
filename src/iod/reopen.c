/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A storage that failed is opened anew before it is tried again.
 *
 * A device that went and came back is another one to the kernel, under another name perhaps, and the descriptor of the one that went fails for
 * ever; a file system that was shut down and mounted again can't even be, while its dead predecessor is held open; and one whose flush failed
 * may know no more than that it did (H13). So when a secondary was set aside for an error, and its last operation has come back (H6), its
 * storage is closed and looked for by its identity (H2), again and again, while the engine tries the leg with its own back-off and fails
 * where nothing is open. Who counts is the engine: what it gives up, after a minute without progress, is not looked for any more, and
 * waits for leg.retry.
 *
 * Not for a stall or a full storage, which the same descriptor survives; not for NBD, whose driver makes connections by itself; and not
 * where no identity lasts over a change of names: the number may be another disk's by now, and somebody has to vouch for it.
 *
 * SETTLED comes from the I/O thread inside an engine's call. The rest is on a job's thread, with the verb right wherever leg->storage
 * changes, but not while it opens, which may take long.
 */
#include "iod/volume.h"

#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SECOND UINT64_C(1000000000)

/* What the same descriptor survives. Nothing needs to be dropped by a storage that is merely full. */
static bool full(int error)
{
	return error == -ENOSPC || error == -EDQUOT;
}

static bool survives(int error)
{
	return !error || full(error) || error == -ETIMEDOUT || error == -ENOMEM;
}

struct look {
	struct iod_leg *leg;
	bool held_too;
	bool tried; /* set aside for trouble, and not given up */
	bool rests; /* nothing of it is under way, and nothing will be */
};

/* From here on operations fail, so that none begins before the storage is closed. */
static void look_at(void *arg)
{
	struct look *l = arg;
	struct iod_leg *leg = l->leg;
	struct dray_leg_info info;
	if (leg->index == DRAY_NO_LEG || dray_vol_leg_info(leg->volume->vio.vol, leg->index, &info))
		return;
	l->tried = info.state != DRAY_LEG_PRIMARY && info.state != DRAY_LEG_DETACHED && !info.held;
	l->rests = info.state == DRAY_LEG_DEGRADED && info.settled && (l->tried || l->held_too);
	if (l->rests)
		leg->io = NULL;
}

static void tell_closed(void *arg)
{
	struct iod_leg *leg = arg;
	if (leg->index == DRAY_NO_LEG)
		return;
	iod_vio_enter(leg->volume);
	dray_vol_leg_closed(leg->volume->vio.vol, leg->index);
}

/* What it had not flushed may go with it (H13): the engine is told before another takes its place. (The right to do that is ours.) */
static void close_resting(struct iod_leg *leg)
{
	pthread_mutex_t *lock = &leg->volume->iod->lock;
	pthread_mutex_lock(lock);
	bool flush = full(leg->set_aside_for);
	pthread_mutex_unlock(lock);
	if (iod_leg_close(leg, flush) || !flush)
		iod_thread_call(leg->volume->thread, tell_closed, leg);
}

bool iod_leg_close_degraded(struct iod_leg *leg)
{
	struct look l = { .leg = leg, .held_too = true };
	iod_thread_call(leg->volume->thread, look_at, &l);
	if (l.rests)
		close_resting(leg);
	return l.rests;
}

/* The verb right is held. Whether the leg is to be opened. */
static bool closed(struct iod_leg *leg)
{
	struct look l = { .leg = leg };
	if (!iod_leg_wanted(leg))
		return false;
	iod_thread_call(leg->volume->thread, look_at, &l);
	if (!l.tried || (leg->storage && !l.rests))
		return false;
	if (leg->storage)
		close_resting(leg);
	return true;
}

static enum iod_offered install(struct iod_leg *leg, struct dray_storage *st)
{
	struct iod_volume *v = leg->volume;
	if (leg->storage || !closed(leg))
		return IOD_NOT_WANTED;
	iod_leg_install(leg, st);
	dray_log(DRAY_LOG_INFO, "leg-reopened", "%s leg %u: %s", v->def.name, leg->def->id, leg->path[0] ? leg->path : leg->def->resource);
	iod_notify(v->iod, "leg-reopened", v->def.name, leg->def->id, NULL, NULL);
	return IOD_TAKEN;
}

static bool reopen_once(struct iod_attempt *at)
{
	struct iod_leg *leg = dray_container(at, struct iod_leg, attempt);
	struct iod_volume *v = leg->volume;
	struct dray_error err = DRAY_ERROR_INIT;
	int rc = iod_volume_take(v, 10 * SECOND, &err);
	if (rc)
		return rc == -ENOENT;
	bool wanted = closed(leg);
	iod_volume_give(v);
	return !wanted || iod_leg_try_open(leg, false, 0, install);
}

/* The first time: those that lie on the same device can't be better off. */
static bool reopen_first(struct iod_attempt *at)
{
	struct iod_leg *leg = dray_container(at, struct iod_leg, attempt);
	uint64_t device = 0;
	enum iod_looked is = iod_leg_look(leg, &device);
	if (is == IOD_DEAD_FILE || is == IOD_DEAD_DEVICE)
		iod_neighbours_suspect(leg, device);
	at->run = reopen_once;
	return reopen_once(at);
}

static void fail_on_thread(void *arg)
{
	struct iod_leg *leg = arg;
	if (leg->index == DRAY_NO_LEG)
		return;
	iod_vio_enter(leg->volume);
	/* During a switch it is left alone: what is wrong with it will show. */
	dray_vol_leg_fail(leg->volume->vio.vol, leg->index, -ENODEV);
}

static bool suspect_once(struct iod_attempt *at)
{
	struct iod_leg *leg = dray_container(at, struct iod_leg, attempt);
	struct dray_error err = DRAY_ERROR_INIT;
	uint64_t device = 0;
	enum iod_looked is = iod_leg_look(leg, &device);
	if (is == IOD_ALIVE || is == IOD_UNWANTED)
		return true;
	if (is != IOD_CLOSED) {
		if (iod_volume_take(leg->volume, 10 * SECOND, &err))
			return false;
		iod_thread_call(leg->volume->thread, fail_on_thread, leg);
		iod_volume_give(leg->volume);
	}
	at->run = reopen_once;
	return reopen_once(at);
}

void iod_leg_suspect(struct iod_leg *leg)
{
	iod_leg_try(leg, suspect_once, SECOND / 4, 2 * SECOND);
}

void iod_leg_settled(struct iod_leg *leg)
{
	struct iod *iod = leg->volume->iod;
	pthread_mutex_lock(&iod->lock);
	bool start = leg->storage && !strcmp(leg->storage->driver->name, "file") && leg->def->stable && !survives(leg->set_aside_for) &&
		!leg->opening && !leg->forgotten && !iod->stopping;
	pthread_mutex_unlock(&iod->lock);
	if (start)
		iod_leg_try(leg, reopen_first, SECOND / 4, 2 * SECOND);
}
