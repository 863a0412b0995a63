/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Events as they happen (server-sent events).
 *
 * A follower's thread asks the core for what is new whenever the core said that there is something, a batch at a time, and asks again when
 * the connection has taken it: one that reads slowly costs its thread and one batch, and misses nothing, since the events are in the
 * repository. `id:` is an event's number; who was cut off comes back with Last-Event-ID (or ?after=), also to the agent
 * that was started since. Silence is broken by a comment at least every ten seconds.
 */
#include "agent/api_http.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define FOLLOWERS 128 /* of the connections: others need some, too */
#define BATCH     200 /* events at a time */
#define SILENCE   10  /* seconds, at most */

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
	bool begun, counted;
	int fd;
	char *text; /* to be sent */
	size_t len, at;
};

static void follower_free(void *arg)
{
	struct follower *f = arg;
	if (f->counted) {
		pthread_mutex_lock(&f->api->lock);
		f->api->followers--;
		pthread_mutex_unlock(&f->api->lock);
	}
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
	api_call_run(f->api, call);
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

/* A follower that went away would be noticed at the next comment; its place is wanted sooner. */
static bool there(const struct follower *f)
{
	char byte;
	ssize_t n = recv(f->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
	return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

/* Waits for news, at most SILENCE seconds. false: the agent stops, or nobody reads any more. */
static bool wait_for_news(struct follower *f)
{
	struct api *api = f->api;
	bool go_on = true, news = false;
	for (int i = 0; go_on && !news && i < SILENCE; i++) {
		struct timespec until;
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_sec++;
		int rc = 0;
		pthread_mutex_lock(&api->lock);
		while (!api->stopping && api->changes == f->seen && rc == 0)
			rc = pthread_cond_timedwait(&api->cond, &api->lock, &until);
		news = api->changes != f->seen;
		f->seen = api->changes;
		go_on = !api->stopping;
		pthread_mutex_unlock(&api->lock);
		go_on = go_on && there(f);
	}
	return go_on;
}

static ssize_t follow(void *arg, uint64_t pos, char *buf, size_t max)
{
	struct follower *f = arg;
	if (!f->begun) {
		/* At once, so that a follower knows that it is one. */
		f->begun = true;
		memcpy(buf, ":\n\n", 3);
		return 3;
	}
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

unsigned api_followers(struct api *api)
{
	pthread_mutex_lock(&api->lock);
	unsigned n = api->followers;
	pthread_mutex_unlock(&api->lock);
	return n;
}

/* Others need connections, too. */
static bool one_more(struct api *api)
{
	pthread_mutex_lock(&api->lock);
	bool room = api->followers < FOLLOWERS;
	api->followers += room;
	pthread_mutex_unlock(&api->lock);
	return room;
}

enum MHD_Result api_follow(struct api *api, struct MHD_Connection *c, const struct api_call *call)
{
	struct follower *f = calloc(1, sizeof *f);
	if (!f)
		abort();
	f->api = api;
	f->after = call->q_after;
	f->fd = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
	f->session = call->q_session ? strdup(call->q_session) : NULL;
	snprintf(f->actor, sizeof f->actor, "%s", call->actor);
	pthread_mutex_lock(&api->lock);
	f->seen = api->changes;
	pthread_mutex_unlock(&api->lock);
	/* The first answer also tells whether there is such a session. */
	const char *last = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Last-Event-ID");
	if (last && *last) { /* a stream that was cut; it knows better than the address that it was begun with */
		if (last[strspn(last, "0123456789")] || strlen(last) > 18) {
			follower_free(f);
			return api_bad_request(c, 400, 2, "bad_value", "Last-Event-ID is no number of an event");
		}
		f->after = strtoull(last, NULL, 10);
	}
	if (!one_more(api)) {
		follower_free(f);
		return api_bad_request(c, 503, 1, "too_many", "too many follow the events already");
	}
	f->counted = true;
	struct api_call *first = ask_events(f);
	if (first->status != 200) {
		enum MHD_Result rc = api_send_answer(c, first);
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
