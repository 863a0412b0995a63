/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The engine's host: what dray_host_ops is made of in the real program.
 *
 * Everything here runs on the volume's I/O thread, so nothing is locked. Operations go to the leg's storage through an `iod_op`
 * taken from a list of free ones (the list grows to the engine's own limit and never shrinks: no allocation in the steady
 * state); map pages go to the link's file. What cannot even begin (no storage open, no memory) is put on `deferred` and
 * completed from the hook: the engine is never called back from inside its own call.
 *
 * Time: the engine is ticked with the loop's time before each batch of completions and requests, and from the hook when it
 * asked for it. `ahead_ns` shifts its clock forward, once, at an orderly stop: what waits for time to pass (intents that are
 * cleared when idle) is then due at once, and since the shift stays, intervals measured later are right.
 *
 * The link: map operations name a leg by the engine's index, and a leg has one map file, of its link with the present
 * primary. A switch moves the descriptor from the new primary to the old one (iod_vio_swap_link) right before the engine
 * is told to go on, because the first map write of the other direction may come from inside that call.
 */
#include "iod/volume.h"

#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BEAT_NS UINT64_C(100000000)

struct iod_op {
	struct dray_sio sio; /* a storage operation ... */
	struct dray_ioc ioc; /* ... or one on a map file */
	struct iovec iov;
	struct dray_io *io;
	struct iod_volume *v;
	struct iod_op *next;
};

/* A deferred operation has no iod_op; its list node and result are in the host's part of it. */
struct deferred {
	struct dray_list node;
	intptr_t error;
};
_Static_assert(sizeof(struct deferred) <= sizeof((struct dray_io *)0)->host, "fits");

static uint64_t vio_now(const struct iod_volume *v)
{
	return dray_loop_now(v->thread->loop) + v->vio.ahead_ns;
}

/* It is news (news.h). */
static void note_news(struct iod_volume *v)
{
	if (dray_list_empty(&v->vio.news_node))
		dray_list_add_tail(&v->thread->news, &v->vio.news_node);
}

/* What those say that share a disk with the volume, before its engine runs. */
static void ask_neighbours(struct iod_volume *v, uint64_t now_ms)
{
	bool copied = false;
	uint32_t allowed = IOD_WINDOW_ANY;
	for (unsigned i = 0; i < v->vio.n_disks; i++) {
		uint32_t w = iod_disk_allowed(v->vio.disks[i], v->vio.number, now_ms);
		copied |= iod_disk_is_copied(v->vio.disks[i], v->vio.number, now_ms);
		allowed = w < allowed ? w : allowed;
	}
	dray_vol_neighbours(v->vio.vol, copied, allowed);
}

/* And what is said to them, after it. */
static void tell_neighbours(struct iod_volume *v, uint64_t now_ms)
{
	unsigned window;
	bool copies = dray_vol_copied_lately(v->vio.vol), works = dray_vol_allows(v->vio.vol, &window);
	for (unsigned i = 0; i < v->vio.n_disks; i++) {
		struct iod_disk *d = v->vio.disks[i];
		if (copies)
			iod_disk_copied(d, v->vio.number, now_ms);
		if (works)
			iod_disk_allow(d, v->vio.number, window, now_ms);
		else
			iod_disk_allow_all(d, v->vio.number, now_ms);
	}
}

/* While operations are under way their engine is looked after often. If that comes much too late it is this thread that stood still, stopped or
 * without a processor, and not the storages, whose answers may have been there for long: what came is handed on after the tick that judges them. */
static void mind_beat(const struct iod_volume *v, uint64_t loop_ns)
{
	uint64_t due = v->vio.beat_ns;
	if (due && loop_ns > due + BEAT_NS)
		dray_vol_held_up(v->vio.vol, loop_ns - due);
}

/* When it wants the next one is next_ns: whoever calls this has the volume entered, and tick_run says so (ticks.h). */
static void tick(struct iod_volume *v, uint64_t now_ns)
{
	struct iod_vio *vio = &v->vio;
	uint64_t loop_ns = now_ns - vio->ahead_ns, now_ms = loop_ns / 1000000;
	note_news(v);
	mind_beat(v, loop_ns);
	vio->ticked_ns = now_ns;
	vio->touched = false;
	ask_neighbours(v, now_ms);
	uint64_t wake_ns = dray_vol_tick(vio->vol, now_ns);
	vio->next_ns = wake_ns == DRAY_TIME_NEVER ? UINT64_MAX : wake_ns - vio->ahead_ns;
	vio->beat_ns = vio->busy ? loop_ns + BEAT_NS : 0;
	if (vio->beat_ns && vio->beat_ns < vio->next_ns)
		vio->next_ns = vio->beat_ns;
	tell_neighbours(v, now_ms);
}

void iod_vio_enter(struct iod_volume *v)
{
	uint64_t now_ns = vio_now(v);
	if (now_ns != v->vio.ticked_ns)
		tick(v, now_ns);
	note_news(v);
	v->vio.touched = true;
	iod_tick_enter(&v->thread->ticks, &v->vio.tick);
}

static struct iod_op *op_get(struct iod_volume *v)
{
	struct iod_op *op = v->vio.free_ops;
	if (op) {
		v->vio.free_ops = op->next;
		return op;
	}
	op = calloc(1, sizeof *op);
	if (op)
		op->v = v;
	return op;
}

static void op_put(struct iod_op *op)
{
	op->next = op->v->vio.free_ops;
	op->v->vio.free_ops = op;
}

static void defer(struct iod_volume *v, struct dray_io *io, int error)
{
	struct deferred *d = (struct deferred *)io->host;
	d->error = error;
	dray_list_add_tail(&v->vio.deferred, &d->node);
	iod_tick_enter(&v->thread->ticks, &v->vio.tick);
}

static void complete(struct iod_op *op, int error, unsigned flags)
{
	struct iod_volume *v = op->v;
	struct dray_io *io = op->io;
	op_put(op);
	v->vio.busy--;
	iod_vio_enter(v);
	dray_vol_complete(v->vio.vol, io, error, flags);
}

static void storage_done(struct dray_sio *sio, int error, bool may_land_late)
{
	struct iod_op *op = dray_container(sio, struct iod_op, sio);
	op->io->n_extents = sio->n_extents;
	/* Before the engine hears of it: it may let go of the leg. */
	if (error && op->v->vio.legs[op->io->leg])
		iod_primary_failed(op->v->vio.legs[op->io->leg], error);
	complete(op, error, may_land_late && error ? DRAY_C_MAY_LAND_LATE : 0);
}

static void map_done(struct dray_ioc *ioc, int res)
{
	struct iod_op *op = dray_container(ioc, struct iod_op, ioc);
	int error = res < 0 ? res : 0;
	/* The file is allocated in full: a short write is a failing disk. */
	if (!error && (op->io->op == DRAY_OP_MAP_WRITE || op->io->op == DRAY_OP_BAD_WRITE) && (uint64_t)res != op->io->length)
		error = -EIO;
	complete(op, error, 0);
}

static void host_submit(void *host, struct dray_io *io)
{
	struct iod_volume *v = host;
	v->vio.busy++;
	struct iod_leg *leg = v->vio.legs[io->leg];
	bool bad = io->op == DRAY_OP_BAD_WRITE || io->op == DRAY_OP_BAD_SYNC;
	bool map = io->op == DRAY_OP_MAP_WRITE || io->op == DRAY_OP_MAP_SYNC || bad;
	int fd = bad ? v->vio.bad_fd : leg ? leg->map_fd : -1;

	if (map ? fd < 0 : !leg || !leg->io) {
		defer(v, io, -ENODEV);
		return;
	}
	struct iod_op *op = op_get(v);
	if (!op) {
		defer(v, io, -ENOMEM);
		return;
	}
	op->io = io;
	if (map) {
		op->ioc.done = map_done;
		if (io->op == DRAY_OP_MAP_SYNC || io->op == DRAY_OP_BAD_SYNC) {
			dray_loop_fdatasync(v->thread->loop, &op->ioc, fd);
			return;
		}
		op->iov = (struct iovec){ .iov_base = io->data, .iov_len = io->length };
		dray_loop_writev(v->thread->loop, &op->ioc, fd, &op->iov, 1, io->offset, 0, 0);
		return;
	}
	struct dray_sio *sio = &op->sio;
	sio->done = storage_done;
	sio->op = io->op;
	sio->flags = io->flags;
	sio->offset = io->offset;
	sio->length = io->length;
	sio->data = io->data;
	sio->extents = io->extents;
	sio->max_extents = io->max_extents;
	sio->n_extents = 0;
	dray_storage_submit(leg->io, sio);
}

static void host_reply(void *host, struct dray_request *req, int error)
{
	struct iod_volume *v = host;
	dray_nbd_reply(req, error);
	/* The NBD server gathers replies and sends them from its own hook, which may have run before ours. */
	if (v->vio.in_hook)
		dray_loop_hooks_again(v->thread->loop);
}

static void host_release(void *host, struct dray_request *req)
{
	dray_nbd_release(req);
}

static void host_event(void *host, const struct dray_event *ev)
{
	((struct iod_volume *)host)->vio.eventful = true;
	iod_volume_event(host, ev);
}

static void *host_buf_get(void *host, uint64_t bytes)
{
	struct iod_volume *v = host;
	return iod_slab_get(&v->thread->steps, bytes);
}

static void host_buf_put(void *host, void *buf, uint64_t bytes)
{
	struct iod_volume *v = host;
	iod_slab_put(&v->thread->steps, buf, bytes);
}

static const struct dray_host_ops host_ops = {
	.submit = host_submit,
	.reply = host_reply,
	.release = host_release,
	.event = host_event,
	.buf_get = host_buf_get,
	.buf_put = host_buf_put,
};

static void complete_deferred(struct iod_volume *v)
{
	/* Only those that are there now: a completion may bring the same operation back, and it waits for the next round. */
	struct dray_list now;
	dray_list_init(&now);
	for (struct dray_list *n; (n = dray_list_pop(&v->vio.deferred));)
		dray_list_add_tail(&now, n);
	for (struct dray_list *n; (n = dray_list_pop(&now));) {
		struct deferred *d = dray_container(n, struct deferred, node);
		struct dray_io *io = (struct dray_io *)((char *)d - offsetof(struct dray_io, host));
		v->vio.busy--;
		iod_vio_enter(v);
		dray_vol_complete(v->vio.vol, io, (int)d->error, 0);
	}
}

static uint64_t tick_run(struct iod_tick *t, uint64_t loop_ns)
{
	struct iod_vio *vio = dray_container(t, struct iod_vio, tick);
	struct iod_volume *v = dray_container(vio, struct iod_volume, vio);

	if (!vio->vol)
		return UINT64_MAX;
	vio->in_hook = true;
	complete_deferred(v);
	if (vio->touched || loop_ns >= vio->next_ns)
		tick(v, loop_ns + vio->ahead_ns);
	vio->in_hook = false;
	return dray_list_empty(&vio->deferred) ? vio->next_ns : loop_ns;
}

int iod_vio_new(struct iod_volume *v, const void *const *bad_slots)
{
	struct dray_vol_config config = {
		.size_bytes = v->def.size_bytes,
		.region_bytes = v->def.region_bytes,
		.block_bytes = v->def.block_bytes,
		.bad_slots = bad_slots,
	};
	memcpy(config.bad_id, v->def.uuid, sizeof config.bad_id);
	int rc = dray_vol_new(&v->vio.vol, &config, &host_ops, v);
	if (rc)
		return rc;
	tick(v, vio_now(v));
	iod_tick_enter(&v->thread->ticks, &v->vio.tick);
	return dray_vol_set_limits(v->vio.vol, &v->def.limits);
}

int iod_vio_attach(struct iod_volume *v, struct iod_leg *leg, const struct dray_leg_config *config)
{
	iod_vio_enter(v);
	int index = dray_vol_leg_attach(v->vio.vol, config);
	if (index < 0)
		return index;
	leg->index = index;
	v->vio.legs[index] = leg;
	iod_vio_refresh(v);
	return 0;
}

static void add_disks(struct iod_vio *vio, const struct iod_leg *leg)
{
	for (unsigned i = 0; i < leg->n_disks; i++) {
		bool there = vio->n_disks == sizeof vio->disks / sizeof vio->disks[0];
		for (unsigned k = 0; k < vio->n_disks && !there; k++)
			there = vio->disks[k] == leg->disks[i];
		if (!there)
			vio->disks[vio->n_disks++] = leg->disks[i];
	}
}

void iod_vio_refresh(struct iod_volume *v)
{
	bool fast = true;
	v->vio.n_disks = 0;
	for (int i = 0; i < DRAY_MAX_LEGS; i++)
		if (v->vio.legs[i] && v->vio.legs[i]->io)
			add_disks(&v->vio, v->vio.legs[i]);
	for (int i = 0; i < DRAY_MAX_LEGS; i++)
		if (v->vio.legs[i] && v->vio.legs[i]->io)
			fast &= v->vio.legs[i]->io->info.can_fast_zero;
	v->vio.fast_zero = fast;
}

bool iod_vio_quiet(struct iod_volume *v)
{
	struct dray_vol_info info;
	dray_vol_info(v->vio.vol, &info);
	return !info.requests_in_flight && !info.requests_waiting && !v->vio.busy;
}

void iod_vio_free(struct iod_volume *v)
{
	iod_tick_leave(&v->thread->ticks, &v->vio.tick);
	dray_list_del(&v->vio.news_node);
	/* The legs are still attached: letting them go would have the engine change their maps. */
	dray_vol_free(v->vio.vol, true);
	v->vio.vol = NULL;
	for (int i = 0; i < DRAY_MAX_LEGS; i++)
		if (v->vio.legs[i]) {
			v->vio.legs[i]->index = DRAY_NO_LEG;
			v->vio.legs[i] = NULL;
		}
	while (v->vio.free_ops) {
		struct iod_op *op = v->vio.free_ops;
		v->vio.free_ops = op->next;
		free(op);
	}
}

void iod_vio_init(struct iod_volume *v)
{
	dray_list_init(&v->vio.deferred);
	dray_list_init(&v->vio.news_node);
	dray_list_init(&v->vio.tick.node);
	v->vio.tick.run = tick_run;
	v->vio.bad_fd = -1;
	static atomic_uint numbers;
	v->vio.number = atomic_fetch_add(&numbers, 1) % 0xffffeU + 1;
}

void iod_vio_swap_link(struct iod_volume *v, int old_primary, int new_primary)
{
	struct iod_leg *from = v->vio.legs[new_primary], *to = v->vio.legs[old_primary];
	assert(from && to && to->map_fd < 0);
	to->map_fd = from->map_fd;
	from->map_fd = -1;
}
