/* SPDX-License-Identifier: BSD-3-Clause */
/* The commands about volumes and about the agent itself. */
#include "cli/cli.h"
#include "base/units.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* ---- volumes ---- */

int cmd_volume_add(const struct args *args)
{
	char *resource = absolute(args->positional[1]);
	json_t *body = json_pack("{s:s, s:s}", "name", args->positional[0], "resource", resource);
	free(resource);
	const char *block = args->value[OPT_BLOCK_SIZE];
	uint64_t block_bytes;
	if (block && dray_size_parse(block, &block_bytes)) {
		json_decref(body);
		return fail(args, EXIT_USAGE, "usage", "\"%s\" is not a size", block);
	}
	if (block)
		json_object_set_new(body, "block_bytes", json_integer((json_int_t)block_bytes));
	char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	json_decref(body);
	if (!text)
		return fail(args, EXIT_REFUSED, "syntax", "the arguments are not valid UTF-8");
	struct reply reply;
	struct call call = { .method = "POST", .path = "/v1/volumes", .body = text, .len = strlen(text) };
	int rc = request(args, &call, &reply);
	if (!rc)
		print_warnings(reply.json, NULL);
	if (!rc && !printed(args, reply.json))
		puts(text_of(reply.json, "uri"));
	reply_free(&reply);
	free(text);
	return rc;
}

/* The resource of the leg that serves reads; of a slice, what it is a slice of. */
static const char *primary_of(const json_t *volume)
{
	const json_t *primary = json_object_get(volume, "primary");
	return json_is_string(primary) ? json_string_value(primary) : text_of(primary, "resource");
}

int cmd_volume_list(const struct args *args)
{
	static const char *const headings[] = { "NAME", ">SIZE", ">LEGS", "PRIMARY", "URI", NULL };
	struct reply reply;
	int rc = request_json(args, "/v1/volumes", &reply);
	if (!rc && !printed(args, reply.json)) {
		struct table *t = table_new(headings);
		size_t i;
		json_t *v;
		char buf[32];
		json_array_foreach(reply.json, i, v) {
			table_add(t, text_of(v, "name"));
			table_add(t, size_text(json_object_get(v, "size"), buf));
			snprintf(buf, sizeof buf, "%zu", json_array_size(json_object_get(v, "legs")));
			table_add(t, buf);
			table_add(t, primary_of(v));
			table_add(t, text_of(v, "uri"));
		}
		table_print(t);
		json_array_foreach(reply.json, i, v)
			if (json_array_size(json_object_get(v, "orphans")))
				note("volume %s: %zu of its legs belong to no session on record: see `dray volume release --help`", text_of(v, "name"),
					json_array_size(json_object_get(v, "orphans")));
	}
	reply_free(&reply);
	return rc;
}

int cmd_volume_show(const struct args *args)
{
	char *path = path_of("volumes", args->positional[0], "");
	struct reply reply;
	int rc = request_json(args, path, &reply);
	if (!rc && !printed(args, reply.json))
		print_yaml(reply.json);
	reply_free(&reply);
	free(path);
	return rc;
}

int cmd_volume_remove(const struct args *args)
{
	char *path = path_of("volumes", args->positional[0], "");
	struct reply reply;
	int rc = request(args, &(struct call){ .method = "DELETE", .path = path }, &reply);
	if (!rc && args->output == OUTPUT_HUMAN)
		printf("%s: removed\n", args->positional[0]);
	else if (!rc)
		printf("{}\n");
	reply_free(&reply);
	free(path);
	return rc;
}

static int volume_verb(const struct args *args, const char *verb, struct reply *reply)
{
	char *path = path_of("volumes", args->positional[0], verb);
	int rc = request(args, &(struct call){ .method = "POST", .path = path }, reply);
	free(path);
	return rc;
}

int cmd_volume_release(const struct args *args)
{
	struct reply reply;
	if (!ask(args, "Let go of the legs of %s that belong to no session?", args->positional[0]))
		return EXIT_FAILED;
	int rc = volume_verb(args, "/release", &reply);
	if (!rc && !printed(args, reply.json))
		printf("%s: %lld let go\n", args->positional[0], (long long)json_integer_value(json_object_get(reply.json, "released")));
	reply_free(&reply);
	return rc;
}

int cmd_volume_accept(const struct args *args)
{
	struct reply reply;
	if (!ask(args, "Serve %s as it is found, even if it is older than what was seen?", args->positional[0]))
		return EXIT_FAILED;
	int rc = volume_verb(args, "/accept", &reply);
	if (!rc && !printed(args, reply.json))
		printf("%s: accepted, at epoch %lld\n", args->positional[0], (long long)json_integer_value(json_object_get(reply.json, "epoch")));
	reply_free(&reply);
	return rc;
}

/* ---- events ---- */

static void print_event(const json_t *e)
{
	const char *pair = text_of(e, "pair"), *before = text_of(e, "before"), *after = text_of(e, "after");
	json_t *pair_number = json_object_get(e, "pair");
	printf("%s  %-12s ", text_of(e, "time"), *text_of(e, "session") ? text_of(e, "session") : "-");
	if (*pair)
		printf("pair %s: ", pair);
	else if (json_integer_value(pair_number))
		printf("pair %lld: ", (long long)json_integer_value(pair_number));
	printf("%s", text_of(e, "event"));
	if (*before || *after)
		printf(" %s%s%s", before, *before && *after ? " -> " : "", after);
	if (*text_of(e, "detail"))
		printf(": %s", text_of(e, "detail"));
	if (*text_of(e, "actor"))
		printf(" (%s)", text_of(e, "actor"));
	putchar('\n');
}

struct following {
	const struct args *args;
	json_int_t last; /* the number of the last event that was told */
	bool gone;       /* nobody reads us */
};

static bool on_event(void *arg, const char *data)
{
	struct following *f = arg;
	const struct args *args = f->args;
	json_t *e = json_loads(data, 0, NULL), *seq = json_object_get(e, "seq");
	if (json_is_integer(seq))
		f->last = json_integer_value(seq);
	if (args->output == OUTPUT_JSON)
		puts(data);
	else if (json_is_object(e))
		print_event(e);
	json_decref(e);
	f->gone = fflush(stdout) || ferror(stdout);
	return !f->gone;
}

static char *events_path(const char *session, const char *after, bool follow)
{
	char *path;
	if (asprintf(&path, "/v1/events?%s%s%s%s%s", session ? "session=" : "", session ? session : "", after ? "&after=" : "",
		    after ? after : "", follow ? "&follow=1" : "") < 0)
		abort();
	return path;
}

/* A stream that ends is taken up again where it was cut: an agent that is restarted loses nobody anything. */
static int follow_events(const struct args *args, const char *session, const char *after)
{
	struct following f = { args, after ? atoll(after) : 0, false };
	time_t alone_since = 0;
	int pause = 200;
	bool ever = false;
	for (;;) {
		char number[24];
		snprintf(number, sizeof number, "%lld", (long long)f.last);
		char *path = events_path(session, ever || after ? number : NULL, true);
		bool patient = ever && (!alone_since || time(NULL) - alone_since < AGENT_PATIENCE);
		int rc = request_events(args, path, patient, on_event, &f);
		free(path);
		if (f.gone || rc >= 0)
			return rc;
		ever = true;
		if (rc == -1) { /* it was there */
			alone_since = 0;
			pause = 200;
		} else if (!alone_since) {
			alone_since = time(NULL);
			note("the agent does not answer; still trying, for %d s", AGENT_PATIENCE);
		} else if (pause < 2000) {
			pause *= 2;
		}
		poll(NULL, 0, pause);
	}
}

int cmd_events(const struct args *args)
{
	const char *after = args->value[OPT_AFTER];
	if (after && (!*after || after[strspn(after, "0123456789")]))
		return fail(args, EXIT_USAGE, "usage", "\"%s\" is not a number", after);
	char *session = args->n_positional ? path_of("", args->positional[0], "") : NULL;
	const char *name = session ? session + strlen("/v1//") : NULL;
	int rc;
	if (given(args, OPT_FOLLOW)) {
		rc = follow_events(args, name, after);
	} else {
		struct reply reply;
		char *path = events_path(name, after, false);
		rc = request_json(args, path, &reply);
		free(path);
		if (!rc && !printed(args, reply.json)) {
			size_t i;
			json_t *e;
			json_array_foreach(reply.json, i, e)
				print_event(e);
		}
		reply_free(&reply);
	}
	free(session);
	return rc;
}

/* ---- the agent ---- */

int cmd_status(const struct args *args)
{
	struct reply reply;
	int rc = request_json(args, "/v1/status", &reply);
	if (!rc && !printed(args, reply.json))
		print_yaml(reply.json);
	reply_free(&reply);
	return rc;
}

/* A value as one would write it. */
static const char *setting_text(const char *key, const json_t *v, char *buf, size_t size)
{
	if (json_is_string(v))
		return json_string_value(v);
	if (json_is_integer(v) && (!strcmp(key, "rate") || !strcmp(key, "step") || strstr(key, "in_flight")))
		return size_text(v, buf);
	if (json_is_integer(v))
		snprintf(buf, size, "%lld", (long long)json_integer_value(v));
	else if (json_is_real(v))
		snprintf(buf, size, "%g", json_real_value(v));
	else
		snprintf(buf, size, "%s", json_is_true(v) ? "true" : json_is_false(v) ? "false" : "none");
	return buf;
}

int cmd_settings(const struct args *args)
{
	static const char *const headings[] = { "SETTING", ">VALUE", "FROM", "CHANGE", "LEGAL", NULL };
	struct reply reply = { 0 };
	json_t *body, *row;
	const char *key;
	char buf[64];
	int rc = keys_and_values(args, 0, &body);
	if (rc)
		return rc;
	if (json_object_size(body)) {
		rc = send_json(args, "PATCH", "/v1/settings", body, &reply);
	} else {
		json_decref(body);
		rc = request_json(args, "/v1/settings", &reply);
	}
	if (!rc && !printed(args, reply.json)) {
		struct table *t = table_new(headings);
		json_object_foreach(reply.json, key, row) {
			table_add(t, key);
			table_add(t, setting_text(key, json_object_get(row, "value"), buf, sizeof buf));
			table_add(t, text_of(row, "source"));
			table_add(t, json_is_true(json_object_get(row, "live")) ? "at once" : "restart");
			table_add(t, text_of(row, "legal"));
		}
		table_print(t);
	}
	reply_free(&reply);
	return rc;
}

int cmd_locks(const struct args *args)
{
	static const char *const headings[] = { "RESOURCE", "SESSION", "PAIR", "ROLE", "SINCE", NULL };
	struct reply reply;
	int rc = request_json(args, "/v1/locks", &reply);
	if (!rc && !printed(args, reply.json)) {
		struct table *t = table_new(headings);
		size_t i;
		json_t *l;
		char pair[24];
		json_array_foreach(reply.json, i, l) {
			json_t *n = json_object_get(l, "pair");
			snprintf(pair, sizeof pair, "%lld", (long long)json_integer_value(n));
			table_add(t, text_of(l, "resource"));
			table_add(t, text_of(l, "session"));
			table_add(t, json_is_integer(n) ? pair : text_of(l, "pair"));
			table_add(t, text_of(l, "role"));
			table_add(t, text_of(l, "since"));
		}
		table_print(t);
	}
	reply_free(&reply);
	return rc;
}

/* The abilities that it has: "online, pause, undo". */
static void abilities(const json_t *vehicle, char *buf, size_t size)
{
	const char *key;
	json_t *v;
	size_t used = 0;
	*buf = 0;
	json_object_foreach((json_t *)vehicle, key, v)
		if (json_is_true(v) && strcmp(key, "available") && used < size)
			used += (size_t)snprintf(buf + used, size - used, "%s%s", used ? ", " : "", key);
}

int cmd_vehicles(const struct args *args)
{
	static const char *const headings[] = { "NAME", "AVAILABLE", "WHAT", "CAN", NULL };
	struct reply reply;
	int rc = request_json(args, "/v1/vehicles", &reply);
	if (!rc && !printed(args, reply.json)) {
		struct table *t = table_new(headings);
		size_t i;
		json_t *v;
		char can[200];
		json_array_foreach(reply.json, i, v) {
			const char *why = text_of(v, "reason");
			table_add(t, text_of(v, "name"));
			table_add(t, json_is_false(json_object_get(v, "available")) ? (*why ? why : "no") : "yes");
			table_add(t, text_of(v, "what"));
			abilities(v, can, sizeof can);
			table_add(t, can);
		}
		table_print(t);
	}
	reply_free(&reply);
	return rc;
}

static bool answers(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	snprintf(addr.sun_path, sizeof addr.sun_path, "%s", path);
	bool yes = fd >= 0 && !connect(fd, (struct sockaddr *)&addr, sizeof addr);
	if (fd >= 0)
		close(fd);
	return yes;
}

/* Both said that they end: until they have, for a while. */
static void wait_for_end(const struct args *args)
{
	char *agent = socket_path(args), *slash = strrchr(agent, '/'), *iod = NULL;
	if (asprintf(&iod, "%.*siod.sock", slash ? (int)(slash + 1 - agent) : 0, agent) < 0)
		abort();
	for (int i = 0; i < 500 && (answers(agent) || answers(iod)); i++)
		poll(NULL, 0, 20);
	free(iod);
	free(agent);
}

int cmd_event(const struct args *args)
{
	json_t *body = json_pack("{s:s}", "name", args->positional[0]);
	char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	json_decref(body);
	if (!text)
		return fail(args, EXIT_REFUSED, "syntax", "the name is not valid UTF-8");
	struct reply reply;
	struct call call = { .method = "POST", .path = "/v1/events", .body = text, .len = strlen(text), .where = "" };
	int rc = request(args, &call, &reply);
	size_t n = json_array_size(json_object_get(reply.json, "sessions"));
	if (!rc && !printed(args, reply.json)) {
		if (n)
			printf("%zu %s waited for %s\n", n, n == 1 ? "session" : "sessions", args->positional[0]);
		else
			printf("no session waits for %s\n", args->positional[0]);
	}
	reply_free(&reply);
	free(text);
	return rc;
}

int cmd_shutdown(const struct args *args)
{
	const char *body = given(args, OPT_FORCE) ? "{\"force\":true}" : "{\"force\":false}";
	struct reply reply;
	struct call call = { .method = "POST", .path = "/v1/shutdown", .body = body, .len = strlen(body) };
	int rc = request(args, &call, &reply);
	if (!rc && json_is_true(json_object_get(reply.json, "ending")))
		wait_for_end(args);
	if (!rc && args->output == OUTPUT_HUMAN)
		puts("The agent and dray-iod end.");
	else if (!rc)
		puts("{}");
	reply_free(&reply);
	return rc;
}
