/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The connections of an NBD export: polled, lost, made again.
 *
 * Reconnecting is tried after 100 ms, then after twice as long each time, up to 5 s. A server that comes back with another
 * size, read-only, or unable to do what it could, is another storage: everything fails with -ESTALE, and nothing is sent to it, for as long as
 * that is so. It is still looked for: when the right one is back, it goes on.
 */
#include "storage/nbd_state.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#define BACKOFF_MOST_NS UINT64_C(5000000000)

static void arm(struct conn *c);

void dray_nbd_maybe_left(struct nbd *n)
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
		dray_nbd_maybe_left(n);
		return;
	}
	c->state = WAITING;
	dray_loop_timer_set(n->st->loop, &c->timer, dray_loop_now(n->st->loop) + c->backoff_ns);
	c->backoff_ns = c->backoff_ns * 2 < BACKOFF_MOST_NS ? c->backoff_ns * 2 : BACKOFF_MOST_NS;
}

void dray_nbd_start_closing(struct conn *c)
{
	struct dray_loop *loop = c->nbd->st->loop;
	c->state = CLOSING;
	if (c->in_armed)
		dray_loop_cancel(loop, &c->in);
	if (c->out_armed)
		dray_loop_cancel(loop, &c->out);
	closed(c);
}

void dray_nbd_check_alive(struct conn *c)
{
	struct nbd *n = c->nbd;
	if (c->state != CONNECTED)
		return;
	if (nbd_aio_is_dead(c->h) > 0 || nbd_aio_is_closed(c->h) > 0) {
		dray_nbd_lost(n);
		dray_nbd_start_closing(c);
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
	dray_nbd_check_alive(c);
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
		dray_nbd_finish(n, dray_container(node, struct dray_sio, node), -ESTALE);
	dray_nbd_set_expiry(n);
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
		dray_nbd_maybe_left(n);
	} else if (good) {
		c->h = c->new_h;
		c->state = CONNECTED;
		c->backoff_ns = NBD_BACKOFF_FIRST_NS;
		arm(c);
		dray_nbd_send_queue(n);
	} else {
		c->state = WAITING;
		dray_loop_timer_set(n->st->loop, &c->timer, dray_loop_now(n->st->loop) + c->backoff_ns);
		c->backoff_ns = c->backoff_ns * 2 < BACKOFF_MOST_NS ? c->backoff_ns * 2 : BACKOFF_MOST_NS;
	}
}

void dray_nbd_try_again(struct dray_loop_timer *timer)
{
	struct conn *c = dray_container(timer, struct conn, timer);
	c->state = CONNECTING;
	c->call.done = connected_again;
	dray_loop_call(c->nbd->st->loop, &c->call, connect_again, c);
}
