/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * HTTP on the unix socket, by libmicrohttpd, one thread for each connection.
 *
 * A request is read whole (at most 16 MiB, as a document may have), becomes a call, is handed to the core, and its thread sleeps until it is
 * answered. Who asks is taken from the socket (SO_PEERCRED). The one kind of answer that has no end is the events'
 * stream (api_follow.c).
 */
#include "agent/api.h"
#include "agent/api_http.h"
#include "agent/api_table.h"
#include "agent/estimate.h"
#include "agent/retire.h"
#include "agent/speed.h"

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
#define LAST_WORDS  2   /* seconds that the last answers may take to leave */

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

void api_call_run(struct api *api, struct api_call *call)
{
	api->hand_over(api->ctx, call);
	ticket_done(api, call);
	pthread_mutex_lock(&call->lock);
	while (!call->answered)
		pthread_cond_wait(&call->cond, &call->lock);
	pthread_mutex_unlock(&call->lock);
}

/* ---- requests ---- */

static enum MHD_Result send_text(struct MHD_Connection *c, int status, const char *type, const char *text, bool left_out)
{
	struct MHD_Response *r = MHD_create_response_from_buffer(strlen(text), (void *)(uintptr_t)text, MHD_RESPMEM_MUST_COPY);
	if (!r)
		return MHD_NO;
	MHD_add_response_header(r, "Content-Type", type);
	MHD_add_response_header(r, "Cache-Control", "no-store");
	if (left_out)
		MHD_add_response_header(r, "Dray-Left-Out", "1");
	enum MHD_Result rc = MHD_queue_response(c, (unsigned)status, r);
	MHD_destroy_response(r);
	return rc;
}

enum MHD_Result api_send_answer(struct MHD_Connection *c, struct api_call *call)
{
	if (call->text)
		return send_text(c, call->status, call->type ? call->type : "text/plain", call->text, call->left_out);
	if (!call->answer)
		return send_text(c, call->status, "text/plain", "", false);
	char *text = json_dumps(call->answer, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
	enum MHD_Result rc = send_text(c, call->status, call->type ? call->type : "application/json", text ? text : "{}", false);
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
	v = query(c, "after");
	if (v && !strcmp(call->path, "/sessions"))
		call->q_after_session = strdup(v);
	call->q_after = v ? strtoull(v, NULL, 10) : 0;
	if (call->q_after > INT64_MAX)
		call->q_after = INT64_MAX;
	if ((v = query(c, "past"))) {
		unsigned long long n = strtoull(v, NULL, 10);
		call->q_past = n < UINT32_MAX ? n + 1 : 0;
	}
	call->q_limit = (v = query(c, "limit")) ? strtoull(v, NULL, 10) : 0;
	call->dry_run = query_flag(c, "dry_run");
	call->force = query_flag(c, "force");
	v = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Accept");
	call->yaml = v && strstr(v, "application/yaml");
}

static void read_peer(struct MHD_Connection *c, struct api_call *call)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
	struct ucred cred = { 0 };
	socklen_t len = sizeof cred;
	if (info && getsockopt(info->connect_fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0)
		snprintf(call->actor, sizeof call->actor, "uid:%u", (unsigned)cred.uid);
	else
		snprintf(call->actor, sizeof call->actor, "unknown");
	call->peer_pid = info ? cred.pid : 0;
	call->peer_gid = info ? cred.gid : 0;
}

enum MHD_Result api_bad_request(struct MHD_Connection *c, int status, int exit_code, const char *code, const char *detail)
{
	struct api_call *call = api_call_new("", "");
	api_problem(call, status, exit_code, code, "%s", detail);
	enum MHD_Result rc = api_send_answer(c, call);
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
	api_call_run(api, list);
	json_t *volumes = list->status == 200 ? json_incref(list->answer) : NULL;
	api_call_free(list);
	return volumes;
}

/* The sources that the verb is to retire, or that switch.retire would be for: which they are only the core knows, and a look may block. */
static void look_at_retire(struct api *api, struct api_call *call, const char *verb)
{
	char *path;
	if (asprintf(&path, "%s%s", call->path, verb) < 0)
		abort();
	struct api_call *ask = api_call_new("LOOK", path);
	free(path);
	api_call_run(api, ask);
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
	if (post && !strcmp(call->path, "/apply")) {
		dray_session_parse(req->body ? req->body : "", req->len, false, &call->submitted, &call->problems);
		return true;
	}
	call->estimate = post && !strcmp(call->path, "/estimate");
	call->dry_run |= call->estimate;
	if (call->estimate || (post && !strcmp(call->path, "/sessions"))) {
		if (!call->estimate) /* which takes nothing that a submit could want, and reads for a while: nobody is to wait behind it */
			ticket_take(api, call);
		/* What is right of a wrong document is looked at, too: all problems are told at once. */
		dray_session_parse(req->body ? req->body : "", req->len, true, &call->submitted, &call->problems);
		if (call->submitted) {
			json_t *volumes = volumes_for(api, call);
			call->probes = probe_session(call->submitted, volumes, api->allow_faults);
			if (!call->probes)
				abort();
			if (call->estimate && !call->problems.n)
				speed_of_session(call->submitted, volumes, call->probes);
			retire_look_submitted(call->probes, call->submitted, volumes, api->allow_faults);
			json_decref(volumes);
		}
		return true;
	}
	if (req->len) {
		json_error_t error;
		call->body = json_loadb(req->body, req->len, JSON_REJECT_DUPLICATES, &error);
		if (!json_is_object(call->body)) {
			api_bad_request(c, 400, 3, "syntax", "the body is not a JSON object");
			return false;
		}
	}
	if (post && is_retire(call))
		look_at_retire(api, call, "");
	if (!strcmp(call->method, "PATCH") && !strncmp(call->path, "/sessions/", 10) && json_object_get(call->body, "switch.retire"))
		look_at_retire(api, call, "/set");
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

static enum MHD_Result wrong_method(struct MHD_Connection *c, const char *method, const char *url, const char *allow)
{
	struct api_call *call = api_call_new("", "");
	api_problem(call, 405, 2, "method", "%s is not possible at %s; possible: %s", method, url, allow);
	char *text = json_dumps(call->answer, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
	struct MHD_Response *r = MHD_create_response_from_buffer(text ? strlen(text) : 0, text, MHD_RESPMEM_MUST_FREE);
	api_call_free(call);
	if (!r)
		return MHD_NO;
	MHD_add_response_header(r, "Content-Type", "application/problem+json");
	MHD_add_response_header(r, "Allow", allow);
	enum MHD_Result rc = MHD_queue_response(c, MHD_HTTP_METHOD_NOT_ALLOWED, r);
	MHD_destroy_response(r);
	return rc;
}

struct query_check {
	const struct api_route *route;
	char *words; /* of the first that is wrong */
	size_t size;
	const char *code;
	const char *seen[8]; /* no route has as many */
	size_t n_seen;
};

static enum MHD_Result check_argument(void *ctx, enum MHD_ValueKind kind, const char *key, const char *value)
{
	struct query_check *check = ctx;
	int known;
	if (!*key && !(value && *value))
		return MHD_YES; /* "?&a=b" */
	const char *legal = api_query_check(check->route, key, value, &known);
	for (size_t i = 0; known && i < check->n_seen; i++) {
		if (strcmp(check->seen[i], key))
			continue;
		check->code = "bad_value";
		snprintf(check->words, check->size, "the argument %s is given twice", key);
		return MHD_NO;
	}
	if (known && check->n_seen < sizeof check->seen / sizeof *check->seen)
		check->seen[check->n_seen++] = key;
	if (!legal)
		return MHD_YES;
	check->code = known ? "bad_value" : "unknown_key";
	if (known)
		snprintf(check->words, check->size, "the argument %s is %s; legal: %s", key, value && *value ? value : "empty", legal);
	else
		snprintf(check->words, check->size, "%s %s has no argument %s", check->route->method, check->route->path, key);
	return MHD_NO;
}

static enum MHD_Result serve(struct api *api, struct MHD_Connection *c, const char *url, const char *method, struct request *req)
{
	char allow[80], words[300];
	if (!strcmp(method, "HEAD"))
		method = "GET";
	const struct api_route *route = api_route_find(method, url, allow, sizeof allow);
	if (!route && *allow)
		return wrong_method(c, method, url, allow);
	if (!route)
		return api_bad_request(c, 404, 4, "not_found", "there is nothing here; GET /v1 lists what there is");
	if (req->too_long)
		return api_bad_request(c, 413, 3, "too_long", "a body may have at most 16 MiB");
	struct query_check check = { .route = route, .words = words, .size = sizeof words, .code = "" };
	*words = 0;
	MHD_get_connection_values(c, MHD_GET_ARGUMENT_KIND, check_argument, &check);
	if (*words)
		return api_bad_request(c, 400, 2, check.code, words);
	struct api_call *call = api_call_new(method, strncmp(url, "/v1", 3) ? url : url + 3);
	call->route = route;
	read_query(c, call);
	read_peer(c, call);
	enum MHD_Result rc = MHD_YES;
	if (!strcmp(call->path, "/events") && query_flag(c, "follow") && query(c, "limit")) {
		rc = api_bad_request(c, 400, 2, "bad_value", "the argument limit does not go with follow, which has no end");
	} else if (!strcmp(call->path, "/events") && query_flag(c, "follow")) {
		rc = api_follow(api, c, call);
	} else if (prepare(api, c, call, req)) {
		api_call_run(api, call);
		if (call->facts) /* played through here, not on the core, which has others to look after */
			call->answer = estimate_make(call->submitted, call->probes, call->facts);
		rc = api_send_answer(c, call);
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
	pthread_condattr_t attr;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&api->cond, &attr);
	pthread_condattr_destroy(&attr);
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
	clock_gettime(CLOCK_MONOTONIC, &until);
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
