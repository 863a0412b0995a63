/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Answers: what the backend says becomes bytes, which gather on the connection and are sent by the hook (the
 * essay is in transmit.c).
 */
#include "nbd/conn.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#define MOST_IOV 128
/* Sent in one go before the other connections have their turn. */
#define SEND_AT_ONCE 1048576

static void queue_reply(struct nbd_req *r, size_t head, uint32_t data)
{
	struct nbd_conn *c = r->conn;
	r->head_bytes = (uint32_t)head;
	r->data_bytes = data;
	if (dray_list_empty(&c->replies))
		c->sent_ns = dray_loop_now(c->loop);
	dray_list_add_tail(&c->replies, &r->node);
	nbd_mark(c);
}

void nbd_reply_error(struct nbd_req *r, int error, const char *why)
{
	uint32_t code = dray_nbd_error(error, r->cmd_flags & NBD_CF_FAST_ZERO);
	queue_reply(r, dray_nbd_reply_error(r->head, &r->conn->session, r->cookie, code, why), 0);
}

void dray_nbd_reply(struct dray_request *req, int error)
{
	struct nbd_req *r = req->host[0];
	struct nbd_conn *c = r->conn;
	assert(!r->replied);
	r->replied = true;
	if (c->phase == NBD_DEAD) {
		r->sent = true;
		return;
	}
	unsigned n = 0;
	if (!error && req->op == DRAY_OP_EXTENTS) {
		n = dray_nbd_encode_extents(
			req->extents, req->n_extents, req->length, r->cmd_flags & NBD_CF_REQ_ONE);
		if (n == 0)
			error = -EIO;
	}
	if (error) {
		const char *why = strerrordesc_np(-error);
		nbd_reply_error(r, error, why ? why : "unknown error");
		return;
	}
	switch (req->op) {
	case DRAY_OP_READ:
		queue_reply(r,
			dray_nbd_reply_read(
				r->head, &c->session, r->cookie, req->offset, (uint32_t)req->length),
			(uint32_t)req->length);
		break;
	case DRAY_OP_EXTENTS: queue_reply(r, dray_nbd_reply_status(r->head, r->cookie, n), 8 * n); break;
	default: queue_reply(r, dray_nbd_reply_ok(r->head, r->cookie), 0);
	}
}

void dray_nbd_release(struct dray_request *req)
{
	struct nbd_req *r = req->host[0];
	assert(r->replied && !r->released);
	r->released = true;
	nbd_recycle(r);
}

static void on_poll(struct dray_ioc *ioc, int res)
{
	struct nbd_conn *c = dray_container(ioc, struct nbd_conn, poll_ioc);
	c->poll_busy = false;
	nbd_mark(c);
}

static void await_room(struct nbd_conn *c)
{
	c->poll_busy = true;
	c->poll_ioc.done = on_poll;
	dray_loop_poll(c->loop, &c->poll_ioc, c->fd, POLLOUT);
}

/* Fills iov with what is to be sent; returns how many. */
static int gather(struct nbd_conn *c, struct iovec *iov)
{
	int n = 0;
	size_t skip = c->reply_sent;
	dray_list_for_each (node, &c->replies) {
		struct nbd_req *r = dray_container(node, struct nbd_req, node);
		if (n + 2 > MOST_IOV)
			break;
		if (skip < r->head_bytes)
			iov[n++] = (struct iovec){r->head + skip, r->head_bytes - skip};
		skip = skip > r->head_bytes ? skip - r->head_bytes : 0;
		if (r->data_bytes)
			iov[n++] = (struct iovec){(uint8_t *)r->buf + skip, r->data_bytes - skip};
		skip = 0;
	}
	return n;
}

/* `n` more bytes were sent. */
static void account(struct nbd_conn *c, size_t n)
{
	c->reply_sent += n;
	while (!dray_list_empty(&c->replies)) {
		struct nbd_req *r = dray_container(c->replies.next, struct nbd_req, node);
		size_t all = (size_t)r->head_bytes + r->data_bytes;
		if (c->reply_sent < all)
			break;
		c->reply_sent -= all;
		dray_list_del(&r->node);
		r->sent = true;
		nbd_recycle(r);
	}
}

void nbd_send_replies(struct nbd_conn *c)
{
	struct iovec iov[MOST_IOV];
	size_t total = 0;
	while (!dray_list_empty(&c->replies) && !c->poll_busy) {
		if (total >= SEND_AT_ONCE) {
			await_room(c); /* lets the others have a turn */
			return;
		}
		struct msghdr msg = {.msg_iov = iov, .msg_iovlen = (size_t)gather(c, iov)};
		ssize_t n = sendmsg(c->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == ENOBUFS)) {
			await_room(c);
			return;
		}
		if (n < 0) {
			nbd_dead(c);
			return;
		}
		total += (size_t)n;
		c->sent_ns = dray_loop_now(c->loop);
		account(c, (size_t)n);
	}
}
