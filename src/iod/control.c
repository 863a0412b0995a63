/* SPDX-License-Identifier: BSD-3-Clause */
#include "iod/control.h"

#include "base/log.h"
#include "iod/files.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define CONNS_MOST  64
#define CALLS_MOST  64          /* under way for one connection: above it the connection is not read */
#define OUT_MOST    (32u << 20) /* not yet taken by the client: above it the client is gone for us */
#define EVENTS_MOST (1u << 20)  /* the same, of events alone: an answer may be long, and was asked for */

struct iod_conn {
	struct dray_list node; /* control->conns */
	struct iod_control *control;
	unsigned refs;         /* the control's, each operation under way, each call */
	int fd;
	bool greeted, subscribed, closing, receiving, sending;
	bool eof;              /* it sends no more; what it asked is still answered */
	bool last_words;       /* close once all is sent */
	struct dray_ioc recv, send;
	char *in;
	size_t in_used, in_size;
	char *out;             /* [out_sent, out_used) is still to be sent */
	size_t out_sent, out_used, out_size;
	struct msghdr msg;
	struct iovec iov;
	char *out_busy;        /* what the kernel is reading from */
	size_t events, events_busy; /* bytes of `out` and of `out_busy` that are events */
	unsigned calls;
};

struct iod_control {
	struct iod *iod;
	int fd;
	struct dray_ioc accept;
	struct dray_loop_timer again;
	struct dray_list conns;
	unsigned n_conns;
	bool stopping, accepting;
};

static void receive(struct iod_conn *c);
static void take_lines(struct iod_conn *c);

static void conn_put(struct iod_conn *c)
{
	if (--c->refs)
		return;
	close(c->fd);
	free(c->in);
	free(c->out);
	free(c->out_busy);
	free(c);
}

static void conn_close(struct iod_conn *c)
{
	if (c->closing)
		return;
	c->closing = true;
	dray_list_del(&c->node);
	c->control->n_conns--;
	shutdown(c->fd, SHUT_RDWR);
	if (c->receiving)
		dray_loop_cancel(c->control->iod->loop, &c->recv);
	if (c->sending)
		dray_loop_cancel(c->control->iod->loop, &c->send);
	conn_put(c);
}

/* ---- output ---- */

static void send_done(struct dray_ioc *ioc, int res);

static void send_more(struct iod_conn *c)
{
	if (c->sending || c->closing)
		return;
	if (c->out_used == 0) {
		if (c->last_words)
			conn_close(c);
		return;
	}
	if (!c->out_busy) {
		/* The buffer goes to the kernel; new lines gather in another one. */
		c->out_busy = c->out;
		c->events_busy = c->events;
		c->events = 0;
		c->iov = (struct iovec){ .iov_base = c->out, .iov_len = c->out_used };
		c->out = NULL;
		c->out_size = 0;
	}
	c->msg = (struct msghdr){ .msg_iov = &c->iov, .msg_iovlen = 1 };
	c->send.done = send_done;
	c->sending = true;
	c->refs++;
	dray_loop_sendmsg(c->control->iod->loop, &c->send, c->fd, &c->msg);
}

/* A client that has closed its sending side only gets the answers it waits for. */
static void end_if_done(struct iod_conn *c)
{
	if (c->eof && !c->calls && !c->closing) {
		c->last_words = true;
		send_more(c);
	}
}

static void send_done(struct dray_ioc *ioc, int res)
{
	struct iod_conn *c = dray_container(ioc, struct iod_conn, send);
	c->sending = false;
	if (!c->closing) {
		if (res <= 0) {
			if (res != -EPIPE && res != -ECONNRESET)
				dray_log(DRAY_LOG_WARN, "client-lost", "a connection is given up: sending %zu bytes: %s", c->iov.iov_len, strerror(-res));
			conn_close(c);
		} else {
			c->out_used -= (size_t)res;
			c->iov.iov_base = (char *)c->iov.iov_base + res;
			c->iov.iov_len -= (size_t)res;
			if (c->iov.iov_len == 0) {
				free(c->out_busy);
				c->out_busy = NULL;
				c->events_busy = 0;
			}
			send_more(c);
		}
	}
	conn_put(c);
}

/* Queues a line and frees it. NULL (no memory to make one) ends the connection: an answer must not be lost in silence. */
static void put_line(struct iod_conn *c, char *line, bool event)
{
	size_t n = line ? strlen(line) : 0;
	if (c->closing) {
		free(line);
		return;
	}
	size_t gathered = c->out_used - (c->out_busy ? c->iov.iov_len : 0);
	if (!line || c->out_used + n > OUT_MOST || (event && c->events + c->events_busy + n > EVENTS_MOST)) {
		dray_log(DRAY_LOG_WARN, "client-lost", "a connection is given up: %s, and %zu bytes wait for it, %zu of them events",
			line ? "it is not read" : "no memory", c->out_used, c->events + c->events_busy);
		goto end;
	}
	if (gathered + n > c->out_size) {
		size_t size = c->out_size ? c->out_size : 4096;
		while (size < gathered + n)
			size *= 2;
		char *out = realloc(c->out, size);
		if (!out)
			goto end;
		c->out = out;
		c->out_size = size;
	}
	memcpy(c->out + gathered, line, n);
	c->out_used += n;
	c->events += event ? n : 0;
	free(line);
	send_more(c);
	return;
end:
	free(line);
	conn_close(c);
}

static void say(struct iod_conn *c, char *line)
{
	put_line(c, line, false);
}

/* ---- calls ---- */

static void call_free(struct iod_call *call)
{
	json_decref(call->params);
	json_decref(call->id);
	json_decref(call->data);
	free(call->line);
	free(call);
}

static char *answer_line(struct iod_call *call, json_t *result)
{
	if (result)
		return iod_rpc_answer(call->id, result);
	int code = call->code ? call->code : iod_rpc_code(&call->err);
	json_t *data = call->data;
	call->data = NULL;
	return iod_rpc_error(call->id, code, &call->err, data);
}

/* The main thread: the job has ended. */
static void call_answered(struct dray_loop_msg *msg)
{
	struct iod_call *call = dray_container(msg, struct iod_call, msg);
	struct iod_conn *c = call->conn;
	struct iod *iod = call->iod;
	bool stop = call->stop_after;

	c->calls--;
	if (call->id) {
		say(c, call->line);
		call->line = NULL;
	}
	call_free(call);
	if (!c->closing)
		take_lines(c);
	end_if_done(c);
	conn_put(c);
	if (stop)
		iod_stop(iod);
}

static void call_run(void *arg)
{
	struct iod_call *call = arg;
	json_t *result = iod_verb_find(call->method)(call);
	if (!result)
		iod_files_explain(&call->err);
	call->line = call->id || !result ? answer_line(call, result) : NULL;
	if (!call->id && result)
		json_decref(result);
	call->msg.run = call_answered;
	dray_loop_post(call->iod->loop, &call->msg);
}

static void start_call(struct iod_conn *c, struct iod_rpc_request *req)
{
	struct iod_call *call = calloc(1, sizeof *call);
	if (!call) {
		conn_close(c);
		return;
	}
	call->iod = c->control->iod;
	call->method = req->method->name;
	call->params = req->params;
	call->id = req->id;
	req->params = req->id = NULL;
	call->conn = c;
	if (iod_jobs_run(call->iod->jobs, call_run, call) < 0) {
		dray_error_kind(&call->err, -EAGAIN, "busy", "%s: too many calls are under way", call->method);
		if (call->id)
			say(c, answer_line(call, NULL));
		call_free(call);
		return;
	}
	c->refs++;
	c->calls++;
}

/* hello and events.subscribe change the connection: they are answered here. */
static void greet(struct iod_conn *c, struct iod_rpc_request *req)
{
	struct dray_error err = DRAY_ERROR_INIT;
	if (json_integer_value(json_object_get(req->params, "version")) != 1) {
		dray_error_kind(&err, -EPROTO, "unsupported", "hello: this dray-iod speaks version 1");
		say(c, iod_rpc_error(req->id, IOD_RPC_NOT_LEGAL, &err, NULL));
		return;
	}
	c->greeted = true;
	if (req->id)
		say(c, iod_rpc_answer(req->id, iod_hello(c->control->iod)));
}

static void take_line(struct iod_conn *c, const char *line, size_t length)
{
	struct iod_rpc_request req;
	struct dray_error err = DRAY_ERROR_INIT;
	int code = iod_rpc_parse(line, length, &req, &err);

	if (code) {
		say(c, iod_rpc_error(req.id, code, &err, NULL));
		if (code == IOD_RPC_PARSE && !c->closing) {
			c->last_words = true;
			send_more(c);
		}
	} else if (strcmp(req.method->name, "hello") == 0) {
		greet(c, &req);
	} else if (!c->greeted) {
		dray_error_kind(&err, -EPROTO, "unsupported", "%s: the first call is hello", req.method->name);
		say(c, iod_rpc_error(req.id, IOD_RPC_NOT_LEGAL, &err, NULL));
	} else if (strcmp(req.method->name, "events.subscribe") == 0) {
		c->subscribed = true;
		if (req.id)
			say(c, iod_rpc_answer(req.id, json_object()));
	} else {
		start_call(c, &req);
	}
	iod_rpc_request_clear(&req);
}

/* ---- input ---- */

static void take_lines(struct iod_conn *c)
{
	size_t at = 0;
	c->refs++;
	while (!c->closing && !c->last_words && c->calls < CALLS_MOST) {
		char *end = c->in_used > at ? memchr(c->in + at, '\n', c->in_used - at) : NULL;
		if (!end)
			break;
		size_t length = (size_t)(end - (c->in + at));
		if (length && c->in[at + length - 1] == '\r')
			take_line(c, c->in + at, length - 1);
		else if (length)
			take_line(c, c->in + at, length);
		at += (size_t)(end - (c->in + at)) + 1;
	}
	if (at) {
		memmove(c->in, c->in + at, c->in_used - at);
		c->in_used -= at;
	}
	if (!c->closing && !c->last_words && c->in_used >= IOD_RPC_LINE_MOST &&
		!memchr(c->in, '\n', c->in_used)) {
		struct dray_error err = DRAY_ERROR_INIT;
		dray_error_kind(&err, -E2BIG, "syntax", "a line is longer than %u bytes", IOD_RPC_LINE_MOST);
		c->last_words = true;
		say(c, iod_rpc_error(NULL, IOD_RPC_PARSE, &err, NULL));
	}
	receive(c);
	conn_put(c);
}

static void recv_done(struct dray_ioc *ioc, int res)
{
	struct iod_conn *c = dray_container(ioc, struct iod_conn, recv);
	c->receiving = false;
	if (!c->closing) {
		if (res < 0) {
			if (res != -ECONNRESET)
				dray_log(DRAY_LOG_WARN, "client-lost", "a connection is given up: receiving: %s", strerror(-res));
			conn_close(c);
		} else if (res == 0) {
			c->eof = true;
			end_if_done(c);
		} else {
			c->in_used += (size_t)res;
			take_lines(c);
		}
	}
	conn_put(c);
}

static void receive(struct iod_conn *c)
{
	if (c->receiving || c->closing || c->eof || c->last_words || c->calls >= CALLS_MOST)
		return;
	if (c->in_size - c->in_used < 4096) {
		size_t size = c->in_size ? c->in_size * 2 : 8192;
		char *in = size <= 4 * (size_t)IOD_RPC_LINE_MOST ? realloc(c->in, size) : NULL;
		if (!in) {
			conn_close(c);
			return;
		}
		c->in = in;
		c->in_size = size;
	}
	c->recv.done = recv_done;
	c->receiving = true;
	c->refs++;
	dray_loop_recv(c->control->iod->loop, &c->recv, c->fd, c->in + c->in_used, c->in_size - c->in_used);
}

static void accept_more(struct iod_control *control);

static void accept_again(struct dray_loop_timer *timer)
{
	accept_more(dray_container(timer, struct iod_control, again));
}

static void accept_done(struct dray_ioc *ioc, int fd)
{
	struct iod_control *control = dray_container(ioc, struct iod_control, accept);
	control->accepting = false;
	if (control->stopping) {
		if (fd >= 0)
			close(fd);
		return;
	}
	if (fd < 0) {
		/* Out of descriptors or memory: it may pass. */
		dray_loop_timer_set(control->iod->loop, &control->again,
			dray_loop_now(control->iod->loop) + UINT64_C(100000000));
		return;
	}
	struct iod_conn *c = control->n_conns < CONNS_MOST ? calloc(1, sizeof *c) : NULL;
	if (c) {
		c->control = control;
		c->refs = 1;
		c->fd = fd;
		dray_list_add_tail(&control->conns, &c->node);
		control->n_conns++;
		receive(c);
	} else {
		close(fd);
	}
	accept_more(control);
}

static void accept_more(struct iod_control *control)
{
	control->accept.done = accept_done;
	control->accepting = true;
	dray_loop_accept(control->iod->loop, &control->accept, control->fd);
}

int iod_control_start(struct iod *iod, struct dray_error *err)
{
	struct iod_control *control = calloc(1, sizeof *control);
	if (!control)
		return dray_error_set(err, -ENOMEM, "control socket: no memory");
	control->iod = iod;
	dray_list_init(&control->conns);
	dray_loop_timer_init(&control->again, accept_again);
	/* The NBD server's opener does just what is wanted: stale sockets replaced, living ones refused, mode 0660. */
	control->fd = dray_nbd_listen_unix(iod->control_socket, err);
	if (control->fd < 0) {
		int rc = control->fd;
		free(control);
		return rc;
	}
	iod->control = control;
	accept_more(control);
	return 0;
}

void iod_control_stop(struct iod *iod)
{
	struct iod_control *control = iod->control;
	if (!control)
		return;
	control->stopping = true;
	unlink(iod->control_socket);
	dray_loop_timer_cancel(iod->loop, &control->again);
	if (control->accepting)
		dray_loop_cancel(iod->loop, &control->accept);
	while (!dray_list_empty(&control->conns))
		conn_close(dray_container(control->conns.next, struct iod_conn, node));
	/* The accept and the connections' operations end with -ECANCELED while the loop runs on. */
}

/* ---- notifications ---- */

struct note {
	struct dray_loop_msg msg;
	struct iod *iod;
	char *line;
};

static void note_run(struct dray_loop_msg *msg)
{
	struct note *note = dray_container(msg, struct note, msg);
	struct iod_control *control = note->iod->control;
	if (control && note->line)
		dray_list_for_each_safe(n, &control->conns)
		{
			struct iod_conn *c = dray_container(n, struct iod_conn, node);
			if (c->subscribed)
				put_line(c, strdup(note->line), true);
		}
	free(note->line);
	free(note);
}

void iod_notify(struct iod *iod, const char *event, const char *volume, unsigned leg, const char *state,
	const char *error)
{
	struct note *note = calloc(1, sizeof *note);
	struct timespec ts;
	struct tm tm;
	char now[40];
	if (!note)
		return; /* they are hints: a reader that lost one is right after one volume.list */
	clock_gettime(CLOCK_REALTIME, &ts);
	gmtime_r(&ts.tv_sec, &tm);
	size_t n = strftime(now, sizeof now, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(now + n, sizeof now - n, ".%03ldZ", ts.tv_nsec / 1000000);
	note->iod = iod;
	note->msg.run = note_run;
	note->line = iod_rpc_notification("event",
		json_pack("{s:s s:s s:o s:s? s:s? s:s}", "event", event, "volume", volume, "leg",
			leg ? json_integer(leg) : json_null(), "state", state, "error", error, "time", now));
	dray_loop_post(iod->loop, &note->msg);
}
