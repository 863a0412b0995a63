/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * NBD exports, through libnbd.
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
 * Lost with it may be what the server had acknowledged but not yet made durable, if it was the server that died. The next flush
 * could not tell: the new server has nothing to flush and says yes. So, without retry_primary, the next flush fails once if
 * there were unflushed writes, and the engine treats them as lost (H13). With retry_primary, which is for not showing the application an
 * outage, what was not flushed is kept (nbd_kept.c) and sent again first, when nothing is under way any more; all else waits for that. The driver
 * flushes by itself where a lot is kept. Where it was too much, or can't be written again, the next flush fails once.
 *
 * Reconnecting is tried after 100 ms, then after twice as long each time, up to 5 s. A server that comes back with another
 * size, read-only, or unable to do what it could, is another storage: everything fails with -ESTALE, and nothing is sent to it, for as long as
 * that is so. It is still looked for: when the right one is back, it goes on.
 *
 * A server that stops answering leaves its requests under way. How long to wait is the engine's to say (leg_timeout). When it is given up
 * (give_up), what is still under way after the time named there is ended by cutting its connections: as far as anyone can know, lost.
 */
#include "storage/nbd.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define MOST_CONNECTIONS 4
#define BACKOFF_FIRST_NS UINT64_C(100000000)
#define BACKOFF_MOST_NS  UINT64_C(5000000000)
#define RETRY_DEFAULT_NS UINT64_C(30000000000)
#define SILENCE_NS       UINT64_C(5000000000)
#define SAY_AGAIN_NS     UINT64_C(60000000000)

/* sio->priv: */
enum {
	CONN,   /* the connection that carries it */
	LATE,   /* it was sent over a connection that was lost */
	EXPIRY, /* when it stops waiting in `queue` (ns) */
	MARK,   /* flush: kept.seq when it was sent */
};

struct nbd;

enum conn_state {
	CONNECTED,
	CLOSING,    /* lost; its polls are being canceled */
	WAITING,    /* for the time to try again */
	CONNECTING, /* a worker is at it */
	GONE,       /* detached */
};

struct conn {
	struct nbd *nbd;
	enum conn_state state;
	struct nbd_handle *h;
	struct dray_ioc in, out, call;
	bool in_armed, out_armed;
	unsigned under_way;
	uint64_t heard_ns; /* when it last answered, or was first asked */
	uint64_t told_ns;  /* when it was last said that it doesn't; 0: not since then */
	uint64_t backoff_ns;
	struct dray_loop_timer timer;
	/* the worker's */
	struct nbd_handle *new_h;
	struct dray_storage_info new_info;
};

/* The driver's own requests: its flush, and what is sent again. */
#define AGAIN_MOST 8
struct own {
	struct dray_sio sio;
	bool busy;
	struct dray_nbd_kept_one *one;
};

struct nbd {
	struct dray_storage *st;
	struct own own_flush, again[AGAIN_MOST];
	unsigned n_own;
	struct dray_nbd_kept kept;
	bool again_due;          /* a connection was lost: nothing is sent before what is kept was */
	uint64_t again_seq;      /* so far it was sent; 0: to be begun */
	struct conn conns[MOST_CONNECTIONS];
	unsigned n;
	bool retry, quit, broken, unflushed, flush_lost, can_flush;
	uint64_t retry_ns;
	struct dray_list queue; /* of dray_sio: wait for a connection */
	struct dray_loop_timer expiry, cut, silence;
	void (*left)(void *arg);
	void *left_arg;
};

static void arm(struct conn *c);
static void check_alive(struct conn *c);
static void maybe_left(struct nbd *n);
static void send_queue(struct nbd *n);
static void send_on(struct nbd *n, struct conn *c, struct dray_sio *sio);
static struct conn *choose(struct nbd *n);

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

static void finish(struct nbd *n, struct dray_sio *sio, int error)
{
	sio->ioc.done = finished;
	dray_loop_finish(n->st->loop, &sio->ioc, error);
}

static void set_expiry(struct nbd *n)
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
		finish(n, sio, -ENOTCONN);
	}
	set_expiry(n);
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
	set_expiry(n);
}

/* ---- what is kept, with retry_primary ---- */

static bool is_own(const struct nbd *n, const struct dray_sio *sio)
{
	return sio == &n->own_flush.sio || ((const char *)sio >= (const char *)n->again && (const char *)sio < (const char *)(n->again + AGAIN_MOST));
}

static void connection_lost(struct nbd *n)
{
	if (!n->retry) {
		n->flush_lost |= n->unflushed;
		return;
	}
	if (n->kept.missing) {
		n->flush_lost = true;
		dray_nbd_kept_drop(&n->kept);
	}
	if (!dray_list_empty(&n->kept.list)) {
		n->again_due = true;
		n->again_seq = 0;
	}
}

/* It is no primary any more: what may be lost is told to the next flush. */
static void keep_no_more(struct nbd *n)
{
	n->flush_lost |= n->again_due || n->kept.missing;
	n->again_due = false;
	dray_nbd_kept_drop(&n->kept);
}

static void send_own(struct nbd *n, struct own *o, struct conn *c)
{
	o->busy = true;
	o->sio.storage = n->st;
	memset(o->sio.priv, 0, sizeof o->sio.priv);
	n->n_own++;
	send_on(n, c, &o->sio);
}

static void flush_kept(struct nbd *n)
{
	struct conn *c = choose(n);
	if (!n->retry || n->again_due || n->own_flush.busy || !n->can_flush || !c || !dray_nbd_kept_much(&n->kept))
		return;
	n->own_flush.sio.op = DRAY_OP_FLUSH;
	send_own(n, &n->own_flush, c);
}

static bool overlaps_one_sent(const struct nbd *n, const struct dray_nbd_kept_one *one)
{
	for (unsigned i = 0; i < AGAIN_MOST; i++) {
		const struct dray_sio *s = &n->again[i].sio;
		if (n->again[i].busy && s->offset < one->offset + one->length && one->offset < s->offset + s->length)
			return true;
	}
	return false;
}

/* true: all of it was, or nothing is due. */
static bool sent_again(struct nbd *n)
{
	if (!n->again_due)
		return true;
	unsigned others = 0;
	for (unsigned i = 0; i < n->n; i++)
		others += n->conns[i].under_way;
	/* Of what was under way when the connection was lost, something may be newer than what is kept. */
	if (!n->again_seq && others)
		return false;
	struct conn *c = choose(n);
	dray_list_for_each_safe(node, &n->kept.list)
	{
		struct dray_nbd_kept_one *one = dray_container(node, struct dray_nbd_kept_one, node);
		unsigned i = 0;
		if (one->seq <= n->again_seq)
			continue;
		while (i < AGAIN_MOST && n->again[i].busy)
			i++;
		if (!c || i == AGAIN_MOST || overlaps_one_sent(n, one))
			return false;
		struct own *o = &n->again[i];
		o->one = one;
		one->busy = true;
		n->again_seq = one->seq;
		o->sio = (struct dray_sio){ .op = one->op, .flags = one->flags, .offset = one->offset, .length = one->length,
			.data = one->op == DRAY_OP_WRITE ? one->data : NULL };
		send_own(n, o, c);
		if (!n->again_due || !n->again_seq)
			return false; /* it was lost by that */
		c = choose(n);
	}
	for (unsigned i = 0; i < AGAIN_MOST; i++)
		if (n->again[i].busy)
			return false;
	n->again_due = false;
	return true;
}

static void own_replied(struct nbd *n, struct dray_sio *sio, int res)
{
	struct own *o = dray_container(sio, struct own, sio);
	o->busy = false;
	n->n_own--;
	if (o->one) {
		dray_nbd_kept_done(o->one);
		o->one = NULL;
		if (res == -ENOTCONN)
			n->again_seq = 0;
		else if (res)
			n->flush_lost = true; /* it can't be had again: the application must not take it for durable */
	} else if (!res) {
		dray_nbd_kept_flushed(&n->kept, (uint64_t)(uintptr_t)sio->priv[MARK]);
	} else if (res != -ENOTCONN) {
		n->flush_lost = true; /* the server may say yes the next time (H13) */
	}
	send_queue(n);
	flush_kept(n);
	maybe_left(n);
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
	if (is_own(n, sio)) {
		own_replied(n, sio, res);
		return;
	}
	if (res == -ENOTCONN) {
		/* Only a lost connection says so: the protocol has no such error. */
		if (changes(sio))
			sio->priv[LATE] = c;
		if (waits(n, sio) && !n->broken && !n->quit) {
			enqueue(n, sio);
			send_queue(n);
			return;
		}
	}
	if (!res && changes(sio) && !(sio->flags & DRAY_F_FUA)) {
		n->unflushed = true;
		/* The end of its connection may be known before we are called with what came before that. */
		if (c->state != CONNECTED && !n->retry)
			n->flush_lost = true;
	}
	if (!res && n->retry && n->can_flush && changes(sio)) {
		dray_nbd_kept_add(&n->kept, sio);
		if (c->state != CONNECTED)
			connection_lost(n);
		flush_kept(n);
	} else if (!res && sio->op == DRAY_OP_FLUSH) {
		dray_nbd_kept_flushed(&n->kept, (uint64_t)(uintptr_t)sio->priv[MARK]);
	}
	if (n->again_due)
		send_queue(n);
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

static struct conn *choose(struct nbd *n)
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

static void send_on(struct nbd *n, struct conn *c, struct dray_sio *sio)
{
	if (sio->op == DRAY_OP_FLUSH && n->flush_lost && !is_own(n, sio)) {
		n->flush_lost = false;
		finish(n, sio, -EIO);
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
	check_alive(c);
}

static void submit(struct dray_storage *st, struct dray_sio *sio)
{
	struct nbd *n = st->priv;
	memset(sio->priv, 0, sizeof sio->priv);
	if (n->broken) {
		finish(n, sio, -ESTALE);
		return;
	}
	if (sio->op == DRAY_OP_FLUSH) {
		if (n->flush_lost) {
			n->flush_lost = false;
			finish(n, sio, -EIO);
			return;
		}
		if (!n->can_flush) {
			finish(n, sio, 0); /* the server promises durability by itself */
			return;
		}
		/* What completes from here on is not covered by it. A failed flush has told about the rest. */
		n->unflushed = false;
	}
	struct conn *c = n->again_due ? NULL : choose(n);
	if (c)
		send_on(n, c, sio);
	else if (waits(n, sio))
		enqueue(n, sio);
	else
		finish(n, sio, -ENOTCONN);
}

static void send_queue(struct nbd *n)
{
	struct conn *c;
	while (sent_again(n) && !dray_list_empty(&n->queue) && (c = choose(n))) {
		struct dray_sio *sio = dray_container(n->queue.next, struct dray_sio, node);
		dray_list_del(&sio->node);
		send_on(n, c, sio);
	}
	set_expiry(n);
}

/* ---- connections ---- */

static void maybe_left(struct nbd *n)
{
	if (!n->left || n->n_own)
		return;
	for (unsigned i = 0; i < n->n; i++)
		if (n->conns[i].state != GONE)
			return;
	void (*left)(void *arg) = n->left;
	n->left = NULL;
	n->st->loop = NULL;
	left(n->left_arg);
}

/* Closing: once no poll refers to its descriptor, the handle goes. */
static void closed(struct conn *c)
{
	struct nbd *n = c->nbd;
	if (c->in_armed || c->out_armed)
		return;
	/* Requests under way are called back by this, with ENOTCONN. */
	nbd_close(c->h);
	c->h = NULL;
	if (n->quit) {
		c->state = GONE;
		maybe_left(n);
		return;
	}
	c->state = WAITING;
	dray_loop_timer_set(n->st->loop, &c->timer, dray_loop_now(n->st->loop) + c->backoff_ns);
	c->backoff_ns = c->backoff_ns * 2 < BACKOFF_MOST_NS ? c->backoff_ns * 2 : BACKOFF_MOST_NS;
}

static void start_closing(struct conn *c)
{
	struct dray_loop *loop = c->nbd->st->loop;
	c->state = CLOSING;
	if (c->in_armed)
		dray_loop_cancel(loop, &c->in);
	if (c->out_armed)
		dray_loop_cancel(loop, &c->out);
	closed(c);
}

static void check_alive(struct conn *c)
{
	struct nbd *n = c->nbd;
	if (c->state != CONNECTED)
		return;
	if (nbd_aio_is_dead(c->h) > 0 || nbd_aio_is_closed(c->h) > 0) {
		connection_lost(n);
		start_closing(c);
		return;
	}
	arm(c);
}

/* io_uring takes a waker's word for it that there is something to read. A sender that was held up between queueing and waking wakes the
 * next poll, when what it sent was read long ago. libnbd must not be told of nothing: it then waits in the middle of a reply (REPLY.START),
 * sends nothing before that has come, and none may be owed. So it is looked at. */
static bool readable(const struct conn *c)
{
	char byte;
	return recv(nbd_aio_get_fd(c->h), &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 || errno != EAGAIN;
}

static void polled(struct conn *c, int res, bool in)
{
	if (c->state != CONNECTED) {
		closed(c);
		return;
	}
	unsigned dir = nbd_aio_get_direction(c->h);
	bool end = res > 0 && res & (POLLHUP | POLLERR | POLLNVAL);
	if (end && !(dir & (in ? 1U : 2U)))
		in = !in; /* whichever libnbd wants next hears of the end */
	if (in && dir & LIBNBD_AIO_DIRECTION_READ) {
		if (end || readable(c))
			nbd_aio_notify_read(c->h);
	} else if (!in && dir & LIBNBD_AIO_DIRECTION_WRITE) {
		nbd_aio_notify_write(c->h);
	}
	check_alive(c);
}

static void polled_in(struct dray_ioc *ioc, int res)
{
	struct conn *c = dray_container(ioc, struct conn, in);
	c->in_armed = false;
	polled(c, res, true);
}

static void polled_out(struct dray_ioc *ioc, int res)
{
	struct conn *c = dray_container(ioc, struct conn, out);
	c->out_armed = false;
	polled(c, res, false);
}

static void arm(struct conn *c)
{
	struct dray_loop *loop = c->nbd->st->loop;
	unsigned dir = nbd_aio_get_direction(c->h);
	int fd = nbd_aio_get_fd(c->h);
	if (dir & LIBNBD_AIO_DIRECTION_READ && !c->in_armed) {
		c->in_armed = true;
		c->in.done = polled_in;
		dray_loop_poll(loop, &c->in, fd, POLLIN);
	}
	if (dir & LIBNBD_AIO_DIRECTION_WRITE && !c->out_armed) {
		c->out_armed = true;
		c->out.done = polled_out;
		dray_loop_poll(loop, &c->out, fd, POLLOUT);
	}
}

/* ---- reconnecting ---- */

static int connect_again(void *arg)
{
	struct conn *c = arg;
	c->new_info = (struct dray_storage_info){ .block_bytes = 1, .preferred_bytes = 4096, .max_bytes = 32U << 20 };
	return dray_nbd_connect(&c->new_h, c->nbd->st->resource, &c->nbd->quit, &c->new_info, NULL);
}

static bool same_storage(const struct conn *c)
{
	const struct dray_storage *st = c->nbd->st;
	const struct dray_storage_info *was = &st->info, *is = &c->new_info;
	/* The slice keeps its place only in a storage of the same size: its size is in the identity line. */
	char now[sizeof is->identity], slice[sizeof is->identity];
	dray_nbd_identity(st->resource, is->size_bytes, now, sizeof now);
	memcpy(slice, was->identity, sizeof slice);
	size_t n = strlen(now);
	if (strncmp(slice, now, n) || (slice[n] && slice[n] != '+'))
		return false;
	return was->block_bytes % is->block_bytes == 0 && is->max_bytes >= was->max_bytes &&
		(!is->read_only || was->read_only) && is->can_zero >= was->can_zero &&
		is->can_fast_zero >= was->can_fast_zero && is->can_discard >= was->can_discard &&
		is->can_fua >= was->can_fua && is->can_cache >= was->can_cache && is->can_extents >= was->can_extents &&
		(is->can_multi_conn || c->nbd->n == 1);
}

static void give_up(struct nbd *n)
{
	struct dray_list *node;
	n->broken = true;
	while ((node = dray_list_pop(&n->queue)))
		finish(n, dray_container(node, struct dray_sio, node), -ESTALE);
	set_expiry(n);
}

static void connected_again(struct dray_ioc *ioc, int res)
{
	struct conn *c = dray_container(ioc, struct conn, call);
	struct nbd *n = c->nbd;
	bool good = !res && !n->quit;
	if (good && !same_storage(c)) {
		give_up(n);
		good = false;
	}
	if (good)
		n->broken = false;
	if (!good && !res)
		nbd_close(c->new_h);
	if (n->quit) {
		c->state = GONE;
		maybe_left(n);
	} else if (good) {
		c->h = c->new_h;
		c->state = CONNECTED;
		c->backoff_ns = BACKOFF_FIRST_NS;
		arm(c);
		send_queue(n);
	} else {
		c->state = WAITING;
		dray_loop_timer_set(n->st->loop, &c->timer, dray_loop_now(n->st->loop) + c->backoff_ns);
		c->backoff_ns = c->backoff_ns * 2 < BACKOFF_MOST_NS ? c->backoff_ns * 2 : BACKOFF_MOST_NS;
	}
}

static void try_again(struct dray_loop_timer *timer)
{
	struct conn *c = dray_container(timer, struct conn, timer);
	c->state = CONNECTING;
	c->call.done = connected_again;
	dray_loop_call(c->nbd->st->loop, &c->call, connect_again, c);
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
	unsigned most = o->connections ? o->connections : MOST_CONNECTIONS;
	if (most > MOST_CONNECTIONS)
		most = MOST_CONNECTIONS;
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
		n->conns[i].backoff_ns = BACKOFF_FIRST_NS;
		dray_loop_timer_init(&n->conns[i].timer, try_again);
	}
	st->priv = n;
	return 0;
}

static void attach(struct dray_storage *st)
{
	struct nbd *n = st->priv;
	for (unsigned i = 0; i < n->n; i++)
		check_alive(&n->conns[i]);
}

static void detach(struct dray_storage *st, void (*done)(void *arg), void *arg)
{
	struct nbd *n = st->priv;
	n->left = done;
	n->left_arg = arg;
	keep_no_more(n);
	__atomic_store_n(&n->quit, true, __ATOMIC_RELEASE);
	dray_loop_timer_cancel(st->loop, &n->expiry);
	dray_loop_timer_cancel(st->loop, &n->cut);
	dray_loop_timer_cancel(st->loop, &n->silence);
	for (unsigned i = 0; i < n->n; i++) {
		struct conn *c = &n->conns[i];
		switch (c->state) {
		case CONNECTED:
			nbd_aio_disconnect(c->h, 0);
			start_closing(c);
			break;
		case WAITING:
			dray_loop_timer_cancel(st->loop, &c->timer);
			c->state = GONE;
			break;
		default: break; /* ends by itself, and looks at quit */
		}
	}
	maybe_left(n);
}

static void set_retry(struct dray_storage *st, bool retry_primary)
{
	struct nbd *n = st->priv;
	n->retry = retry_primary;
	if (!retry_primary)
		keep_no_more(n);
	if (n->st->loop)
		dray_loop_timer_cancel(n->st->loop, &n->cut);
	/* Nobody waits for the server any more. */
	while (!retry_primary && !dray_list_empty(&n->queue))
		finish(n, dray_container(dray_list_pop(&n->queue), struct dray_sio, node), -ENOTCONN);
	if (!retry_primary && n->st->loop)
		set_expiry(n);
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
