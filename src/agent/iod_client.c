/* SPDX-License-Identifier: BSD-3-Clause */
#include "agent/iod_client.h"

#include "base/list.h"
#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define MS        UINT64_C(1000000)
#define LINE_MOST (64u << 20) /* a list of ten thousand volumes has some twenty */

enum phase { CLOSED, HELLO, SUBSCRIBE, READY };

struct call {
	struct dray_list node;
	json_int_t id;
	iod_done *done;
	void *arg;
};

struct iod {
	char *path;
	const struct iod_ops *ops;
	void *ctx;
	int fd;
	enum phase phase;
	uint64_t connect_at, backoff; /* monotonic, 0: at once */
	json_int_t next_id;
	struct dray_list calls;   /* sent, not answered */
	struct dray_list refused; /* to be ended with -ENOTCONN at the next step */
	char *in, *out;
	size_t in_seen; /* of in: no end of a line in it */
	size_t in_len, in_size, out_len, out_size;
	json_t *hello;
	bool stepping;
	bool refused_us; /* hello or subscribe failed: another version, or not dray-iod at all */
};

struct iod *iod_new(const char *path, const struct iod_ops *ops, void *ctx)
{
	struct iod *iod = calloc(1, sizeof *iod);
	if (!iod || !(iod->path = strdup(path))) {
		free(iod);
		return NULL;
	}
	iod->ops = ops;
	iod->ctx = ctx;
	iod->fd = -1;
	dray_list_init(&iod->calls);
	dray_list_init(&iod->refused);
	return iod;
}

static void end_calls(struct dray_list *calls, int code, const char *words)
{
	struct dray_error err;
	struct dray_list *n;
	dray_error_kind(&err, code, "unreachable", "%s", words);
	while ((n = dray_list_pop(calls))) {
		struct call *call = dray_container(n, struct call, node);
		call->done(call->arg, &err, NULL);
		free(call);
	}
}

void iod_free(struct iod *iod)
{
	if (!iod)
		return;
	if (iod->fd >= 0)
		close(iod->fd);
	end_calls(&iod->calls, -ECANCELED, "the agent stops");
	end_calls(&iod->refused, -ECANCELED, "the agent stops");
	json_decref(iod->hello);
	free(iod->in);
	free(iod->out);
	free(iod->path);
	free(iod);
}

bool iod_ready(const struct iod *iod)
{
	return iod->phase == READY;
}

const json_t *iod_hello(const struct iod *iod)
{
	return iod->phase == READY ? iod->hello : NULL;
}

const char *iod_incarnation(const struct iod *iod)
{
	const char *s = iod->hello ? json_string_value(json_object_get(iod->hello, "incarnation")) : NULL;
	return s && iod->phase == READY ? s : "";
}

int iod_fd(const struct iod *iod)
{
	return iod->fd;
}

short iod_events(const struct iod *iod)
{
	return (short)(POLLIN | (iod->out_len ? POLLOUT : 0));
}

uint64_t iod_due(const struct iod *iod)
{
	if (!dray_list_empty(&iod->refused))
		return 0;
	return iod->phase == CLOSED ? iod->connect_at : UINT64_MAX;
}

void iod_poke(struct iod *iod)
{
	iod->connect_at = 0;
	iod->backoff = 0;
}

static bool append(char **buf, size_t *len, size_t *size, const char *data, size_t n)
{
	if (*len + n > *size) {
		size_t want = *size ? *size * 2 : 4096;
		while (want < *len + n)
			want *= 2;
		char *bigger = realloc(*buf, want);
		if (!bigger)
			return false;
		*buf = bigger;
		*size = want;
	}
	memcpy(*buf + *len, data, n);
	*len += n;
	return true;
}

static void send_call(struct iod *iod, const char *method, json_t *params, iod_done *done, void *arg)
{
	struct call *call = calloc(1, sizeof *call);
	if (!call) {
		json_decref(params);
		abort(); /* a few bytes: the process is at its end */
	}
	call->id = ++iod->next_id;
	call->done = done;
	call->arg = arg;
	json_t *msg = json_pack("{s:s, s:I, s:s}", "jsonrpc", "2.0", "id", call->id, "method", method);
	json_object_set_new(msg, "params", params ? params : json_object());
	char *line = json_dumps(msg, JSON_COMPACT);
	json_decref(msg);
	if (line && append(&iod->out, &iod->out_len, &iod->out_size, line, strlen(line)) &&
		append(&iod->out, &iod->out_len, &iod->out_size, "\n", 1))
		dray_list_add_tail(&iod->calls, &call->node);
	else
		dray_list_add_tail(&iod->refused, &call->node);
	free(line);
}

void iod_call(struct iod *iod, const char *method, json_t *params, iod_done *done, void *arg)
{
	if (iod->phase == READY) {
		send_call(iod, method, params, done, arg);
		return;
	}
	json_decref(params);
	struct call *call = calloc(1, sizeof *call);
	if (!call)
		abort();
	call->done = done;
	call->arg = arg;
	dray_list_add_tail(&iod->refused, &call->node);
}

static void drop(struct iod *iod, const char *why, uint64_t now)
{
	bool was_ready = iod->phase == READY;
	if (iod->fd >= 0)
		close(iod->fd);
	iod->fd = -1;
	iod->phase = CLOSED;
	iod->in_len = iod->in_seen = iod->out_len = 0;
	iod->backoff = iod->backoff ? iod->backoff * 2 : 200 * MS;
	if (iod->backoff > 2000 * MS)
		iod->backoff = 2000 * MS;
	iod->connect_at = now + (was_ready ? 20 * MS : iod->backoff);
	if (was_ready)
		dray_log(DRAY_LOG_WARN, "iod-lost", "the connection to dray-iod is lost: %s", why);
	end_calls(&iod->calls, -ENOTCONN, "the connection to dray-iod was lost");
	if (was_ready)
		iod->ops->down(iod->ctx);
}

static void on_subscribed(void *arg, const struct dray_error *err, json_t *result)
{
	struct iod *iod = arg;
	if (err) {
		if (iod->phase != CLOSED)
			dray_log(DRAY_LOG_ERROR, "iod-refused", "dray-iod refuses events.subscribe: %s", err->text);
		iod->refused_us = true;
		return;
	}
	iod->phase = READY;
	iod->backoff = 0;
	iod->ops->up(iod->ctx);
}

static void on_hello(void *arg, const struct dray_error *err, json_t *result)
{
	struct iod *iod = arg;
	if (err) {
		if (iod->phase != CLOSED)
			dray_log(DRAY_LOG_ERROR, "iod-refused", "dray-iod refuses hello: %s", err->text);
		iod->refused_us = true;
		return;
	}
	json_decref(iod->hello);
	iod->hello = json_incref(result);
	iod->phase = SUBSCRIBE;
	send_call(iod, "events.subscribe", NULL, on_subscribed, iod);
}

static void connect_now(struct iod *iod, uint64_t now)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	if (strlen(iod->path) >= sizeof addr.sun_path) {
		iod->connect_at = UINT64_MAX;
		dray_log(DRAY_LOG_ERROR, "iod-path", "%s: too long a name for a socket", iod->path);
		return;
	}
	strcpy(addr.sun_path, iod->path);
	iod->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* A unix socket connects at once, or not: EAGAIN is a full backlog, a dray-iod that is there but slow. */
	if (iod->fd < 0 || connect(iod->fd, (struct sockaddr *)&addr, sizeof addr) < 0) {
		int e = errno;
		drop(iod, strerror(e), now);
		if (e == ENOENT || e == ECONNREFUSED)
			iod->ops->absent(iod->ctx);
		return;
	}
	iod->phase = HELLO;
	iod->refused_us = false;
	send_call(iod, "hello", json_pack("{s:i}", "version", 1), on_hello, iod);
}

static void answer(struct iod *iod, json_t *msg)
{
	json_t *id = json_object_get(msg, "id");
	if (!json_is_integer(id)) {
		const char *method = json_string_value(json_object_get(msg, "method"));
		if (method && !strcmp(method, "event"))
			iod->ops->event(iod->ctx, json_object_get(msg, "params"));
		return;
	}
	dray_list_for_each(n, &iod->calls) {
		struct call *call = dray_container(n, struct call, node);
		if (call->id != json_integer_value(id))
			continue;
		dray_list_del(n);
		json_t *error = json_object_get(msg, "error");
		if (json_is_object(error)) {
			struct dray_error err;
			const json_t *data = json_object_get(error, "data");
			const char *kind = json_string_value(json_object_get(data, "kind"));
			const char *text = json_string_value(json_object_get(error, "message"));
			json_int_t e = json_integer_value(json_object_get(data, "errno"));
			/* -ENOTCONN is kept for "outcome unknown"; dray-iod's own is another matter. */
			int code = e < 0 && e > -4096 && e != -ENOTCONN ? (int)e : -EIO;
			dray_error_kind(&err, code, kind ? kind : "failed", "%s", text ? text : "dray-iod gave no reason");
			call->done(call->arg, &err, error);
		} else {
			call->done(call->arg, NULL, json_object_get(msg, "result"));
		}
		free(call);
		return;
	}
	dray_log(DRAY_LOG_WARN, "iod-answer", "dray-iod answered a call that was not made");
}

/* Handles all whole lines. false: what came is not the protocol. */
static bool take_lines(struct iod *iod)
{
	size_t at = 0, seen = iod->in_seen;
	char *end;
	/* A list of thousands of volumes is one line, and comes in thousands of pieces: each is looked through once. */
	while (iod->fd >= 0 && (end = memchr(iod->in + seen, '\n', iod->in_len - seen))) {
		size_t n = (size_t)(end - (iod->in + at));
		json_t *msg = json_loadb(iod->in + at, n, 0, NULL);
		at += n + 1;
		seen = at;
		if (!json_is_object(msg)) {
			json_decref(msg);
			return false;
		}
		answer(iod, msg);
		json_decref(msg);
	}
	if (iod->in_len >= at) {
		memmove(iod->in, iod->in + at, iod->in_len - at);
		iod->in_len -= at;
		iod->in_seen = iod->in_len;
	} else {
		iod->in_seen = 0; /* the connection was dropped by one of its answers */
	}
	return iod->in_len <= LINE_MOST;
}

static void transfer(struct iod *iod, uint64_t now)
{
	char buf[16384];
	ssize_t n;
	while (iod->fd >= 0 && iod->out_len) {
		n = send(iod->fd, iod->out, iod->out_len, MSG_NOSIGNAL);
		if (n < 0 && errno == EAGAIN)
			break;
		if (n <= 0) {
			drop(iod, strerror(errno), now);
			return;
		}
		memmove(iod->out, iod->out + n, iod->out_len - (size_t)n);
		iod->out_len -= (size_t)n;
	}
	while (iod->fd >= 0) {
		n = recv(iod->fd, buf, sizeof buf, 0);
		if (n < 0 && errno == EAGAIN)
			break;
		if (n <= 0) {
			drop(iod, n ? strerror(errno) : "closed by dray-iod", now);
			return;
		}
		if (!append(&iod->in, &iod->in_len, &iod->in_size, buf, (size_t)n) || !take_lines(iod)) {
			drop(iod, "not the protocol, or no memory", now);
			return;
		}
	}
}

void iod_step(struct iod *iod, uint64_t now)
{
	assert(!iod->stepping);
	iod->stepping = true;
	if (iod->phase == CLOSED && now >= iod->connect_at)
		connect_now(iod, now);
	if (iod->fd >= 0)
		transfer(iod, now);
	if (iod->fd >= 0 && iod->out_len)
		transfer(iod, now); /* what the callbacks asked for */
	if (iod->fd >= 0 && iod->refused_us)
		drop(iod, "refused", now); /* and again after the back-off: it may be replaced by a better one */
	/* Only those refused before now: a callback may ask again. */
	struct dray_list old;
	dray_list_init(&old);
	struct dray_list *n;
	while ((n = dray_list_pop(&iod->refused)))
		dray_list_add_tail(&old, n);
	end_calls(&old, -ENOTCONN, "dray-iod is not there");
	iod->stepping = false;
}
