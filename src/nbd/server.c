/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Listeners, the list of connections, and their ends.
 *
 * Everything here runs on the server's loop, so there is no lock: connections are listed, counted and freed
 * by that one thread. What other loops have of a connection they get and give back by messages:
 *
 *   server's loop                      loop of the export
 *   accept, negotiate
 *   `start`  ------------------------> serve
 *   `end`    ------------------------> drain                    (disconnect, stop; once per connection)
 *   strike off the list <------------  `gone`
 *   `bury`   ------------------------> free
 *
 * A connection that was sent an `end` is freed by `bury`, since the `end` may still be on its way: messages
 * of one sender keep their order. Others are freed on the server's loop.
 *
 * Disconnect first goes to the server's loop, whoever calls it: so it finds every connection that was handed
 * over before. A stop ends with a round of `leave` and `left`: after it no other loop is inside our code any
 * more.
 */
#include "nbd/conn.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* After an accept failed for want of file descriptors or memory. */
#define ACCEPT_AGAIN_NS UINT64_C(100000000)

struct listener {
	struct dray_list node;
	struct dray_nbd_server *srv;
	struct dray_ioc ioc;
	struct dray_loop_timer again;
	int fd;
	bool busy;
};

/* Somebody waits for the connections to one export to go. */
struct waiter {
	struct dray_loop_msg msg;
	struct dray_list node;
	struct dray_nbd_server *srv;
	struct dray_loop *loop; /* where `done` is called */
	void (*done)(void *arg);
	void *arg;
	char name[256];
};

struct dray_nbd_server {
	struct dray_loop *loop;
	struct dray_nbd_limits limits;
	const struct dray_nbd_backend_ops *ops;
	void *ctx;
	struct dray_list listeners, conns, shards, waiters;
	unsigned n_conns, n_listening, n_shards_left;
	bool stopping, stopped;
	struct dray_loop_msg stop;
	void (*stop_done)(void *arg);
	void *stop_arg;
};

static void check_stopped(struct dray_nbd_server *srv);

struct dray_loop *nbd_server_loop(const struct dray_nbd_server *srv)
{
	return srv->loop;
}

/* ---- connections ---- */

static void end_connection(struct nbd_conn *c)
{
	if (c->ending)
		return;
	if (!c->shard) {
		nbd_handshake_end(c);
		return;
	}
	c->ending = true;
	c->end.run = nbd_transmit_end;
	dray_loop_post(c->shard->loop, &c->end);
}

static bool serves(const struct nbd_conn *c, const char *name)
{
	return c->shard && strcmp(c->export, name) == 0;
}

static void run_waiter(struct dray_loop_msg *msg)
{
	struct waiter *w = dray_container(msg, struct waiter, msg);
	w->done(w->arg);
	free(w);
}

static void check_waiter(struct waiter *w)
{
	dray_list_for_each (n, &w->srv->conns)
		if (serves(dray_container(n, struct nbd_conn, node), w->name))
			return;
	dray_list_del(&w->node);
	w->msg.run = run_waiter;
	dray_loop_post(w->loop, &w->msg);
}

static void bury(struct dray_loop_msg *msg)
{
	free(dray_container(msg, struct nbd_conn, bury));
}

void nbd_server_gone(struct nbd_conn *c)
{
	struct dray_nbd_server *srv = c->srv;
	dray_list_del(&c->node);
	srv->n_conns--;
	if (c->ending) {
		c->bury.run = bury;
		dray_loop_post(c->shard->loop, &c->bury);
	} else {
		free(c->rbuf);
		free(c);
	}
	dray_list_for_each_safe (n, &srv->waiters)
		check_waiter(dray_container(n, struct waiter, node));
	check_stopped(srv);
}

void nbd_server_gone_msg(struct dray_loop_msg *msg)
{
	nbd_server_gone(dray_container(msg, struct nbd_conn, gone));
}

static struct nbd_shard *shard_of(struct dray_nbd_server *srv, struct dray_loop *loop)
{
	dray_list_for_each (n, &srv->shards) {
		struct nbd_shard *s = dray_container(n, struct nbd_shard, node);
		if (s->loop == loop)
			return s;
	}
	struct nbd_shard *s = calloc(1, sizeof *s);
	if (!s)
		return NULL;
	s->srv = srv;
	s->loop = loop;
	s->hook.run = nbd_transmit_hook;
	dray_loop_timer_init(&s->retry, nbd_transmit_retry);
	dray_list_init(&s->dirty);
	dray_list_init(&s->starved);
	dray_list_init(&s->members);
	dray_list_add_tail(&srv->shards, &s->node);
	return s;
}

int nbd_server_hand_over(struct nbd_conn *c)
{
	struct nbd_shard *shard = shard_of(c->srv, c->nego.loop);
	if (!shard)
		return -ENOMEM;
	dray_loop_timer_cancel(c->loop, &c->timer);
	c->handle = c->nego.handle;
	c->session = c->nego.session;
	memcpy(c->export, c->nego.name, sizeof c->export);
	c->nego.handle = NULL;
	dray_nego_free(&c->nego);
	c->shard = shard;
	c->start.run = nbd_transmit_start;
	dray_loop_post(shard->loop, &c->start);
	return 0;
}

static void describe_peer(int fd, char *peer, size_t size)
{
	struct sockaddr_storage ss = {0};
	socklen_t len = sizeof ss;
	char host[64], port[16];
	struct ucred cred;

	if (getpeername(fd, (struct sockaddr *)&ss, &len) < 0)
		ss.ss_family = AF_UNSPEC;
	if (ss.ss_family == AF_UNIX) {
		len = sizeof cred;
		if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0)
			snprintf(peer, size, "unix:pid=%d,uid=%u", (int)cred.pid, cred.uid);
		else
			snprintf(peer, size, "unix");
		return;
	}
	if (nbd_address_text(&ss, len, host, sizeof host, port, sizeof port))
		snprintf(peer, size, "tcp:%s:%s", host, port);
	else
		snprintf(peer, size, "unknown");
}

static void tune(int fd)
{
	int on = 1, idle = 30, every = 10, count = 3, buf = 1 << 20;
	/* All are wishes: a failure means a socket of another kind (TCP's on a unix socket) or a smaller
	 * buffer. Keep-alive ends connections whose peer has vanished without a word. */
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buf, sizeof buf);
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &every, sizeof every);
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
}

int dray_nbd_server_serve(struct dray_nbd_server *srv, int fd)
{
	if (srv->stopping)
		return -ESHUTDOWN;
	if (srv->n_conns >= srv->limits.max_connections)
		return -EMFILE;
	struct nbd_conn *c = calloc(1, sizeof *c);
	uint8_t *rbuf = c ? malloc(NBD_RECV_BYTES) : NULL;
	if (!rbuf) {
		free(c);
		return -ENOMEM;
	}
	c->srv = srv;
	c->ops = srv->ops;
	c->ctx = srv->ctx;
	c->limits = &srv->limits;
	c->loop = srv->loop;
	c->phase = NBD_HANDSHAKE;
	c->fd = fd;
	c->rbuf = rbuf;
	describe_peer(fd, c->peer, sizeof c->peer);
	tune(fd);
	dray_list_add_tail(&srv->conns, &c->node);
	srv->n_conns++;
	nbd_handshake_start(c); /* c may be gone after this */
	return 0;
}

/* ---- listening ---- */

static void start_accept(struct listener *l);

static void accept_again(struct dray_loop_timer *timer)
{
	start_accept(dray_container(timer, struct listener, again));
}

static void on_accept(struct dray_ioc *ioc, int res)
{
	struct listener *l = dray_container(ioc, struct listener, ioc);
	struct dray_nbd_server *srv = l->srv;
	l->busy = false;
	if (srv->stopping) {
		if (res >= 0)
			close(res);
		srv->n_listening--;
		check_stopped(srv);
		return;
	}
	/* Over the limit: hung up on at once, which tells a client more than silence. */
	if (res >= 0 && dray_nbd_server_serve(srv, res) < 0)
		close(res);
	if (res == -EMFILE || res == -ENFILE || res == -ENOMEM || res == -ENOBUFS)
		dray_loop_timer_set(srv->loop, &l->again, dray_loop_now(srv->loop) + ACCEPT_AGAIN_NS);
	else
		start_accept(l);
}

static void start_accept(struct listener *l)
{
	l->busy = true;
	l->ioc.done = on_accept;
	dray_loop_accept(l->srv->loop, &l->ioc, l->fd);
}

int dray_nbd_server_listen(struct dray_nbd_server *srv, int fd, struct dray_error *err)
{
	struct listener *l = calloc(1, sizeof *l);
	if (!l)
		return dray_error_set(err, -ENOMEM, "NBD server: no memory for a listener");
	l->srv = srv;
	l->fd = fd;
	dray_loop_timer_init(&l->again, accept_again);
	dray_list_add_tail(&srv->listeners, &l->node);
	srv->n_listening++;
	start_accept(l);
	return 0;
}

/* ---- ends ---- */

static void begin_disconnect(struct dray_loop_msg *msg)
{
	struct waiter *w = dray_container(msg, struct waiter, msg);
	struct dray_nbd_server *srv = w->srv;
	w->loop = srv->loop;
	dray_list_for_each (n, &srv->conns) {
		struct nbd_conn *c = dray_container(n, struct nbd_conn, node);
		if (!serves(c, w->name))
			continue;
		w->loop = c->shard->loop;
		end_connection(c);
	}
	dray_list_add_tail(&srv->waiters, &w->node);
	check_waiter(w);
}

int dray_nbd_server_disconnect(
	struct dray_nbd_server *srv, const char *name, void (*done)(void *arg), void *arg)
{
	struct waiter *w = calloc(1, sizeof *w);
	if (!w)
		return -ENOMEM;
	w->srv = srv;
	w->done = done;
	w->arg = arg;
	snprintf(w->name, sizeof w->name, "%s", name);
	w->msg.run = begin_disconnect;
	dray_loop_post(srv->loop, &w->msg);
	return 0;
}

static void one_left(struct dray_nbd_server *srv)
{
	if (--srv->n_shards_left)
		return;
	srv->stopped = true;
	srv->stop_done(srv->stop_arg);
}

static void stop_left(struct dray_loop_msg *msg)
{
	one_left(dray_container(msg, struct dray_nbd_server, stop));
}

static void shard_left(struct dray_loop_msg *msg)
{
	one_left(dray_container(msg, struct nbd_shard, left)->srv);
}

static void shard_leave(struct dray_loop_msg *msg)
{
	struct nbd_shard *s = dray_container(msg, struct nbd_shard, leave);
	s->left.run = shard_left;
	dray_loop_post(s->srv->loop, &s->left);
}

static void check_stopped(struct dray_nbd_server *srv)
{
	if (!srv->stopping || srv->n_conns || srv->n_listening || srv->n_shards_left || srv->stopped)
		return;
	/* One more than there are shards: there may be none. */
	srv->n_shards_left = 1;
	dray_list_for_each (n, &srv->shards)
		srv->n_shards_left++;
	srv->stop.run = stop_left;
	dray_loop_post(srv->loop, &srv->stop);
	dray_list_for_each (n, &srv->shards) {
		struct nbd_shard *s = dray_container(n, struct nbd_shard, node);
		s->leave.run = shard_leave;
		dray_loop_post(s->loop, &s->leave);
	}
}

static void begin_stop(struct dray_loop_msg *msg)
{
	struct dray_nbd_server *srv = dray_container(msg, struct dray_nbd_server, stop);
	srv->stopping = true;
	dray_list_for_each (n, &srv->listeners) {
		struct listener *l = dray_container(n, struct listener, node);
		dray_loop_timer_cancel(srv->loop, &l->again);
		if (l->busy)
			dray_loop_cancel(srv->loop, &l->ioc);
		else
			srv->n_listening--;
	}
	dray_list_for_each_safe (n, &srv->conns)
		end_connection(dray_container(n, struct nbd_conn, node));
	check_stopped(srv);
}

void dray_nbd_server_stop(struct dray_nbd_server *srv, void (*done)(void *arg), void *arg)
{
	assert(!srv->stop_done);
	srv->stop_done = done;
	srv->stop_arg = arg;
	srv->stop.run = begin_stop;
	dray_loop_post(srv->loop, &srv->stop);
}

int dray_nbd_server_new(struct dray_nbd_server **out, struct dray_loop *loop,
	const struct dray_nbd_limits *limits, const struct dray_nbd_backend_ops *ops, void *ctx)
{
	struct dray_nbd_server *srv = calloc(1, sizeof *srv);
	if (!srv)
		return -ENOMEM;
	srv->loop = loop;
	srv->ops = ops;
	srv->ctx = ctx;
	if (limits)
		srv->limits = *limits;
	struct dray_nbd_limits *l = &srv->limits;
	l->max_connections = l->max_connections ? l->max_connections : 256;
	l->max_requests = l->max_requests ? l->max_requests : 128;
	l->max_payload_bytes = l->max_payload_bytes ? l->max_payload_bytes : 32U << 20;
	l->handshake_timeout_ns = l->handshake_timeout_ns ? l->handshake_timeout_ns : UINT64_C(10000000000);
	l->connection_bytes = l->connection_bytes ? l->connection_bytes : 64U << 20;
	dray_list_init(&srv->listeners);
	dray_list_init(&srv->conns);
	dray_list_init(&srv->shards);
	dray_list_init(&srv->waiters);
	*out = srv;
	return 0;
}

void dray_nbd_server_free(struct dray_nbd_server *srv)
{
	struct dray_list *n;
	if (!srv)
		return;
	assert(srv->n_conns == 0 && (srv->stopped || dray_list_empty(&srv->listeners)));
	while ((n = dray_list_pop(&srv->listeners))) {
		struct listener *l = dray_container(n, struct listener, node);
		close(l->fd);
		free(l);
	}
	while ((n = dray_list_pop(&srv->shards)))
		free(dray_container(n, struct nbd_shard, node));
	free(srv);
}
