/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Negotiation on a socket: negotiate.c does the thinking, this feeds it from the loop. Answers are sent
 * before more is read, so a client that does not take them is not read from; the time for all of it is
 * limited.
 */
#include "nbd/conn.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define WAIT_MOST  UINT64_C(5000000000) /* for an export that is not there yet; at most half of handshake_timeout_ns */
#define WAIT_EVERY UINT64_C(20000000)
#define SEND_AT    65536 /* gathered answers are sent at this size, though more options wait to be read */

static void run(struct nbd_conn *c);

/* Ends now, or when the operation under way does. */
static void finish(struct nbd_conn *c)
{
	c->phase = NBD_DEAD;
	dray_loop_timer_cancel(c->loop, &c->timer);
	dray_loop_timer_cancel(c->loop, &c->again);
	if (c->recv_busy || c->poll_busy) {
		shutdown(c->fd, SHUT_RDWR);
		if (c->recv_busy)
			dray_loop_cancel(c->loop, &c->recv_ioc);
		if (c->poll_busy)
			dray_loop_cancel(c->loop, &c->poll_ioc);
		return;
	}
	close(c->fd);
	c->fd = -1;
	dray_nego_free(&c->nego);
	nbd_server_gone(c);
}

static void late(struct dray_loop_timer *timer)
{
	finish(dray_container(timer, struct nbd_conn, timer));
}

static void on_poll(struct dray_ioc *ioc, int res)
{
	struct nbd_conn *c = dray_container(ioc, struct nbd_conn, poll_ioc);
	c->poll_busy = false;
	if (c->phase == NBD_DEAD)
		finish(c);
	else
		run(c);
}

static void on_recv(struct dray_ioc *ioc, int res)
{
	struct nbd_conn *c = dray_container(ioc, struct nbd_conn, recv_ioc);
	c->recv_busy = false;
	if (c->phase == NBD_DEAD || (res <= 0 && res != -EINTR && res != -EAGAIN)) {
		finish(c);
		return;
	}
	c->rend += res > 0 ? (size_t)res : 0;
	run(c);
}

/* 0: all is sent; -EAGAIN: on_poll goes on; else the socket is broken. */
static int send_answers(struct nbd_conn *c)
{
	struct dray_nego *n = &c->nego;
	while (n->out_sent < n->out_len) {
		ssize_t r = send(
			c->fd, n->out + n->out_sent, n->out_len - n->out_sent, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (r >= 0) {
			n->out_sent += (size_t)r;
		} else if (errno == EAGAIN) {
			c->poll_busy = true;
			c->poll_ioc.done = on_poll;
			dray_loop_poll(c->loop, &c->poll_ioc, c->fd, POLLOUT);
			return -EAGAIN;
		} else if (errno != EINTR) {
			return -errno;
		}
	}
	n->out_sent = n->out_len = 0;
	return 0;
}

static void look_again(struct dray_loop_timer *timer)
{
	struct nbd_conn *c = dray_container(timer, struct nbd_conn, again);
	c->nego.may_wait = dray_loop_now(c->loop) < c->wait_until_ns;
	c->outcome = DRAY_NEGO_AGAIN;
	run(c);
}

static void hand_over(struct nbd_conn *c)
{
	c->session = c->nego.session;
	if (nbd_server_hand_over(c)) {
		finish(c);
		return;
	}
}

static void run(struct nbd_conn *c)
{
	for (;;) {
		struct dray_nego *n = &c->nego;
		if (n->out_len > n->out_sent && (c->outcome != DRAY_NEGO_AGAIN || n->out_len >= SEND_AT)) {
			int rc = send_answers(c);
			if (rc == -EAGAIN)
				return;
			if (rc) {
				finish(c);
				return;
			}
		}
		if (c->outcome == DRAY_NEGO_CLOSE) {
			finish(c);
			return;
		}
		if (c->outcome == DRAY_NEGO_TRANSMIT) {
			hand_over(c);
			return;
		}
		if (c->outcome == DRAY_NEGO_WAIT) {
			dray_loop_timer_set(c->loop, &c->again, dray_loop_now(c->loop) + WAIT_EVERY);
			return;
		}
		size_t used, avail = c->rend - c->rpos;
		c->outcome = dray_nego_feed(n, c->rbuf + c->rpos, avail, &used);
		c->rpos += used;
		if (c->outcome != DRAY_NEGO_MORE || n->out_len > n->out_sent)
			continue;
		memmove(c->rbuf, c->rbuf + c->rpos, c->rend - c->rpos);
		c->rend -= c->rpos;
		c->rpos = 0;
		c->recv_busy = true;
		c->recv_ioc.done = on_recv;
		dray_loop_recv(c->loop, &c->recv_ioc, c->fd, c->rbuf + c->rend, NBD_RECV_BYTES - c->rend);
		return;
	}
}

void nbd_handshake_start(struct nbd_conn *c)
{
	dray_nego_init(&c->nego, c->ops, c->ctx, c->limits->max_payload_bytes);
	c->outcome = c->nego.out_failed ? DRAY_NEGO_CLOSE : DRAY_NEGO_MORE;
	dray_loop_timer_init(&c->timer, late);
	dray_loop_timer_init(&c->again, look_again);
	uint64_t now = dray_loop_now(c->loop), most = c->limits->handshake_timeout_ns / 2;
	c->wait_until_ns = now + (most < WAIT_MOST ? most : WAIT_MOST);
	dray_loop_timer_set(c->loop, &c->timer, now + c->limits->handshake_timeout_ns);
	run(c);
}

void nbd_handshake_end(struct nbd_conn *c)
{
	if (c->phase == NBD_HANDSHAKE)
		finish(c);
}
