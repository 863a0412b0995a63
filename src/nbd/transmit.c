/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The transmission phase of a connection.
 *
 * The way of a request. One recv brings many: the receive buffer is parsed until it is empty, each request
 * takes an idle struct and (where it has data) a buffer from the backend, and is submitted at once. A small
 * write's payload is copied out of the receive buffer, which is one copy of what is in the cache anyway; of a
 * large one the rest is received straight into its buffer. Replies gather on the connection and are sent by
 * the loop's hook, once per iteration, heads and data in one sendmsg. The sends don't go through the ring: a
 * send that can be done at once is done with one system call and wakes us for nothing, and one that can't is
 * polled for.
 *
 * Back pressure. A request is begun only when a struct and memory are there for it and for its answer, and
 * both are held until the answer is sent. A client that doesn't read its replies therefore comes to a stop at
 * its own limits, the receive buffer fills, and the kernel makes the client wait. Memory that the backend
 * refuses (its own limit, over all connections) is asked for again when some comes back here, and by a timer,
 * since it may come back elsewhere. Many clients that don't read can hold all of it: then each of the others
 * goes on with one buffer out of turn, and the idle ones are cut off one by one until there is enough again.
 *
 * Nothing is re-entered. The backend may reply to and release a request inside submit; both only note it and
 * put the connection on the list of dirty ones, which the hook works off. Only the hook takes a connection
 * apart.
 */
#include "nbd/conn.h"
#include "nbd/request.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Received in one go before the loop has its turn: more would keep what was already submitted from the
 * storage. */
#define RECV_AT_ONCE    524288
#define BIG_WRITE       32768
#define BIG_WRITE_AHEAD 4096
#define STATUS_BYTES    4096 /* of a buffer for extents */
#define RETRY_NS        UINT64_C(1000000)

static void want_recv(struct nbd_conn *c);

void nbd_mark(struct nbd_conn *c)
{
	if (!dray_list_empty(&c->dirty_node))
		return;
	dray_list_add_tail(&c->shard->dirty, &c->dirty_node);
	/* Replies may come out of another hook that runs after ours. */
	dray_loop_hooks_again(c->loop);
}

/* ---- requests: taken and given back ---- */

static void buffer_put(struct nbd_conn *c, struct nbd_req *r)
{
	if (!r->buf)
		return;
	if (r->helped)
		free(r->buf);
	else
		c->ops->buf_put(c->ctx, c->handle, r->buf, r->buf_bytes);
	c->buf_bytes -= r->buf_bytes;
	r->buf = NULL;
	dray_list_for_each_safe (n, &c->shard->starved) {
		dray_list_del(n);
		nbd_mark(dray_container(n, struct nbd_conn, starved_node));
	}
}

/* False: not now; the connection is woken when it may go better. */
static bool buffer_get(struct nbd_conn *c, struct nbd_req *r, uint64_t bytes)
{
	/* Something is always granted to a connection that holds nothing: else a small limit would stop it
	 * for ever. */
	if (c->buf_bytes && c->buf_bytes + bytes > c->limits->connection_bytes)
		return false;
	r->buf = c->ops->buf_get(c->ctx, c->handle, bytes);
	r->helped = false;
	/* The others may hold all there is for as long as their clients don't read. So a connection that
	 * holds nothing gets one buffer out of turn: it goes on, if slowly. A page's alignment is enough for
	 * any storage's direct I/O. */
	if (!r->buf && c->buf_bytes == 0 && bytes <= NBD_HELP_BYTES) {
		if (posix_memalign(&r->buf, 4096, bytes) == 0)
			r->helped = true;
		else
			r->buf = NULL;
	}
	if (!r->buf) {
		if (dray_list_empty(&c->starved_node))
			dray_list_add_tail(&c->shard->starved, &c->starved_node);
		if (!c->shard->retry.at_ns)
			dray_loop_timer_set(c->loop, &c->shard->retry, dray_loop_now(c->loop) + RETRY_NS);
		return false;
	}
	r->buf_bytes = bytes;
	c->buf_bytes += bytes;
	return true;
}

void nbd_recycle(struct nbd_req *r)
{
	struct nbd_conn *c = r->conn;
	if (!r->replied || !r->released || !r->sent)
		return;
	buffer_put(c, r);
	dray_list_add_head(&c->idle, &r->node);
	c->live--;
	if (c->stalled || c->phase != NBD_OPEN)
		nbd_mark(c);
}

/* ---- the end ---- */

/* A write whose payload will not arrive. */
static void drop_filling(struct nbd_conn *c)
{
	struct nbd_req *r = c->filling;
	if (!r || (c->recv_busy && c->recv_direct)) /* the loop still writes to its buffer */
		return;
	c->filling = NULL;
	c->skip_bytes = 0;
	r->replied = r->released = r->sent = true;
	nbd_recycle(r);
}

static void stop_io(struct nbd_conn *c)
{
	shutdown(c->fd, SHUT_RDWR);
	if (c->recv_busy)
		dray_loop_cancel(c->loop, &c->recv_ioc);
	if (c->poll_busy)
		dray_loop_cancel(c->loop, &c->poll_ioc);
}

void nbd_dead(struct nbd_conn *c)
{
	if (c->phase == NBD_DEAD)
		return;
	c->phase = NBD_DEAD;
	stop_io(c);
	drop_filling(c);
	struct dray_list *n;
	while ((n = dray_list_pop(&c->replies))) {
		struct nbd_req *r = dray_container(n, struct nbd_req, node);
		r->sent = true;
		nbd_recycle(r);
	}
	nbd_mark(c);
}

static void drain(struct nbd_conn *c)
{
	if (c->phase != NBD_OPEN)
		return;
	c->phase = NBD_DRAIN;
	c->sent_ns = dray_loop_now(c->loop);
	dray_loop_timer_set(c->loop, &c->timer, c->sent_ns + NBD_LINGER_NS);
	/* A recv into a payload's buffer has to end before the buffer can go. */
	if (c->recv_busy)
		dray_loop_cancel(c->loop, &c->recv_ioc);
	drop_filling(c);
	nbd_mark(c);
}

/* DRAIN: requests may take their time, but a client that does not take what is ready is not waited for. */
static void on_timer(struct dray_loop_timer *timer)
{
	struct nbd_conn *c = dray_container(timer, struct nbd_conn, timer);
	uint64_t now = dray_loop_now(c->loop);
	if (dray_list_empty(&c->replies))
		c->sent_ns = now; /* it waits for the storage, not for the client */
	if (now - c->sent_ns >= NBD_LINGER_NS)
		nbd_dead(c);
	else
		dray_loop_timer_set(c->loop, &c->timer, c->sent_ns + NBD_LINGER_NS);
}

/* Takes the connection apart as far as it may; called by the hook only, as the last thing done with `c`. */
static void try_finish(struct nbd_conn *c)
{
	if (c->phase == NBD_DRAIN && c->live == 0)
		nbd_dead(c);
	if (c->phase != NBD_DEAD || c->recv_busy || c->poll_busy)
		return;
	drop_filling(c);
	if (c->fd >= 0) {
		close(c->fd);
		c->fd = -1;
		free(c->rbuf);
		c->rbuf = NULL;
		dray_loop_timer_cancel(c->loop, &c->timer);
	}
	if (c->live)
		return;
	struct nbd_shard *shard = c->shard;
	dray_list_del(&c->dirty_node);
	dray_list_del(&c->starved_node);
	dray_list_del(&c->member_node);
	if (c->told)
		c->ops->client(c->ctx, c->handle, false, c->peer);
	c->ops->put(c->ctx, c->handle);
	free(c->reqs);
	if (--shard->conns == 0) {
		dray_loop_hook_del(shard->loop, &shard->hook);
		dray_loop_timer_cancel(shard->loop, &shard->retry);
	}
	c->gone.run = nbd_server_gone_msg;
	dray_loop_post(nbd_server_loop(c->srv), &c->gone);
}

/* ---- requests ---- */

static void submit(struct nbd_req *r)
{
	struct nbd_conn *c = r->conn;
	c->ops->submit(c->ctx, c->handle, &r->req);
}

static void refuse(struct nbd_req *r)
{
	r->replied = r->released = true;
	nbd_reply_error(r, r->error, r->why);
}

/* Looks at the header at rpos. False: it must wait, nothing was consumed. */
static bool begin(struct nbd_conn *c)
{
	struct dray_nbd_header h;
	struct dray_nbd_plan plan;

	if (!dray_nbd_header_decode(&h, c->rbuf + c->rpos)) {
		nbd_dead(c);
		return true;
	}
	dray_nbd_plan(&plan, &h, &c->session);
	if (plan.verdict == DRAY_NBD_LEAVE) {
		drain(c);
		return true;
	}
	if (dray_list_empty(&c->idle))
		return false;
	struct nbd_req *r = dray_container(c->idle.next, struct nbd_req, node);
	uint64_t bytes = 0;
	if (plan.verdict == DRAY_NBD_SUBMIT) {
		if (plan.op == DRAY_OP_READ || plan.op == DRAY_OP_WRITE)
			bytes = h.length;
		else if (plan.op == DRAY_OP_EXTENTS)
			bytes = STATUS_BYTES;
	}
	if (bytes && !buffer_get(c, r, bytes))
		return false;

	dray_list_del(&r->node);
	c->live++;
	c->rpos += NBD_REQUEST_BYTES;
	r->cookie = h.cookie;
	r->cmd_flags = h.flags;
	r->replied = r->released = r->sent = false;
	r->error = plan.error;
	r->why = plan.why;
	if (plan.verdict == DRAY_NBD_REFUSE) {
		if (!plan.payload_bytes) {
			refuse(r);
			return true;
		}
		c->filling = r;
		c->skip_bytes = plan.payload_bytes;
		return true;
	}
	r->req = (struct dray_request){
		.op = plan.op, .flags = plan.flags, .offset = h.offset, .length = h.length, .host = {r}};
	if (plan.op == DRAY_OP_EXTENTS) {
		r->req.extents = r->buf;
		r->req.max_extents = h.flags & NBD_CF_REQ_ONE ? 1 : STATUS_BYTES / sizeof(struct dray_extent);
	} else {
		r->req.data = r->buf;
	}
	if (plan.op == DRAY_OP_WRITE) {
		c->filling = r;
		c->fill_got = 0;
		c->big_writes = h.length >= BIG_WRITE;
		return true;
	}
	submit(r);
	return true;
}

/* Some of the payload is in the receive buffer. */
static void fill(struct nbd_conn *c)
{
	struct nbd_req *r = c->filling;
	size_t avail = c->rend - c->rpos;
	if (c->skip_bytes) {
		uint32_t n = avail < c->skip_bytes ? (uint32_t)avail : c->skip_bytes;
		c->rpos += n;
		c->skip_bytes -= n;
		if (c->skip_bytes == 0) {
			c->filling = NULL;
			refuse(r);
		}
		return;
	}
	uint32_t left = (uint32_t)r->req.length - c->fill_got;
	uint32_t n = avail < left ? (uint32_t)avail : left;
	memcpy((uint8_t *)r->buf + c->fill_got, c->rbuf + c->rpos, n);
	c->rpos += n;
	c->fill_got += n;
	if (n == left) {
		c->filling = NULL;
		submit(r);
	}
}

static void parse(struct nbd_conn *c)
{
	c->stalled = false;
	while (c->phase == NBD_OPEN) {
		if (c->filling) {
			if (c->rpos == c->rend)
				break;
			fill(c);
		} else {
			if (c->rend - c->rpos < NBD_REQUEST_BYTES)
				break;
			if (!begin(c)) {
				c->stalled = true;
				break;
			}
		}
	}
	/* The client will send no more; what it asked before is answered. A request cut off in the middle is
	 * dropped. */
	if (c->phase == NBD_OPEN && c->eof && !c->stalled)
		drain(c);
}

/* Where the next bytes go; returns how many may come (0: none now). */
static size_t room(struct nbd_conn *c, uint8_t **where)
{
	if (c->filling && !c->skip_bytes && c->rpos == c->rend) {
		struct nbd_req *r = c->filling;
		size_t left = r->req.length - c->fill_got;
		if (left >= NBD_DIRECT_BYTES) {
			c->recv_direct = true;
			*where = (uint8_t *)r->buf + c->fill_got;
			return left;
		}
	}
	c->recv_direct = false;
	if (c->rpos == c->rend) {
		c->rpos = c->rend = 0;
	} else if (c->rpos > NBD_RECV_BYTES / 2) {
		memmove(c->rbuf, c->rbuf + c->rpos, c->rend - c->rpos);
		c->rend -= c->rpos;
		c->rpos = 0;
	}
	*where = c->rbuf + c->rend;
	size_t size = NBD_RECV_BYTES - c->rend;
	return c->big_writes && !c->skip_bytes && size > BIG_WRITE_AHEAD ? BIG_WRITE_AHEAD : size;
}

static void received(struct nbd_conn *c, size_t n)
{
	if (c->recv_direct) {
		struct nbd_req *r = c->filling;
		c->fill_got += (uint32_t)n;
		if (c->fill_got == r->req.length) {
			c->filling = NULL;
			submit(r);
		}
	} else {
		c->rend += n;
	}
	parse(c);
}

static void on_recv(struct dray_ioc *ioc, int res)
{
	struct nbd_conn *c = dray_container(ioc, struct nbd_conn, recv_ioc);
	size_t total = 0;

	c->recv_busy = false;
	if (c->phase != NBD_OPEN) {
		drop_filling(c);
		nbd_mark(c);
		return;
	}
	for (;;) {
		if (res == 0) {
			c->eof = true;
			parse(c);
			return;
		}
		if (res < 0 && res != -EINTR && res != -EAGAIN) {
			nbd_dead(c);
			return;
		}
		if (res > 0) {
			total += (size_t)res;
			received(c, (size_t)res);
		}
		/* More is waiting for certain, or very likely: it is taken without going round through the
		 * loop. */
		bool more = res > 0 && ((size_t)res == c->asked || (c->filling && !c->skip_bytes));
		uint8_t *where;
		if (c->phase != NBD_OPEN || !more || total >= RECV_AT_ONCE || !(c->asked = room(c, &where)))
			break;
		ssize_t n = recv(c->fd, where, c->asked, MSG_DONTWAIT);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			break;
		res = n < 0 ? -errno : (int)n;
	}
	want_recv(c);
}

static void want_recv(struct nbd_conn *c)
{
	uint8_t *where;
	if (c->phase != NBD_OPEN || c->recv_busy || c->eof || !(c->asked = room(c, &where)))
		return;
	c->recv_busy = true;
	c->recv_ioc.done = on_recv;
	dray_loop_recv(c->loop, &c->recv_ioc, c->fd, where, c->asked);
}

/* ---- the loop's side ---- */

uint64_t nbd_transmit_hook(struct dray_loop_hook *hook, uint64_t now_ns)
{
	struct nbd_shard *shard = dray_container(hook, struct nbd_shard, hook);
	struct dray_list *n;
	while ((n = dray_list_pop(&shard->dirty))) {
		struct nbd_conn *c = dray_container(n, struct nbd_conn, dirty_node);
		if (c->phase != NBD_DEAD)
			nbd_send_replies(c);
		if (c->phase == NBD_OPEN && c->stalled) {
			parse(c);
			want_recv(c);
		}
		if (c->phase != NBD_OPEN)
			try_finish(c);
	}
	return UINT64_MAX;
}

/* Memory is short. Of the clients that don't take their replies, the one that holds the most has to go. */
static void cut_stuck(struct nbd_shard *shard)
{
	struct nbd_conn *most = NULL;
	uint64_t now = dray_loop_now(shard->loop);
	dray_list_for_each (n, &shard->members) {
		struct nbd_conn *c = dray_container(n, struct nbd_conn, member_node);
		bool stuck = c->phase != NBD_DEAD && !dray_list_empty(&c->replies) &&
			     now - c->sent_ns >= NBD_STUCK_NS;
		if (stuck && (!most || c->buf_bytes > most->buf_bytes))
			most = c;
	}
	if (most)
		nbd_dead(most);
}

void nbd_transmit_retry(struct dray_loop_timer *timer)
{
	struct nbd_shard *shard = dray_container(timer, struct nbd_shard, retry);
	struct dray_list *n;
	cut_stuck(shard);
	while ((n = dray_list_pop(&shard->starved)))
		nbd_mark(dray_container(n, struct nbd_conn, starved_node));
}

void nbd_transmit_start(struct dray_loop_msg *msg)
{
	struct nbd_conn *c = dray_container(msg, struct nbd_conn, start);
	struct nbd_shard *shard = c->shard;

	c->loop = shard->loop;
	c->phase = NBD_OPEN;
	dray_loop_timer_init(&c->timer, on_timer);
	dray_list_init(&c->idle);
	dray_list_init(&c->replies);
	dray_list_init(&c->dirty_node);
	dray_list_init(&c->starved_node);
	dray_list_add_tail(&shard->members, &c->member_node);
	if (shard->conns++ == 0)
		dray_loop_hook_add(shard->loop, &shard->hook);
	c->reqs = calloc(c->limits->max_requests, sizeof *c->reqs);
	if (!c->reqs) {
		nbd_dead(c);
		return;
	}
	/* In order, so that a client with few requests in flight stays on few structs. */
	for (unsigned i = 0; i < c->limits->max_requests; i++) {
		c->reqs[i].conn = c;
		dray_list_add_tail(&c->idle, &c->reqs[i].node);
	}
	c->told = true;
	c->ops->client(c->ctx, c->handle, true, c->peer);
	parse(c); /* a client may have sent on after GO */
	want_recv(c);
}

void nbd_transmit_end(struct dray_loop_msg *msg)
{
	drain(dray_container(msg, struct nbd_conn, end));
}
