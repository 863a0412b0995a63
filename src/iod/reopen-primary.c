/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A primary that is dead is looked for, and opened where it came back.
 *
 * The storage in use is not closed for an error, as that of a secondary is (reopen.c): applications stand on it, and where it answers
 * at all it goes on answering. But a disk that was taken away, or a file system that was shut down, fails for ever through a descriptor of before
 * (storage/dead.h); such a file system can't even be mounted again while one is held. So an error of the primary has a job look whether it
 * is dead, once a second at most; and if it is, what came back is looked for by its identity (H2), for as long as it takes.
 *
 * Until then the volume is served: reads from a leg that is clean, where there is one, all else with errors, as the dead storage would. The
 * application's connection stays, and goes on when the storage is there again.
 *
 * What it acknowledged and had not made durable may be gone: the engine is told, which dirties that on all legs and owes the application
 * an error at its next flush (H13). A file is closed as soon as it is known to be dead, a device only when another was found: it is in
 * nobody's way, and until then a switch to a leg that has everything is still one without a loss.
 *
 * The others that lie on it are looked at, too (neighbours.c).
 *
 * Not for NBD, whose driver makes connections by itself; and not where no identity lasts over a change of names: the number may be another
 * disk's by now, and somebody has to vouch for it.
 *
 * iod_primary_failed comes from the I/O thread. The rest is on a job's thread, with the verb right wherever leg->storage changes, but not
 * while it looks or opens, which may take long. A switch has the right, too: in between, the leg may have become a secondary. It is opened
 * all the same, and what the engine is told is right for both.
 */
#include "iod/volume.h"

#include "base/log.h"

#include <errno.h>
#include <string.h>

#define SECOND UINT64_C(1000000000)

static bool suspicious(int error)
{
	switch (-error) {
	case EIO:
	case ENODEV:
	case ENXIO:
	case EROFS:
	case ESTALE:
	case ENOTCONN:
	case ESHUTDOWN: return true;
	default: return false;
	}
}

struct ending {
	struct iod_leg *leg;
	int rc;
};

/* From here on its operations fail at once. It is over when the last that was begun has come back (H6). */
static void end_on_thread(void *arg)
{
	struct ending *e = arg;
	struct iod_leg *leg = e->leg;
	struct iod_volume *v = leg->volume;
	struct dray_leg_info info;
	leg->io = NULL;
	e->rc = 0;
	if (leg->index == DRAY_NO_LEG || dray_vol_leg_info(v->vio.vol, leg->index, &info))
		return; /* let go at a switch */
	e->rc = -EBUSY;
	if (!info.settled)
		return;
	iod_vio_enter(v);
	e->rc = dray_vol_leg_closed(v->vio.vol, leg->index);
}

/* The verb right is held. false: something is under way still. */
static bool end(struct iod_leg *leg)
{
	struct ending e = { .leg = leg };
	iod_thread_call(leg->volume->thread, end_on_thread, &e);
	if (e.rc)
		return false;
	iod_leg_close(leg, false);
	return true;
}

/* A file. false: not yet. */
static bool end_file(struct iod_leg *leg)
{
	struct iod_volume *v = leg->volume;
	struct dray_error err = DRAY_ERROR_INIT;
	if (iod_volume_take(v, 10 * SECOND, &err))
		return false;
	bool done = !leg->storage || end(leg);
	iod_volume_give(v);
	return done;
}

static void tell_lost(struct iod_leg *leg, const char *what)
{
	struct iod_volume *v = leg->volume;
	char text[400];
	snprintf(text, sizeof text, "%s: %s, and looked for by its identity", leg->path[0] ? leg->path : leg->def->resource, what);
	iod_leg_error(leg, "%s", text);
	dray_log(DRAY_LOG_ERROR, "primary-lost", "%s leg %u: %s", v->def.name, leg->def->id, text);
	iod_notify(v->iod, "primary-lost", v->def.name, leg->def->id, NULL, text);
}

static enum iod_offered replace(struct iod_leg *leg, struct dray_storage *st)
{
	struct iod_volume *v = leg->volume;
	if (!iod_leg_wanted(leg))
		return IOD_NOT_WANTED;
	if (leg->storage && !end(leg))
		return IOD_NOT_YET;
	iod_leg_install(leg, st);
	pthread_mutex_lock(&v->iod->lock);
	leg->dead = false;
	pthread_mutex_unlock(&v->iod->lock);
	dray_log(DRAY_LOG_WARN, "primary-found", "%s leg %u: %s", v->def.name, leg->def->id, leg->path[0] ? leg->path : leg->def->resource);
	iod_notify(v->iod, "primary-found", v->def.name, leg->def->id, NULL, NULL);
	return IOD_TAKEN;
}

static bool reopen(struct iod_leg *leg, bool first)
{
	struct iod_volume *v = leg->volume;
	uint64_t device = 0;
	enum iod_looked is = iod_leg_look(leg, &device);
	if (is == IOD_ALIVE || is == IOD_UNWANTED)
		return true; /* where it is alive, the next error asks again */
	if (!leg->dead) {
		pthread_mutex_lock(&v->iod->lock);
		leg->dead = true;
		pthread_mutex_unlock(&v->iod->lock);
		tell_lost(leg, is == IOD_DEAD_DEVICE ? "the device was taken away" : "its file system is dead");
		if (first)
			iod_neighbours_suspect(leg, device);
	}
	if (is == IOD_DEAD_FILE && !end_file(leg))
		return false;
	return iod_leg_try_open(leg, true, 0, replace);
}

static bool reopen_once(struct iod_attempt *at)
{
	return reopen(dray_container(at, struct iod_leg, attempt), true);
}

static bool reopen_neighbour(struct iod_attempt *at)
{
	return reopen(dray_container(at, struct iod_leg, attempt), false);
}

void iod_primary_suspect(struct iod_leg *leg)
{
	iod_leg_try(leg, reopen_neighbour, SECOND / 4, 2 * SECOND);
}

void iod_primary_failed(struct iod_leg *leg, int error)
{
	struct iod_volume *v = leg->volume;
	struct iod *iod = v->iod;
	struct dray_leg_info info;
	uint64_t now = dray_loop_now(v->thread->loop);
	if (!suspicious(error) || now < leg->look_after_ns || leg->index == DRAY_NO_LEG)
		return;
	leg->look_after_ns = now + SECOND;
	if (dray_vol_leg_info(v->vio.vol, leg->index, &info) || info.state != DRAY_LEG_PRIMARY)
		return;
	pthread_mutex_lock(&iod->lock);
	bool start = iod_leg_may_be_looked_for(leg);
	pthread_mutex_unlock(&iod->lock);
	if (start)
		iod_leg_try(leg, reopen_once, SECOND / 4, 2 * SECOND);
}
