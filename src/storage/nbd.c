/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * NBD exports, through libnbd: requests.
 *
 * The connections are made by blocking calls outside of the loop (open, and a worker for each reconnect) and then driven by
 * it: each handle's descriptor is polled for what libnbd wants next. libnbd calls back with its handle locked, so results
 * never go to the caller from there but through the loop's list of finished operations.
 *
 * Several connections are used if the server says that a flush on one covers all (multi-conn); a request goes to the one with
 * the least in flight.
 *
 * A lost connection. Each request it carried may or may not have been carried out, and may still be, later, by a server that
 * works off what it received (H6). Without retry_primary they complete with -ENOTCONN, and may_land_late if they change
 * anything; new requests fail at once with -ENOTCONN when no connection is left. With retry_primary both wait in
 * `queue`, in order, and are sent again when a connection is there, for retry_ns; a request that is sent again is the same
 * request, so landing twice does no harm while it is under way. A read that another leg can serve (DRAY_F_NO_WAIT) is not kept waiting.
 *
 * A server that stops answering leaves its requests under way. How long to wait is the engine's to say (leg_timeout). When it is given up
 * (give_up), what is still under way after the time named there is ended by cutting its connections: as far as anyone can know, lost.
 */
#include "storage/nbd_state.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define RETRY_DEFAULT_NS UINT64_C(30000000000)
#define SILENCE_NS       UINT64_C(5000000000)
#define SAY_AGAIN_NS     UINT64_C(60000000000)

static bool changes(const struct dray_sio *sio)
{
	return sio->op == DRAY_OP_WRITE || sio->op == DRAY_OP_ZERO || sio->op == DRAY_OP_DISCARD;
}

/* ---- completion ---- */

static void finished(struct dray_ioc *ioc, int res)
{
	struct dray_sio *sio = dray_container(ioc, struct dray_sio, ioc);
	sio->done(sio, res, res && sio->priv[LATE]);
}

void dray_nbd_finish(struct nbd *n, struct dray_sio *sio, int error)
{
	sio->ioc.done = finished;
	dray_loop_finish(n->st->loop, &sio->ioc, error);
}

void dray_nbd_set_expiry(struct nbd *n)
{
	if (dray_list_empty(&n->queue)) {
		dray_loop_timer_cancel(n->st->loop, &n->expiry);
		return;
	}
	struct dray_sio *first = dray_container(n->queue.next, struct dray_sio, node);
	dray_loop_timer_set(n->st->loop, &n->expiry, (uint64_t)(uintptr_t)first->priv[EXPIRY]);
}

static void expired(struct dray_loop_timer *timer)
{
	struct nbd *n = dray_container(timer, struct nbd, expiry);
	uint64_t now = dray_loop_now(n->st->loop);
	/* A request that was cut off keeps its first expiry, so the order is not quite that of time: all are looked at. */
	dray_list_for_each_safe(node, &n->queue)
	{
		struct dray_sio *sio = dray_container(node, struct dray_sio, node);
		if ((uint64_t)(uintptr_t)sio->priv[EXPIRY] > now)
			continue;
		dray_list_del(&sio->node);
		dray_nbd_finish(n, sio, -ENOTCONN);
	}
	dray_nbd_set_expiry(n);
}

/* For a connection, where there is none. */
static bool waits(const struct nbd *n, const struct dray_sio *sio)
{
	return n->retry && !(sio->flags & DRAY_F_NO_WAIT);
}

static void enqueue(struct nbd *n, struct dray_sio *sio)
{
	if (!sio->priv[EXPIRY])
		sio->priv[EXPIRY] = (void *)(uintptr_t)(dray_loop_now(n->st->loop) + n->retry_ns);
	dray_list_add_tail(&n->queue, &sio->node);
	dray_nbd_set_expiry(n);
}

/* From the loop, after libnbd's callback. */
static void replied(struct dray_ioc *ioc, int res)
{
	struct dray_sio *sio = dray_container(ioc, struct dray_sio, ioc);
	struct nbd *n = sio->storage->priv;
	struct conn *c = sio->priv[CONN];
	c->under_way--;
	c->heard_ns = dray_loop_now(n->st->loop);
	c->told_ns = 0;
	if (dray_nbd_is_own(n, sio)) {
		dray_nbd_own_replied(n, sio, res);
		return;
	}
	if (res == -ENOTCONN) {
		/* Only a lost connection says so: the protocol has no such error. */
		if (changes(sio))
			sio->priv[LATE] = c;
		if (waits(n, sio) && !n->broken && !n->quit) {
			enqueue(n, sio);
			dray_nbd_send_queue(n);
			return;
		}
	}
	if (!res && changes(sio)) {
		bool durable = sio->flags & DRAY_F_FUA, keep = n->retry && n->can_flush;
		n->unflushed |= !durable;
		if (keep)
			dray_nbd_kept_add(&n->kept, sio);
		/* The end of its connection may be known before we are called with what came before that. */
		if (c->state != CONNECTED && (n->retry ? keep : !durable))
			dray_nbd_lost(n);
		if (keep)
			dray_nbd_flush_kept(n);
	} else if (!res && sio->op == DRAY_OP_FLUSH) {
		dray_nbd_kept_flushed(&n->kept, (uint64_t)(uintptr_t)sio->priv[MARK]);
	}
	if (n->again_due)
		dray_nbd_send_queue(n);
	sio->done(sio, res, res && sio->priv[LATE]);
}

/* With the handle locked: only remembers. */
static int completed(void *arg, int *error)
{
	struct dray_sio *sio = arg;
	struct nbd *n = sio->storage->priv;
	int e = *error;
	if (!e && sio->op == DRAY_OP_EXTENTS && !sio->n_extents)
		e = EIO; /* a server must describe something */
	sio->ioc.done = replied;
	dray_loop_finish(n->st->loop, &sio->ioc, -e);
	return 1;
}

static int extent(void *arg, const char *context, uint64_t offset, uint32_t *entries, size_t count, int *error)
{
	struct dray_sio *sio = arg;
	if (strcmp(context, LIBNBD_CONTEXT_BASE_ALLOCATION) || sio->n_extents)
		return 0;
	uint64_t left = sio->length;
	for (size_t i = 0; i + 1 < count && left && sio->n_extents < sio->max_extents; i += 2) {
		uint64_t length = entries[i] < left ? entries[i] : left;
		if (!length)
			break;
		uint32_t flags = entries[i + 1];
		sio->extents[sio->n_extents++] = (struct dray_extent){ .length = length,
			.flags = (flags & LIBNBD_STATE_HOLE ? DRAY_EXTENT_HOLE : 0U) |
				(flags & LIBNBD_STATE_ZERO ? DRAY_EXTENT_ZERO : 0U) };
		left -= length;
	}
	return 0;
}

/* ---- sending ---- */

struct conn *dray_nbd_choose(struct nbd *n)
{
	struct conn *best = NULL;
	for (unsigned i = 0; i < n->n; i++) {
		struct conn *c = &n->conns[i];
		if (c->state == CONNECTED && (!best || c->under_way < best->under_way))
			best = c;
	}
	return best;
}

static int64_t command(struct nbd *n, struct nbd_handle *h, struct dray_sio *sio)
{
	nbd_completion_callback cb = { .callback = completed, .user_data = sio };
	nbd_extent_callback each = { .callback = extent, .user_data = sio };
	uint64_t at = n->st->slice_offset + sio->offset;
	uint32_t fua = sio->flags & DRAY_F_FUA ? LIBNBD_CMD_FLAG_FUA : 0;
	switch (sio->op) {
	case DRAY_OP_READ: return nbd_aio_pread(h, sio->data, sio->length, at, cb, 0);
	case DRAY_OP_WRITE: return nbd_aio_pwrite(h, sio->data, sio->length, at, cb, fua);
	case DRAY_OP_ZERO:
		return nbd_aio_zero(h, sio->length, at, cb,
			(sio->flags & DRAY_F_MAY_UNMAP ? 0U : LIBNBD_CMD_FLAG_NO_HOLE) |
				(sio->flags & DRAY_F_FAST ? LIBNBD_CMD_FLAG_FAST_ZERO : 0U));
	case DRAY_OP_DISCARD: return nbd_aio_trim(h, sio->length, at, cb, 0);
	case DRAY_OP_FLUSH: return nbd_aio_flush(h, cb, 0);
	case DRAY_OP_CACHE: return nbd_aio_cache(h, sio->length, at, cb, 0);
	case DRAY_OP_EXTENTS: {
		uint64_t length = sio->length < DRAY_STORAGE_MOST_ZERO ? sio->length : DRAY_STORAGE_MOST_ZERO;
		sio->n_extents = 0;
		return nbd_aio_block_status(h, length, at, each, cb, sio->max_extents == 1 ? LIBNBD_CMD_FLAG_REQ_ONE : 0);
	}
	default: assert(false && "not a storage's operation"); return -1;
	}
}

/* Nothing is done about a server that is silent, but that it is said, once in a while. */
static void listen_for(struct dray_loop_timer *timer)
{
	struct nbd *n = dray_container(timer, struct nbd, silence);
	uint64_t now = dray_loop_now(n->st->loop);
	bool busy = false;
	for (unsigned i = 0; i < n->n; i++) {
		struct conn *c = &n->conns[i];
		if (c->state != CONNECTED || !c->under_way)
			continue;
		busy = true;
		if (now - c->heard_ns < SILENCE_NS || (c->told_ns && now - c->told_ns < SAY_AGAIN_NS))
			continue;
		c->told_ns = now;
		dray_nbd_silent(c->h, n->st->resource, c->under_way, now - c->heard_ns, c->in_armed, c->out_armed);
	}
	if (busy)
		dray_loop_timer_set(n->st->loop, timer, now + SILENCE_NS);
}

void dray_nbd_send_on(struct nbd *n, struct conn *c, struct dray_sio *sio)
{
	if (sio->op == DRAY_OP_FLUSH && n->flush_lost && !dray_nbd_is_own(n, sio)) {
		n->flush_lost = false;
		dray_nbd_finish(n, sio, -EIO);
		return;
	}
	sio->priv[MARK] = (void *)(uintptr_t)n->kept.seq;
	sio->priv[CONN] = c;
	if (!c->under_way++)
		c->heard_ns = dray_loop_now(n->st->loop);
	if (!n->silence.at_ns)
		dray_loop_timer_set(n->st->loop, &n->silence, dray_loop_now(n->st->loop) + SILENCE_NS);
	sio->ioc.done = NULL;
	/* Where the connection breaks while the request is sent, libnbd (1.14) calls back, frees its command, and then returns what
	 * it reads in the freed memory: only without a callback does a negative number mean that none comes. */
	if (command(n, c->h, sio) < 0 && !sio->ioc.done) {
		/* Not sent. */
		int e = nbd_get_errno();
		bool lost = nbd_aio_is_dead(c->h) > 0 || nbd_aio_is_closed(c->h) > 0;
		sio->ioc.done = replied;
		dray_loop_finish(n->st->loop, &sio->ioc, lost ? -ENOTCONN : e ? -e : -EIO);
	}
	dray_nbd_check_alive(c);
}

static void submit(struct dray_storage *st, struct dray_sio *sio)
{
	struct nbd *n = st->priv;
	memset(sio->priv, 0, sizeof sio->priv);
	if (n->broken) {
		dray_nbd_finish(n, sio, -ESTALE);
		return;
	}
	if (sio->op == DRAY_OP_FLUSH) {
		if (n->flush_lost) {
			n->flush_lost = false;
			dray_nbd_finish(n, sio, -EIO);
			return;
		}
		if (!n->can_flush) {
			dray_nbd_finish(n, sio, 0); /* the server promises durability by itself */
			return;
		}
		/* What completes from here on is not covered by it. A failed flush has told about the rest. */
		n->unflushed = false;
	}
	struct conn *c = n->again_due ? NULL : dray_nbd_choose(n);
	if (c)
		dray_nbd_send_on(n, c, sio);
	else if (waits(n, sio))
		enqueue(n, sio);
	else
		dray_nbd_finish(n, sio, -ENOTCONN);
}

void dray_nbd_send_queue(struct nbd *n)
{
	struct conn *c;
	while (dray_nbd_sent_again(n) && !dray_list_empty(&n->queue) && (c = dray_nbd_choose(n))) {
		struct dray_sio *sio = dray_container(n->queue.next, struct dray_sio, node);
		dray_list_del(&sio->node);
		dray_nbd_send_on(n, c, sio);
	}
	dray_nbd_set_expiry(n);
}

/* ---- the table ---- */

static bool matches(const char *resource)
{
	static const char *const schemes[] = { "nbd://", "nbd+unix://", "nbds://", "nbds+unix://" };
	for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++)
		if (!strncmp(resource, schemes[i], strlen(schemes[i])))
			return true;
	return false;
}

static void nbd_driver_close(struct dray_storage *st)
{
	struct nbd *n = st->priv;
	for (unsigned i = 0; i < n->n; i++)
		if (n->conns[i].h) {
			nbd_aio_disconnect(n->conns[i].h, 0);
			nbd_close(n->conns[i].h);
		}
	dray_nbd_kept_drop(&n->kept);
	free(n);
}

static void cut(struct dray_loop_timer *timer)
{
	struct nbd *n = dray_container(timer, struct nbd, cut);
	for (unsigned i = 0; i < n->n; i++) {
		struct conn *c = &n->conns[i];
		/* From there it is a connection as lost as any: libnbd ends its requests when it reads the end, and not when it is closed. */
		if (c->state == CONNECTED && c->under_way)
			shutdown(nbd_aio_get_fd(c->h), SHUT_RDWR);
	}
}

static int nbd_open(struct dray_storage *st, const char *resource, const struct dray_storage_options *o,
	struct dray_error *err)
{
	struct nbd *n = calloc(1, sizeof *n);
	if (!n)
		return dray_error_errno(err, -ENOMEM, "%s", resource);
	n->st = st;
	n->retry = o->retry_primary;
	n->retry_ns = o->retry_ns ? o->retry_ns : RETRY_DEFAULT_NS;
	dray_list_init(&n->queue);
	dray_nbd_kept_init(&n->kept);
	dray_loop_timer_init(&n->expiry, expired);
	dray_loop_timer_init(&n->cut, cut);
	dray_loop_timer_init(&n->silence, listen_for);
	int rc = dray_nbd_connect(&n->conns[0].h, resource, &n->quit, &st->info, err);
	if (!rc && st->info.read_only && !o->read_only) {
		nbd_close(n->conns[0].h);
		rc = dray_error_kind(err, -EROFS, "read_only", "%s: the server gives it read-only", resource);
	}
	if (rc) {
		free(n);
		return rc;
	}
	n->can_flush = nbd_can_flush(n->conns[0].h) > 0;
	dray_nbd_identity(resource, st->info.size_bytes, st->info.identity, sizeof st->info.identity);
	unsigned most = o->connections ? o->connections : NBD_MOST_CONNECTIONS;
	if (most > NBD_MOST_CONNECTIONS)
		most = NBD_MOST_CONNECTIONS;
	if (!st->info.can_multi_conn || o->no_lock)
		most = 1;
	for (n->n = 1; !rc && n->n < most; n->n++) {
		struct conn *c = &n->conns[n->n];
		c->new_info = (struct dray_storage_info){ .block_bytes = 1, .preferred_bytes = 4096,
			.max_bytes = 32U << 20 };
		/* A server with no room for more is served over those there are. */
		if (dray_nbd_connect(&c->h, resource, &n->quit, &c->new_info, NULL))
			break;
		if (c->new_info.size_bytes != st->info.size_bytes)
			rc = dray_error_kind(err, -EAGAIN, "not_accessible", "%s: its size changed meanwhile", resource);
	}
	if (rc) {
		st->priv = n;
		nbd_driver_close(st);
		return rc;
	}
	for (unsigned i = 0; i < n->n; i++) {
		n->conns[i].nbd = n;
		n->conns[i].backoff_ns = NBD_BACKOFF_FIRST_NS;
		dray_loop_timer_init(&n->conns[i].timer, dray_nbd_try_again);
	}
	st->priv = n;
	return 0;
}

static void attach(struct dray_storage *st)
{
	struct nbd *n = st->priv;
	for (unsigned i = 0; i < n->n; i++)
		dray_nbd_check_alive(&n->conns[i]);
}

static void detach(struct dray_storage *st, void (*done)(void *arg), void *arg)
{
	struct nbd *n = st->priv;
	n->left = done;
	n->left_arg = arg;
	dray_nbd_keep_no_more(n);
	__atomic_store_n(&n->quit, true, __ATOMIC_RELEASE);
	dray_loop_timer_cancel(st->loop, &n->expiry);
	dray_loop_timer_cancel(st->loop, &n->cut);
	dray_loop_timer_cancel(st->loop, &n->silence);
	for (unsigned i = 0; i < n->n; i++) {
		struct conn *c = &n->conns[i];
		switch (c->state) {
		case CONNECTED:
			nbd_aio_disconnect(c->h, 0);
			dray_nbd_start_closing(c);
			break;
		case WAITING:
			dray_loop_timer_cancel(st->loop, &c->timer);
			c->state = GONE;
			break;
		default: break; /* ends by itself, and looks at quit */
		}
	}
	dray_nbd_maybe_left(n);
}

static void set_retry(struct dray_storage *st, bool retry_primary)
{
	struct nbd *n = st->priv;
	n->retry = retry_primary;
	if (!retry_primary)
		dray_nbd_keep_no_more(n);
	if (n->st->loop)
		dray_loop_timer_cancel(n->st->loop, &n->cut);
	/* Nobody waits for the server any more. */
	while (!retry_primary && !dray_list_empty(&n->queue))
		dray_nbd_finish(n, dray_container(dray_list_pop(&n->queue), struct dray_sio, node), -ENOTCONN);
	if (!retry_primary && n->st->loop)
		dray_nbd_set_expiry(n);
}

static void nbd_give_up(struct dray_storage *st, uint64_t after_ns)
{
	struct nbd *n = st->priv;
	set_retry(st, false);
	dray_loop_timer_set(st->loop, &n->cut, dray_loop_now(st->loop) + after_ns);
}

const struct dray_storage_driver dray_storage_nbd = {
	.name = "nbd",
	.matches = matches,
	.open = nbd_open,
	.close = nbd_driver_close,
	.submit = submit,
	.attach = attach,
	.detach = detach,
	.set_retry = set_retry,
	.give_up = nbd_give_up,
};
