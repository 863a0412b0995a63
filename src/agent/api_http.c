/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * HTTP on the unix socket, by libmicrohttpd, one thread for each connection.
 *
 * A request is read whole (at most 16 MiB, as a document may have), becomes a call, is handed to the core, and its thread sleeps until it is
 * answered. Who asks is taken from the socket (SO_PEERCRED). The one kind of answer that has no end is the events'
 * stream: its thread asks the core for what is new whenever the core said that there is something.
 */
#include "agent/api.h"
#include "agent/retire.h"

#include "base/log.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define BODY_MOST   (16u << 20)
#define CONNECTIONS 256
#define BATCH       200 /* events at a time */
#define LAST_WORDS  2   /* seconds that the last answers may take to leave */

struct api {
	struct MHD_Daemon *daemon;
	char *path;
	bool allow_faults;
	void (*hand_over)(void *ctx, struct api_call *call);
	void (*poke)(void *ctx);
	void *ctx;
	uint64_t tickets;
	struct dray_list pending; /* submits that are being looked at, in the order in which they came */
	pthread_mutex_t lock;
	pthread_cond_t cond;
	uint64_t changes; /* of the events */
	unsigned open;    /* requests that came and whose answers have not left */
	bool stopping;
};

struct request {
	char *body;
	size_t len, size;
	bool too_long;
};

/* ---- calls ---- */

/* The order of submits is that of their arrival, however long it takes to look at what they name. */
static void ticket_take(struct api *api, struct api_call *call)
{
	pthread_mutex_lock(&api->lock);
	call->ticket = ++api->tickets;
	dray_list_add_tail(&api->pending, &call->ticket_node);
	pthread_mutex_unlock(&api->lock);
}

/* After the hand-over, so that there is no moment in which neither side knows of it. */
static void ticket_done(struct api *api, struct api_call *call)
{
	pthread_mutex_lock(&api->lock);
	bool had = !dray_list_empty(&call->ticket_node);
	dray_list_del(&call->ticket_node);
	pthread_mutex_unlock(&api->lock);
	if (had)
		api->poke(api->ctx);
}

bool api_older_pending(struct api *api, uint64_t ticket)
{
	pthread_mutex_lock(&api->lock);
	bool older = !dray_list_empty(&api->pending) &&
		     dray_container(api->pending.next, struct api_call, ticket_node)->ticket < ticket;
	pthread_mutex_unlock(&api->lock);
	return older;
}

static void call_run(struct api *api, struct api_call *call)
{
	api->hand_over(api->ctx, call);
	ticket_done(api, call);
	pthread_mutex_lock(&call->lock);
	while (!call->answered)
		pthread_cond_wait(&call->cond, &call->lock);
	pthread_mutex_unlock(&call->lock);
}

/* ---- events' stream ---- */

void api_events_changed(struct api *api)
{
	if (!api)
		return;
	pthread_mutex_lock(&api->lock);
	api->changes++;
	pthread_cond_broadcast(&api->cond);
	pthread_mutex_unlock(&api->lock);
}

struct follower {
	struct api *api;
	char *session;
	char actor[32];
	uint64_t after, seen;
	char *text; /* to be sent */
	size_t len, at;
};

static void follower_free(void *arg)
{
	struct follower *f = arg;
	free(f->session);
	free(f->text);
	free(f);
}

static struct api_call *ask_events(struct follower *f)
{
	struct api_call *call = api_call_new("GET", "/events");
	call->q_session = f->session ? strdup(f->session) : NULL;
	call->q_after = f->after;
	call->q_limit = BATCH;
	snprintf(call->actor, sizeof call->actor, "%s", f->actor);
	call_run(f->api, call);
	return call;
}

/* Takes what the core answered into the text to be sent. */
static void take_events(struct follower *f, const json_t *events)
{
	size_t i;
	json_t *event;
	FILE *out;
	free(f->text);
	f->text = NULL;
	f->len = f->at = 0;
	if (!(out = open_memstream(&f->text, &f->len)))
		return;
	json_array_foreach (events, i, event) {
		char *line = json_dumps(event, JSON_COMPACT);
		f->after = (uint64_t)json_integer_value(json_object_get(event, "seq"));
		fprintf(out, "id: %llu\nevent: %s\ndata: %s\n\n", (unsigned long long)f->after,
			json_string_value(json_object_get(event, "event")), line ? line : "{}");
		free(line);
	}
	fclose(out);
}

/* Waits for news, at most 10 s. false: the agent stops. */
static bool wait_for_news(struct follower *f)
{
	struct api *api = f->api;
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 10;
	int rc = 0;
	pthread_mutex_lock(&api->lock);
	while (!api->stopping && api->changes == f->seen && rc == 0)
		rc = pthread_cond_timedwait(&api->cond, &api->lock, &until);
	f->seen = api->changes;
	bool go_on = !api->stopping;
	pthread_mutex_unlock(&api->lock);
	return go_on;
}

static ssize_t follow(void *arg, uint64_t pos, char *buf, size_t max)
{
	struct follower *f = arg;
	if (f->at == f->len) {
		struct api_call *call;
		if (!wait_for_news(f))
			return MHD_CONTENT_READER_END_OF_STREAM;
		call = ask_events(f);
		bool good = call->status == 200;
		take_events(f, call->answer);
		/* More may be there than one batch. */
		if (json_array_size(call->answer) == BATCH)
			f->seen--;
		api_call_free(call);
		if (!good)
			return MHD_CONTENT_READER_END_OF_STREAM;
		if (!f->len) {
			/* Nothing for this session, or silence: a comment shows that we are here. */
			memcpy(buf, ":\n\n", 3);
			return 3;
		}
	}
	size_t n = f->len - f->at < max ? f->len - f->at : max;
	memcpy(buf, f->text + f->at, n);
	f->at += n;
	return (ssize_t)n;
}

/* ---- requests ---- */

static enum MHD_Result send_text(struct MHD_Connection *c, int status, const char *type, const char *text)
{
	struct MHD_Response *r = MHD_create_response_from_buffer(strlen(text), (void *)(uintptr_t)text, MHD_RESPMEM_MUST_COPY);
	if (!r)
		return MHD_NO;
	MHD_add_response_header(r, "Content-Type", type);
	MHD_add_response_header(r, "Cache-Control", "no-store");
	enum MHD_Result rc = MHD_queue_response(c, (unsigned)status, r);
	MHD_destroy_response(r);
	return rc;
}

static enum MHD_Result send_answer(struct MHD_Connection *c, struct api_call *call)
{
	if (call->text)
		return send_text(c, call->status, call->type ? call->type : "text/plain", call->text);
	if (!call->answer)
		return send_text(c, call->status, "text/plain", "");
	char *text = json_dumps(call->answer, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
	enum MHD_Result rc = send_text(c, call->status, call->type ? call->type : "application/json", text ? text : "{}");
	free(text);
	return rc;
}

static const char *query(struct MHD_Connection *c, const char *key)
{
	return MHD_lookup_connection_value(c, MHD_GET_ARGUMENT_KIND, key);
}

static bool query_flag(struct MHD_Connection *c, const char *key)
{
	const char *v = query(c, key);
	return v && strcmp(v, "0") && strcmp(v, "false");
}

static void read_query(struct MHD_Connection *c, struct api_call *call)
{
	const char *v;
	if ((v = query(c, "session")))
		call->q_session = strdup(v);
	if ((v = query(c, "state")))
		call->q_state = strdup(v);
	call->q_after = (v = query(c, "after")) ? strtoull(v, NULL, 10) : 0;
	if (call->q_after > INT64_MAX)
		call->q_after = INT64_MAX;
	call->q_limit = (v = query(c, "limit")) ? strtoull(v, NULL, 10) : 0;
	call->dry_run = query_flag(c, "dry_run");
	call->force = query_flag(c, "force");
	v = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Accept");
	call->yaml = v && strstr(v, "application/yaml");
}

static void read_peer(struct MHD_Connection *c, char *actor, size_t size)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
	struct ucred cred;
	socklen_t len = sizeof cred;
	if (info && getsockopt(info->connect_fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0)
		snprintf(actor, size, "uid:%u", (unsigned)cred.uid);
	else
		snprintf(actor, size, "unknown");
}

static enum MHD_Result bad_request(struct MHD_Connection *c, int status, int exit_code, const char *code, const char *detail)
{
	struct api_call *call = api_call_new("", "");
	api_problem(call, status, exit_code, code, "%s", detail);
	enum MHD_Result rc = send_answer(c, call);
	api_call_free(call);
	return rc;
}

/* dray-iod's volumes, as the core lists them; NULL: it can't, or the document is of none. New reference. */
static json_t *volumes_for(struct api *api, const struct api_call *call)
{
	bool any = false;
	for (size_t i = 0; i < call->submitted->n_pairs; i++)
		any |= !strncmp(call->submitted->pairs[i].source.resource, "volume:", 7);
	if (!any)
		return NULL;
	struct api_call *list = api_call_new("GET", "/volumes");
	snprintf(list->actor, sizeof list->actor, "%s", call->actor);
	call_run(api, list);
	json_t *volumes = list->status == 200 ? json_incref(list->answer) : NULL;
	api_call_free(list);
	return volumes;
}

/* The sources that the verb is to retire: which they are only the core knows, and a look may block. */
static void look_at_retire(struct api *api, struct api_call *call)
{
	struct api_call *ask = api_call_new("LOOK", call->path);
	call_run(api, ask);
	if (ask->status == 200)
		retire_look_asked(call, ask->answer, api->allow_faults);
	api_call_free(ask);
}

static bool is_retire(const struct api_call *call)
{
	const char *verb = strrchr(call->path, '/');
	return !strncmp(call->path, "/sessions/", 10) && verb && !strcmp(verb, "/retire");
}

/* Reads the body where it is JSON, and looks at what it names: all that may block. */
static bool prepare(struct api *api, struct MHD_Connection *c, struct api_call *call, const struct request *req)
{
	bool post = !strcmp(call->method, "POST");
	if (post && !strcmp(call->path, "/sessions")) {
		ticket_take(api, call);
		/* What is right of a wrong document is looked at, too: all problems are told at once. */
		dray_session_parse(req->body ? req->body : "", req->len, true, &call->submitted, &call->problems);
		if (call->submitted) {
			json_t *volumes = volumes_for(api, call);
			call->probes = probe_session(call->submitted, volumes, api->allow_faults);
			if (!call->probes)
				abort();
			retire_look_submitted(call->probes, call->submitted, volumes, api->allow_faults);
			json_decref(volumes);
		}
		return true;
	}
	if (req->len) {
		json_error_t error;
		call->body = json_loadb(req->body, req->len, JSON_REJECT_DUPLICATES, &error);
		if (!json_is_object(call->body)) {
			bad_request(c, 400, 3, "syntax", "the body is not a JSON object");
			return false;
		}
	}
	if (post && is_retire(call))
		look_at_retire(api, call);
	if (post && !strcmp(call->path, "/volumes")) {
		json_t *r = json_object_get(call->body, "resource");
		json_t *name = json_is_object(r) ? json_object_get(r, "resource") : r;
		json_int_t offset = json_integer_value(json_object_get(r, "offset"));
		json_int_t length = json_integer_value(json_object_get(r, "length"));
		call->probe = calloc(1, sizeof *call->probe);
		if (!call->probe)
			abort();
		if (json_is_string(name))
			probe_volume(json_string_value(name), offset > 0 ? (uint64_t)offset : 0, length > 0 ? (uint64_t)length : 0,
				api->allow_faults, call->probe);
	}
	return true;
}

static enum MHD_Result start_follow(struct api *api, struct MHD_Connection *c, struct api_call *call)
{
	struct follower *f = calloc(1, sizeof *f);
	if (!f)
		abort();
	f->api = api;
	f->after = call->q_after;
	f->session = call->q_session ? strdup(call->q_session) : NULL;
	snprintf(f->actor, sizeof f->actor, "%s", call->actor);
	pthread_mutex_lock(&api->lock);
	f->seen = api->changes;
	pthread_mutex_unlock(&api->lock);
	/* The first answer also tells whether there is such a session. */
	struct api_call *first = ask_events(f);
	if (first->status != 200) {
		enum MHD_Result rc = send_answer(c, first);
		api_call_free(first);
		follower_free(f);
		return rc;
	}
	take_events(f, first->answer);
	if (json_array_size(first->answer) == BATCH)
		f->seen--;
	api_call_free(first);
	struct MHD_Response *r = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 16384, follow, f, follower_free);
	if (!r) {
		follower_free(f);
		return MHD_NO;
	}
	MHD_add_response_header(r, "Content-Type", "text/event-stream");
	MHD_add_response_header(r, "Cache-Control", "no-store");
	enum MHD_Result rc = MHD_queue_response(c, 200, r);
	MHD_destroy_response(r);
	return rc;
}

static enum MHD_Result serve(struct api *api, struct MHD_Connection *c, const char *url, const char *method, struct request *req)
{
	static const char *const methods[] = { "GET", "POST", "PATCH", "DELETE", "HEAD" };
	bool known = false;
	for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++)
		known |= !strcmp(method, methods[i]);
	if (!known)
		return bad_request(c, 405, 2, "method", "the methods are GET, POST, PATCH and DELETE");
	if (req->too_long)
		return bad_request(c, 413, 3, "too_long", "a body may have at most 16 MiB");
	bool outside = !strcmp(url, "/metrics") || !strcmp(url, "/healthz");
	if (!outside && strncmp(url, "/v1/", 4))
		return bad_request(c, 404, 4, "not_found", "there is nothing here; the API is below /v1");
	struct api_call *call = api_call_new(strcmp(method, "HEAD") ? method : "GET", outside ? url : url + 3);
	read_query(c, call);
	read_peer(c, call->actor, sizeof call->actor);
	enum MHD_Result rc = MHD_YES;
	if (!strcmp(call->path, "/events") && query_flag(c, "follow")) {
		rc = start_follow(api, c, call);
	} else if (prepare(api, c, call, req)) {
		call_run(api, call);
		rc = send_answer(c, call);
	}
	api_call_free(call);
	return rc;
}

static enum MHD_Result handle(void *ctx, struct MHD_Connection *c, const char *url, const char *method, const char *version,
	const char *data, size_t *size, void **mine)
{
	struct request *req = *mine;
	struct api *api = ctx;
	if (!req) {
		*mine = calloc(1, sizeof *req);
		if (!*mine)
			return MHD_NO;
		pthread_mutex_lock(&api->lock);
		api->open++;
		pthread_mutex_unlock(&api->lock);
		return MHD_YES;
	}
	if (*size) {
		if (req->len + *size > BODY_MOST) {
			req->too_long = true;
		} else {
			if (req->len + *size > req->size) {
				size_t want = req->size ? req->size * 2 : 4096;
				while (want < req->len + *size)
					want *= 2;
				char *bigger = realloc(req->body, want);
				if (!bigger)
					return MHD_NO;
				req->body = bigger;
				req->size = want;
			}
			memcpy(req->body + req->len, data, *size);
			req->len += *size;
		}
		*size = 0;
		return MHD_YES;
	}
	return serve(api, c, url, method, req);
}

static void completed(void *ctx, struct MHD_Connection *c, void **mine, enum MHD_RequestTerminationCode why)
{
	struct request *req = *mine;
	struct api *api = ctx;
	if (!req)
		return;
	free(req->body);
	free(req);
	*mine = NULL;
	pthread_mutex_lock(&api->lock);
	api->open--;
	pthread_cond_broadcast(&api->cond);
	pthread_mutex_unlock(&api->lock);
}

/* ---- listening ---- */

static int listen_on(const char *path, struct dray_error *err)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	if (strlen(path) >= sizeof addr.sun_path)
		return dray_error_errno(err, -ENAMETOOLONG, "%s", path);
	strcpy(addr.sun_path, path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return dray_error_errno(err, -errno, "socket");
	/* A socket that nobody serves is left from an agent that was killed. */
	if (connect(fd, (struct sockaddr *)&addr, sizeof addr) == 0 || errno == EAGAIN) {
		close(fd);
		return dray_error_kind(err, -EADDRINUSE, "busy", "another agent listens on %s", path);
	}
	close(fd);
	if (unlink(path) < 0 && errno != ENOENT)
		return dray_error_errno(err, -errno, "%s", path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int e = 0;
	/* Nobody may connect between bind and chmod. */
	mode_t old = umask(0177);
	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof addr) < 0)
		e = errno;
	umask(old);
	if (!e && (chmod(path, 0660) < 0 || listen(fd, 128) < 0))
		e = errno;
	if (!e)
		return fd;
	if (fd >= 0)
		close(fd);
	return dray_error_errno(err, -e, "%s", path);
}

int api_start(struct api **out, const char *path, bool allow_faults, void (*hand_over)(void *ctx, struct api_call *call),
	void (*poke)(void *ctx), void *ctx, struct dray_error *err)
{
	int fd = listen_on(path, err);
	if (fd < 0)
		return fd;
	struct api *api = calloc(1, sizeof *api);
	if (!api || !(api->path = strdup(path))) {
		free(api);
		close(fd);
		return dray_error_errno(err, -ENOMEM, "the API");
	}
	api->allow_faults = allow_faults;
	api->hand_over = hand_over;
	api->poke = poke;
	dray_list_init(&api->pending);
	api->ctx = ctx;
	pthread_mutex_init(&api->lock, NULL);
	pthread_cond_init(&api->cond, NULL);
	api->daemon = MHD_start_daemon(
		MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION | MHD_USE_POLL, 0, NULL, NULL, handle, api,
		MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS, MHD_OPTION_NOTIFY_COMPLETED, completed,
		api, MHD_OPTION_CONNECTION_TIMEOUT, 300u, MHD_OPTION_END);
	if (!api->daemon) {
		close(fd);
		free(api->path);
		free(api);
		return dray_error_errno(err, -EIO, "the HTTP server does not start on %s", path);
	}
	*out = api;
	return 0;
}

void api_stop(struct api *api)
{
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += LAST_WORDS;
	unlink(api->path);
	pthread_mutex_lock(&api->lock);
	api->stopping = true;
	pthread_cond_broadcast(&api->cond);
	/* libmicrohttpd cuts its connections when it stops: who asked for the end has to hear first that it comes. */
	while (api->open && !pthread_cond_timedwait(&api->cond, &api->lock, &until))
		;
	pthread_mutex_unlock(&api->lock);
	MHD_stop_daemon(api->daemon);
	pthread_mutex_destroy(&api->lock);
	pthread_cond_destroy(&api->cond);
	free(api->path);
	free(api);
}
