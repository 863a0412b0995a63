/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Opening, closing and forgetting the storage of legs.
 *
 * A storage is opened on a job's thread, which may take as long as the device likes, and then handed to the I/O thread. It is
 * taken away in the other order: the engine lets go (its last operation has settled, H6), a flush where the contents are to
 * stay, off the loop, closed, and with that its lock is free (H11).
 */
#include "iod/volume.h"

#include "base/log.h"
#include "base/crash.h"
#include "iod/mapfile.h"
#include "storage/identity.h"
#include "storage/sysfs.h"

#include <errno.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECOND UINT64_C(1000000000)

static int check_open(const struct iod_leg *leg, bool primary, bool expected, const struct dray_storage_info *info,
	struct dray_error *err)
{
	const struct iod_volume_def *vd = &leg->volume->def;
	const char *name = leg->def->resource;

	if (expected && strcmp(info->identity, leg->def->identity) != 0)
		return dray_error_kind(err, -ESTALE, "not_accessible",
			"%s: not the storage that was recorded: found %s, expected %s%s", name, info->identity, leg->def->identity,
			info->stable_identity ? "" :
			primary             ? "; what it is called is good for one boot only: `dray volume accept` vouches for it" :
						"; what it is called is good for one boot only: leg.retry vouches for it");
	if (vd->size_bytes == 0) /* the contract of a new volume comes from here */
		return 0;
	if (info->size_bytes < vd->size_bytes)
		return dray_error_kind(err, -ENOSPC, "too_small", "%s: %llu bytes, the volume has %llu", name,
			(unsigned long long)info->size_bytes, (unsigned long long)vd->size_bytes);
	if (vd->block_bytes % info->block_bytes)
		return dray_error_kind(err, -EINVAL, "block_size",
			"%s: its blocks are %u bytes, the volume is served with blocks of %u", name, info->block_bytes,
			vd->block_bytes);
	if (info->read_only && !(primary && vd->read_only))
		return dray_error_kind(err, -EROFS, "not_accessible", "%s: it is read-only", name);
	return 0;
}

int iod_leg_held_by_us(const struct iod_leg *leg, const struct dray_storage_options *options, int rc,
	struct dray_error *err)
{
	struct dray_storage_options look = *options;
	struct dray_storage_info info;
	struct dray_error why = DRAY_ERROR_INIT;
	if (rc != -EBUSY)
		return rc;
	look.no_lock = look.read_only = true;
	look.lock_wait_ns = 0;
	if (dray_storage_probe(leg->path[0] ? leg->path : leg->def->resource, &look, &info, NULL) == 0 &&
		iod_leg_check_other(leg->volume->iod, leg, info.identity, &why)) {
		*err = why;
		rc = why.code;
	}
	return rc;
}

static void set_path(struct iod_leg *leg, const char *path)
{
	struct iod_volume *v = leg->volume;
	pthread_mutex_lock(&v->iod->lock);
	bool news = strcmp(leg->path, path) != 0;
	snprintf(leg->path, sizeof leg->path, "%s", path);
	if (news)
		iod_news_changed(v);
	pthread_mutex_unlock(&v->iod->lock);
	if (!news || !path[0])
		return;
	dray_log(DRAY_LOG_WARN, "leg-moved", "%s leg %u: %s is called %s now", v->def.name, leg->def->id, leg->def->resource, path);
	iod_notify(v->iod, "leg-moved", v->def.name, leg->def->id, NULL, NULL);
}

int iod_leg_locate(struct iod_leg *leg, struct dray_error *err)
{
	const struct iod_leg_def *d = leg->def;
	const char *name = strncmp(d->resource, "file:", 5) ? d->resource : d->resource + 5;
	struct dray_storage_options look = { .read_only = true, .no_lock = true, .look = true, .offset = d->offset, .length = d->length };
	struct dray_storage_info info = { 0 };
	struct stat st;
	char path[256];
	bool there = name[0] == '/' && stat(name, &st) == 0;
	/* A file is where it is recorded or nowhere. A loop device has the identity of its file. */
	bool device = name[0] == '/' && (there ? S_ISBLK(st.st_mode) : !strncmp(d->identity, "block:", 6) || !strncmp(name, "/dev/", 5));
	if (!device) {
		set_path(leg, "");
		return 0;
	}
	int seen = there ? dray_storage_probe(name, &look, &info, NULL) : -ENOENT;
	if (!seen && strcmp(info.identity, d->identity) == 0) {
		set_path(leg, "");
		return 0;
	}
	/* A number is no identity over a boot: then it is said below that it is another, and somebody has to vouch for it. */
	bool known = d->stable || strcmp(d->boot_id, leg->volume->iod->state.boot_id) == 0;
	int rc = known ? dray_identity_find(d->identity, d->offset, d->length, path, sizeof path) : -ENOENT;
	if (!rc) {
		set_path(leg, path);
		return 0;
	}
	set_path(leg, "");
	if (rc == -ENOTUNIQ)
		return dray_error_kind(err, -ESTALE, "not_accessible", "%s: several devices have its identity, %s, and none has its name", name,
			d->identity);
	if (!there)
		return dray_error_kind(err, -ENOENT, "not_found", "%s: it is not there, and no device has its identity, %s", name, d->identity);
	if (!known)
		return 0; /* opened as recorded, and judged by what is found */
	return dray_error_kind(err, -ESTALE, "not_accessible", "%s: not the storage that was recorded: found %s, expected %s, and no device has that",
		name, seen ? "nothing" : info.identity, d->identity);
}

int iod_leg_open(struct iod_leg *leg, bool primary, uint64_t lock_wait_ns, bool expected, struct dray_storage **st,
	struct dray_error *err)
{
	const struct iod_volume *v = leg->volume;
	int rc = iod_leg_check_self(v->iod, leg->def->resource, err);
	if (!rc && expected)
		rc = iod_leg_locate(leg, err);
	if (rc)
		return rc;
	const char *resource = leg->path[0] ? leg->path : leg->def->resource;
	/* A disk that came back this moment: our lock on it would keep udev from giving it its names and its owner. One that is looked for
	 * is looked for again; but a volume that is brought up is not kept waiting for names. */
	struct stat node;
	pthread_mutex_lock(&v->iod->lock);
	bool again = !primary || v->served;
	pthread_mutex_unlock(&v->iod->lock);
	if (expected && again && *resource == '/' && !stat(resource, &node) && S_ISBLK(node.st_mode) && dray_udev_pending(node.st_rdev))
		return dray_error_kind(err, -EBUSY, "held", "%s: udev has not dealt with it yet", resource);
	struct dray_storage_options options = {
		.read_only = primary && v->def.read_only,
		.allow_faults = v->iod->options.allow_faults,
		.lock_wait_ns = lock_wait_ns,
		.offset = leg->def->offset,
		.length = leg->def->length,
		.retry_primary = primary,
	};
	rc = dray_storage_open(st, resource, &options, err);
	if (rc)
		return iod_leg_held_by_us(leg, &options, rc, err);
	rc = check_open(leg, primary, expected, &(*st)->info, err);
	if (!rc)
		rc = iod_leg_check_other(v->iod, leg, (*st)->info.identity, err);
	if (rc)
		dray_storage_close(*st);
	return rc;
}

int iod_leg_open_new(struct iod_leg *leg, bool primary, bool vouch, struct dray_storage **st, struct dray_error *err)
{
	const struct iod_leg_def *d = leg->def;
	const struct iod *iod = leg->volume->iod;
	bool seen = d->identity[0];
	int rc = iod_leg_open(leg, primary, IOD_LOCK_WAIT, seen && !vouch, st, err);
	if (rc || !seen)
		return rc;
	const struct dray_storage_info *info = &(*st)->info;
	if (vouch && info->stable_identity && strcmp(info->identity, d->identity))
		rc = dray_error_kind(err, -ESTALE, "not_accessible", "%s: not the storage that was checked: found %s, expected %s", d->resource,
			info->identity, d->identity);
	else if (!vouch && !info->stable_identity && strcmp(d->boot_id, iod->state.boot_id))
		rc = dray_error_kind(err, -ESTALE, "not_accessible",
			"%s: it was checked before the host was restarted, and its name (%s) may mean another disk now: a retry vouches for it",
			d->resource, info->identity);
	if (rc)
		dray_storage_close(*st);
	return rc;
}

void iod_leg_record(struct iod_leg *leg, const struct dray_storage_info *info)
{
	struct iod_leg_def *d = leg->def;
	struct iod *iod = leg->volume->iod;
	pthread_mutex_lock(&iod->lock);
	memcpy(d->identity, info->identity, sizeof d->identity);
	memcpy(d->boot_id, iod->state.boot_id, sizeof d->boot_id);
	d->stable = info->stable_identity;
	d->size_bytes = info->size_bytes;
	d->late_writes = info->late_writes;
	d->extents = info->can_extents;
	d->thin = info->thin;
	d->has_zero = info->can_zero;
	pthread_mutex_unlock(&iod->lock);
}

struct install {
	struct iod_leg *leg;
	struct dray_storage *st;
	struct iod_disk *disks[IOD_DISKS_OF_LEG];
	unsigned n_disks;
};

static void install(void *arg)
{
	struct install *in = arg;
	dray_storage_attach(in->st, in->leg->volume->thread->loop);
	in->leg->io = in->st;
	memcpy(in->leg->disks, in->disks, sizeof in->disks);
	in->leg->n_disks = in->n_disks;
	if (in->leg->volume->vio.vol)
		iod_vio_refresh(in->leg->volume);
}

void iod_leg_install(struct iod_leg *leg, struct dray_storage *st)
{
	struct install in = { .leg = leg, .st = st };
	pthread_mutex_lock(&leg->volume->iod->lock);
	char *name = strdup(leg->path[0] ? leg->path : leg->def->resource);
	pthread_mutex_unlock(&leg->volume->iod->lock);
	if (name) /* else it shares nothing */
		in.n_disks = iod_disks_below(&leg->volume->iod->disks, name, &st->info, in.disks);
	free(name);
	iod_thread_call(leg->volume->thread, install, &in);
	pthread_mutex_lock(&leg->volume->iod->lock);
	leg->storage = st;
	leg->info = st->info;
	leg->error[0] = '\0';
	iod_news_changed(leg->volume);
	pthread_mutex_unlock(&leg->volume->iod->lock);
}

bool iod_leg_try_open(struct iod_leg *leg, bool primary, uint64_t lock_wait_ns,
	enum iod_offered (*offer)(struct iod_leg *leg, struct dray_storage *st))
{
	struct iod_volume *v = leg->volume;
	struct dray_error err = DRAY_ERROR_INIT;
	struct dray_storage *st;
	enum iod_offered is = IOD_NOT_YET;
	int rc = iod_leg_open(leg, primary, lock_wait_ns, true, &st, &err);
	if (rc) {
		iod_leg_not_open(leg, rc, err.text);
		return false;
	}
	if (!iod_volume_take(v, 10 * SECOND, &err)) {
		is = offer(leg, st);
		iod_volume_give(v);
	}
	if (is != IOD_TAKEN)
		dray_storage_close(st);
	return is != IOD_NOT_YET;
}

struct closing {
	struct dray_loop_msg msg;
	struct iod_leg *leg;
	struct dray_storage *st;
	struct dray_sio flush;
	bool want_flush;
	int error;
	sem_t done;
};

static void close_detached(void *arg)
{
	struct closing *c = arg;
	sem_post(&c->done);
}

static void close_flushed(struct dray_sio *sio, int error, bool may_land_late)
{
	struct closing *c = dray_container(sio, struct closing, flush);
	c->error = error;
	dray_storage_detach(c->st, close_detached, c);
}

static void close_begin(struct dray_loop_msg *msg)
{
	struct closing *c = dray_container(msg, struct closing, msg);
	c->leg->io = NULL;
	if (c->leg->volume->vio.vol)
		iod_vio_refresh(c->leg->volume);
	if (!c->want_flush) {
		dray_storage_detach(c->st, close_detached, c);
		return;
	}
	c->flush.op = DRAY_OP_FLUSH;
	c->flush.done = close_flushed;
	dray_storage_submit(c->st, &c->flush);
}

int iod_leg_close(struct iod_leg *leg, bool flush)
{
	pthread_mutex_t *lock = &leg->volume->iod->lock;
	struct closing *c = calloc(1, sizeof *c);
	int error = -ENOMEM;
	if (!c)
		return error;
	pthread_mutex_lock(lock);
	c->st = leg->storage;
	leg->storage = NULL;
	iod_news_changed(leg->volume);
	pthread_mutex_unlock(lock);
	error = 0;
	if (c->st) {
		c->leg = leg;
		c->want_flush = flush;
		c->msg.run = close_begin;
		sem_init(&c->done, 0, 0);
		dray_loop_post(leg->volume->thread->loop, &c->msg);
		while (sem_wait(&c->done) < 0 && errno == EINTR)
			;
		sem_destroy(&c->done);
		error = c->error;
		dray_storage_close(c->st);
	}
	free(c);
	return error;
}

struct letting {
	struct iod_leg *leg;
	int rc;
};

static void let_go(void *arg)
{
	struct letting *l = arg;
	struct iod_volume *v = l->leg->volume;
	if (l->leg->index == DRAY_NO_LEG) { /* the engine never had it, or let go of it at a switch */
		pthread_mutex_lock(&v->wait_lock);
		l->leg->let_go = true;
		pthread_mutex_unlock(&v->wait_lock);
		return;
	}
	iod_vio_enter(v);
	l->rc = dray_vol_leg_detach(v->vio.vol, l->leg->index);
}

static void set_forgotten(struct iod_leg *leg, bool forgotten)
{
	pthread_mutex_lock(&leg->volume->iod->lock);
	leg->forgotten = forgotten;
	pthread_mutex_unlock(&leg->volume->iod->lock);
}

int iod_leg_forget(struct iod_leg *leg, struct dray_error *err)
{
	struct iod_volume *v = leg->volume;
	set_forgotten(leg, true);
	int rc = iod_volume_save(v, err);
	if (rc) {
		set_forgotten(leg, false);
		return rc;
	}
	dray_crash_point("detach-forgotten");
	struct letting l = { leg, 0 };
	iod_thread_call(v->thread, let_go, &l);
	if (l.rc) {
		set_forgotten(leg, false);
		iod_volume_save(v, NULL);
		return dray_error_kind(err, l.rc, "busy", "volume %s: leg %u: cannot be let go now: %s", v->def.name,
			leg->def->id, strerror(-l.rc));
	}
	return 0;
}

struct taking {
	struct iod_leg *leg;
	int fd;
};

static void take_map(void *arg)
{
	struct taking *t = arg;
	t->fd = t->leg->map_fd;
	t->leg->map_fd = -1;
}

/* Removes the maps of all links of the leg. */
static void remove_maps(struct iod_leg *leg)
{
	struct iod_volume *v = leg->volume;
	unsigned id = leg->def->id, others[2 * IOD_LEGS_MAX + 1], n = 0;
	pthread_mutex_lock(&v->iod->lock);
	if (leg->def->peer)
		others[n++] = leg->def->peer;
	for (unsigned i = 0; i < v->n_legs; i++)
		if (v->legs[i]->def->peer == id)
			others[n++] = v->legs[i]->def->id;
	pthread_mutex_unlock(&v->iod->lock);
	for (unsigned i = 0; i < n; i++)
		iod_map_remove(&v->iod->state, v->def.name, id, others[i]);
}

int iod_leg_bury(struct iod_leg *leg, bool flush, struct dray_error *err)
{
	struct iod_volume *v = leg->volume;
	if (!iod_volume_wait(v, &leg->let_go))
		return dray_error_kind(err, -ESHUTDOWN, "busy", "volume %s: leg %u: dray-iod ends before the leg has settled",
			v->def.name, leg->def->id);
	int rc = iod_leg_close(leg, flush);
	struct taking t = { leg, -1 };
	iod_thread_call(v->thread, take_map, &t);
	if (t.fd >= 0)
		close(t.fd);
	remove_maps(leg);
	if (rc) {
		dray_error_kind(err, rc, "flush_failed", "volume %s: leg %u: %s: its last flush failed: %s", v->def.name,
			leg->def->id, leg->def->resource, strerror(-rc));
		dray_log(DRAY_LOG_ERROR, "leg-flush", "%s leg %u: flush on letting go: %s", v->def.name, leg->def->id,
			strerror(-rc));
	}
	iod_volume_leg_drop(leg);
	return rc;
}
