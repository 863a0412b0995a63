/* SPDX-License-Identifier: BSD-3-Clause */
/* The commands that are about sessions. */
#include "cli/cli.h"
#include "base/units.h"
#include "session/state.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_DOCUMENT ((size_t)16 << 20)
#define MOST_TOLD    20 /* pairs that a command tells of unasked */

/* ---- what became of it ---- */

static json_int_t largest(const json_t *doc, const char *key)
{
	json_int_t most = -1;
	size_t i;
	json_t *pair;
	json_array_foreach(json_object_get(doc, "pairs"), i, pair) {
		json_t *v = json_object_get(pair, key);
		if (json_is_integer(v) && json_integer_value(v) > most)
			most = json_integer_value(v);
	}
	return most;
}

bool asked_for(const struct args *args, const char *pair)
{
	for (size_t i = 0; i < args->n_pairs; i++)
		if (!strcmp(args->pairs[i], pair))
			return true;
	return false;
}

/* The pairs that the command named, and those that have something to say: of these no more than fit on a screen, failed ones before others. */
static void print_reasons(const struct args *args, const json_t *doc)
{
	size_t i, told = 0, more = 0;
	json_t *pair;
	for (int failed = 1; failed >= 0; failed--) {
		json_array_foreach(json_object_get(doc, "pairs"), i, pair) {
			const char *reason = text_of(pair, "reason"), *id = text_of(pair, "id"), *state = text_of(pair, "state");
			bool news = *reason && strcmp(reason, text_of(doc, "reason"));
			if ((strcmp(state, "failed") == 0) != (failed == 1))
				continue;
			if (asked_for(args, id) || (news && told++ < MOST_TOLD))
				printf("  pair %s: %s%s%s\n", id, state, news ? ": " : "", news ? reason : "");
			else
				more += news;
		}
	}
	if (more)
		printf("  ... and %zu more; `dray show %s` has them all\n", more, session_name(doc));
}

static void print_pairs(const struct args *args, const json_t *doc)
{
	size_t i;
	json_t *pair;
	print_reasons(args, doc);
	json_array_foreach(json_object_get(doc, "pairs"), i, pair)
		print_retired(pair);
	json_array_foreach(json_object_get(doc, "pairs"), i, pair) {
		const json_t *lost = json_object_get(pair, "undo_lost"), *first = json_array_get(json_object_get(lost, "ranges"), 0);
		if (lost && !strcmp(args->command->name, "undo") && first)
			printf("  pair %s: %lld bytes are older than what was written last, the first at %lld\n", text_of(pair, "id"),
				(long long)json_integer_value(json_object_get(lost, "bytes")),
				(long long)json_integer_value(json_object_get(first, "offset")));
		else if (lost && !strcmp(args->command->name, "undo"))
			printf("  pair %s: nothing was lost\n", text_of(pair, "id"));
	}
	json_t *left = json_object_get(doc, "not_paused"), *item;
	json_array_foreach(left, i, item) {
		if (json_is_string(item))
			printf("  not paused: pair %s\n", json_string_value(item));
		else
			printf("  not paused: pair %s: %s\n", text_of(item, "id"), text_of(item, "reason"));
	}
}

void print_outcome(const struct args *args, const json_t *doc)
{
	if (!doc || printed(args, doc))
		return;
	const char *state = text_of(doc, "state"), *name = session_name(doc), *reason = text_of(doc, "reason");
	json_int_t blackout = largest(doc, "blackout_us"), predicted = largest(doc, "predicted_blackout_us");
	printf("%s: %s", name, state);
	if (*reason)
		printf(": %s", reason);
	if (blackout >= 0 && (!strcmp(state, "switched") || !strcmp(args->command->name, "undo"))) {
		printf("; blackout %.1f ms", (double)blackout / 1000);
		if (predicted >= 0)
			printf(" (predicted %.1f ms)", (double)predicted / 1000);
	}
	putchar('\n');
	if (!strcmp(state, "switched"))
		printf("  `dray undo %s` goes back, `dray commit %s` lets the source go\n", name, name);
	print_pairs(args, doc);
}

/* ---- start ---- */

/* The whole of a file, or of standard input. malloc'ed; NULL with errno. */
static char *read_all(const char *path, size_t *len)
{
	FILE *f = !strcmp(path, "-") ? stdin : fopen(path, "r");
	char *text = NULL;
	size_t room = 0, n = 0;
	while (f && n <= MAX_DOCUMENT) {
		if (n == room) {
			room = room ? room * 2 : 65536;
			char *grown = realloc(text, room + 1);
			if (!grown)
				abort();
			text = grown;
		}
		size_t got = fread(text + n, 1, room - n, f);
		n += got;
		if (!got)
			break;
	}
	bool bad = !f || ferror(f);
	int error = errno;
	if (f && f != stdin)
		fclose(f);
	if (bad) {
		free(text);
		errno = error;
		return NULL;
	}
	text[n] = 0;
	*len = n;
	return text;
}

static int end_of_wait(const struct args *args, int rc, const json_t *doc)
{
	if (rc == EXIT_FAILED && doc && args->output == OUTPUT_JSON) {
		const char *reason = text_of(doc, "reason");
		fail(args, rc, "failed", "session %s is %s%s%s", session_name(doc), text_of(doc, "state"), *reason ? ": " : "",
			reason);
	}
	return rc;
}

/* Follows a session that was just submitted. */
static int follow_to_end(const struct args *args, const json_t *submitted)
{
	json_t *doc;
	bool terminal = isatty(STDERR_FILENO) && args->output == OUTPUT_HUMAN;
	struct follow f = { .args = args, .session = text_of(submitted, "id"), .bar = terminal,
		.lines = !terminal && given(args, OPT_PROGRESS), .look = look_moved };
	int rc = follow(&f, &doc);
	if (rc != EXIT_DETACHED)
		print_outcome(args, doc);
	if (!rc)
		print_warnings(doc, submitted);
	rc = end_of_wait(args, rc, doc);
	json_decref(doc);
	return rc;
}

/* Sends the document at the first place: 0, `*reply` is the caller's. */
static int send_document(const struct args *args, const char *to, struct reply *reply)
{
	size_t len;
	const char *path = args->positional[0];
	char *text = read_all(path, &len);
	if (!text)
		return fail(args, EXIT_REFUSED, "not_accessible", "%s: %s", path, strerror(errno));
	const char *first = text + strspn(text, " \t\r\n");
	struct call call = { .method = "POST", .path = to, .type = *first == '{' ? "application/json" : "application/yaml", .body = text, .len = len,
		.where = strcmp(path, "-") ? path : NULL };
	int rc = request(args, &call, reply);
	free(text);
	return rc;
}

int cmd_start(const struct args *args)
{
	struct reply reply = { 0 };
	int rc = send_document(args, given(args, OPT_DRY_RUN) ? "/v1/sessions?dry_run=1" : "/v1/sessions", &reply);
	if (!rc)
		print_warnings(reply.json, NULL);
	if (!rc && given(args, OPT_DRY_RUN)) {
		if (!printed(args, reply.json))
			print_plan(reply.json);
	} else if (!rc && given(args, OPT_WAIT)) {
		rc = follow_to_end(args, reply.json);
	} else if (!rc && !printed(args, reply.json)) {
		const char *state = text_of(reply.json, "state"), *reason = text_of(reply.json, "reason");
		bool waits = !strcmp(state, "scheduled") && *reason;
		printf("%s: %s%s%s, id %s\n", session_name(reply.json), state, waits ? ": " : "", waits ? reason : "", text_of(reply.json, "id"));
	}
	reply_free(&reply);
	return rc;
}

static const char *span(const json_t *seconds, char buf[32])
{
	return json_is_integer(seconds) ? seconds_text((uint64_t)json_integer_value(seconds), buf) : "never";
}

static void print_estimate(const json_t *e)
{
	char mid[32], low[32], high[32], bytes[32], rate[32];
	size_t i;
	json_t *item;
	printf("%s: %s, about %s (%s to %s)\n", text_of(e, "name"), size_text(json_object_get(e, "bytes"), bytes),
		span(json_object_get(e, "seconds"), mid), span(json_object_get(e, "seconds_low"), low), span(json_object_get(e, "seconds_high"), high));
	json_array_foreach (json_object_get(e, "pairs"), i, item)
		printf("  pair %s: %s: %s at %s/s, begins after %s, takes %s\n", text_of(item, "id"), text_of(item, "source"),
			size_text(json_object_get(item, "bytes"), bytes), size_text(json_object_get(item, "rate"), rate),
			span(json_object_get(item, "begins"), low), span(json_object_get(item, "seconds"), mid));
	puts("\nAssumed:");
	json_array_foreach (json_object_get(e, "assumptions"), i, item)
		printf("  - %s\n", json_string_value(item));
}

int cmd_estimate(const struct args *args)
{
	struct reply reply = { 0 };
	int rc = send_document(args, "/v1/estimate", &reply);
	if (!rc && !printed(args, reply.json))
		print_estimate(reply.json);
	reply_free(&reply);
	return rc;
}

/* ---- migrate ---- */

char *absolute(const char *resource)
{
	char cwd[PATH_MAX], *path;
	size_t scheme = strspn(resource, "abcdefghijklmnopqrstuvwxyz0123456789+.-");
	if (*resource == '/' || (scheme > 1 && resource[scheme] == ':') || !getcwd(cwd, sizeof cwd))
		path = strdup(resource);
	else if (asprintf(&path, "%s/%s", cwd, resource + (strncmp(resource, "./", 2) ? 0 : 2)) < 0)
		path = NULL;
	if (!path)
		abort();
	return path;
}

/* From the volume, or the last part of the target's path without what can't be in a name. malloc'ed. */
static char *default_name(const char *source, const char *target)
{
	char *name;
	if (!strncmp(source, "volume:", 7)) {
		name = strdup(source + 7);
	} else {
		const char *slash = strrchr(target, '/');
		name = strdup(slash && slash[1] ? slash + 1 : target);
	}
	if (!name)
		abort();
	size_t n = 0;
	for (const char *p = name; *p && n < 100; p++)
		if ((unsigned char)*p > ' ' && *p != '/' && *p != 0x7f && (n || *p != '-'))
			name[n++] = *p;
	name[n] = 0;
	/* One that looks like an id can't be a session's name. */
	if (!strncmp(name, "s-", 2) && name[2] && !name[2 + strspn(name + 2, "0123456789abcdefghijklmnopqrstuvwxyz")]) {
		char *other = NULL;
		if (asprintf(&other, "move-%s", name) < 0)
			abort();
		free(name);
		name = other;
	}
	return name;
}

static void set_option(json_t *map, const char *key, const struct args *args, enum option_id id)
{
	const char *v = args->value[id];
	if (v && *v && !v[strspn(v, "0123456789")] && strlen(v) < 18)
		json_object_set_new(map, key, json_integer(atoll(v)));
	else if (v)
		json_object_set_new(map, key, json_string(v));
}

static void set_map(json_t *doc, const char *key, json_t *map)
{
	if (json_object_size(map))
		json_object_set(doc, key, map);
	json_decref(map);
}

static json_t *migrate_document(const struct args *args)
{
	char *source = absolute(args->positional[0]), *first = absolute(args->positional[1]);
	char *name = given(args, OPT_NAME) ? strdup(args->value[OPT_NAME]) : default_name(source, first);
	json_t *doc = json_object(), *limits = json_object(), *sw = json_object(), *pair = json_object(), *targets = json_array();
	json_object_set_new(doc, "name", json_string(name));
	set_option(doc, "priority", args, OPT_PRIORITY);
	set_option(limits, "rate", args, OPT_RATE);
	set_option(limits, "in_flight", args, OPT_IN_FLIGHT);
	set_option(limits, "step", args, OPT_STEP);
	set_option(limits, "steps", args, OPT_STEPS);
	set_map(doc, "limits", limits);
	if (given(args, OPT_COPY))
		json_object_set_new(doc, "mode", json_string("copy"));
	if (given(args, OPT_NO_CHECKPOINT))
		json_object_set_new(doc, "checkpoint", json_false());
	set_option(doc, "verify", args, OPT_VERIFY);
	if (given(args, OPT_WHEN))
		set_option(sw, "when", args, OPT_WHEN);
	else if (!strncmp(source, "volume:", 7))
		json_object_set_new(sw, "when", json_string("synced"));
	set_option(sw, "deadline", args, OPT_DEADLINE);
	set_option(sw, "commit", args, OPT_COMMIT);
	set_option(sw, "retire", args, OPT_RETIRE);
	set_map(doc, "switch", sw);
	json_object_set_new(pair, "source", json_string(source));
	for (size_t i = 1; i < args->n_positional; i++) {
		char *target = absolute(args->positional[i]);
		json_array_append_new(targets, json_string(target));
		free(target);
	}
	json_object_set(pair, "target", args->n_positional == 2 ? json_array_get(targets, 0) : targets);
	json_decref(targets);
	set_option(pair, "vehicle", args, OPT_VEHICLE);
	set_option(pair, "create", args, OPT_CREATE);
	set_option(pair, "format", args, OPT_FORMAT);
	if (given(args, OPT_OVERWRITE))
		json_object_set_new(pair, "overwrite", json_true());
	json_object_set_new(doc, "pairs", json_pack("[o]", pair));
	free(source);
	free(first);
	free(name);
	return doc;
}

int cmd_migrate(const struct args *args)
{
	json_t *doc = migrate_document(args);
	char *text = json_dumps(doc, JSON_COMPACT);
	struct reply reply;
	json_decref(doc);
	if (!text)
		return fail(args, EXIT_REFUSED, "syntax", "the arguments are not valid UTF-8");
	/* The document is ours: its lines tell nobody anything. */
	struct call call = { .method = "POST", .path = "/v1/sessions", .body = text, .len = strlen(text), .where = "" };
	int rc = request(args, &call, &reply);
	if (!rc)
		print_warnings(reply.json, NULL);
	if (!rc && given(args, OPT_NO_WAIT))
		print_outcome(args, reply.json);
	else if (!rc)
		rc = follow_to_end(args, reply.json);
	reply_free(&reply);
	free(text);
	return rc;
}

/* ---- list, show, watch ---- */

static int no_state(const struct args *args, const char *word)
{
	char legal[200] = "";
	for (int i = 0; i < DRAY_PAIR_STATE_COUNT; i++) {
		size_t n = strlen(legal);
		snprintf(legal + n, sizeof legal - n, "%s%s", i ? ", " : "", dray_state_word((enum dray_pair_state)i));
	}
	return fail(args, EXIT_USAGE, "usage", "there is no state \"%s\" (legal: %s)", word, legal);
}

#define PAST_SHOWN 100 /* of those that are over, unless all are asked for */

int cmd_list(const struct args *args)
{
	static const char *const headings[] = { "NAME", "ID", "STATE", ">DONE", ">OF", ">RATE", "REASON", NULL };
	const char *state = args->value[OPT_STATE], *limit = args->value[OPT_LIMIT];
	if (state && dray_state_from_word(state) < 0)
		return no_state(args, state);
	if (limit && (!*limit || limit[strspn(limit, "0123456789")]))
		return fail(args, EXIT_USAGE, "usage", "\"%s\" is not a number", limit);
	if (limit && args->value[OPT_ALL])
		return fail(args, EXIT_USAGE, "usage", "--limit and --all exclude each other");
	char path[160], past[32] = "";
	if (!limit && !args->value[OPT_ALL])
		snprintf(past, sizeof past, "&past=%u", PAST_SHOWN);
	snprintf(path, sizeof path, "/v1/sessions?%s%s%s%.20s%s", state ? "state=" : "", state ? state : "", limit ? "&limit=" : "",
		limit ? limit : "", past);
	struct reply reply;
	int rc = request_json(args, path, &reply);
	if (!rc && reply.left_out && !limit)
		fprintf(stderr, "dray: older sessions that are over are left out; `dray list --all' has them\n");
	if (!rc && !printed(args, reply.json)) {
		struct table *t = table_new(headings);
		size_t i;
		json_t *doc;
		char buf[40];
		json_array_foreach(reply.json, i, doc) {
			const json_t *p = json_object_get(doc, "progress");
			table_add(t, text_of(doc, "name"));
			table_add(t, text_of(doc, "id"));
			table_add(t, text_of(doc, "state"));
			table_add(t, size_text(json_object_get(p, "bytes_done"), buf));
			table_add(t, size_text(json_object_get(p, "bytes_total"), buf));
			size_text(json_object_get(p, "rate"), buf);
			table_add(t, *buf == '-' ? buf : strcat(buf, "/s"));
			table_add(t, *text_of(doc, "reason") ? text_of(doc, "reason") : phase_of(doc));
		}
		table_print(t);
	}
	reply_free(&reply);
	return rc;
}

int cmd_watch(const struct args *args)
{
	json_t *doc;
	bool human = args->output == OUTPUT_HUMAN, terminal = isatty(STDERR_FILENO) && human;
	struct follow f = { .args = args, .session = args->positional[0], .bar = terminal, .lines = !terminal && human,
		.each = args->output == OUTPUT_JSON, .look = look_moved };
	int rc = follow(&f, &doc);
	if (rc != EXIT_DETACHED && args->output != OUTPUT_JSON)
		print_outcome(args, doc);
	json_decref(doc);
	return rc;
}

/* ---- verbs ---- */

json_t *verb_body(const struct args *args)
{
	json_t *body = json_object();
	if (args->n_pairs) {
		json_t *pairs = json_array();
		for (size_t i = 0; i < args->n_pairs; i++)
			json_array_append_new(pairs, json_string(args->pairs[i]));
		json_object_set_new(body, "pairs", pairs);
	}
	if (given(args, OPT_DETACH))
		json_object_set_new(body, "detach", json_true());
	if (given(args, OPT_ACCEPT_BAD))
		json_object_set_new(body, "accept_bad", json_true());
	if (given(args, OPT_FORCE))
		json_object_set_new(body, "force", json_true());
	if (given(args, OPT_REPAIR))
		json_object_set_new(body, "repair", json_true());
	set_option(body, "sample", args, OPT_SAMPLE);
	if (given(args, OPT_VEHICLE))
		json_object_set_new(body, "vehicle", json_string(args->value[OPT_VEHICLE]));
	return body;
}

int send_json(const struct args *args, const char *method, const char *path, json_t *body, struct reply *reply)
{
	char *text = json_dumps(body, JSON_COMPACT);
	json_decref(body);
	if (!text) {
		*reply = (struct reply){ 0 };
		return fail(args, EXIT_REFUSED, "syntax", "the arguments are not valid UTF-8");
	}
	struct call call = { .method = method, .path = path, .body = text, .len = strlen(text) };
	int rc = request(args, &call, reply);
	free(text);
	return rc;
}

int cmd_verb(const struct args *args)
{
	char suffix[32];
	const char *session = args->positional[0];
	if (!strcmp(args->command->name, "commit") && asks(args)) {
		char *how = retired_by(args, session);
		bool yes = ask(args, "Commit %s? There is no way back to its old storage then%s%s%s.", session,
			*how ? ", which is retired (" : "", how, *how ? ")" : "");
		free(how);
		if (!yes) {
			note("%s was not committed", session);
			return EXIT_FAILED;
		}
	}
	if (given(args, OPT_FORCE) && !ask(args, "Go back to the old storage of %s, although it may lack what was written last?", session)) {
		note("%s was not undone", session);
		return EXIT_FAILED;
	}
	snprintf(suffix, sizeof suffix, "/%s", args->command->name);
	char *path = path_of("sessions", session, suffix);
	struct reply reply;
	int rc = send_json(args, "POST", path, verb_body(args), &reply);
	if (!rc)
		print_outcome(args, reply.json);
	reply_free(&reply);
	free(path);
	return rc;
}

int cmd_verify(const struct args *args)
{
	static const char *const headings[] = { "PAIR", "COMPARED WITH", ">COMPARED", ">DIFFERING", ">REPAIRED", "FIRST DIFFERENCE", NULL };
	char *path = path_of("sessions", args->positional[0], "/verify"), buf[64];
	struct reply reply;
	int rc = send_json(args, "POST", path, verb_body(args), &reply);
	json_t *pairs = json_object_get(reply.json, "pairs"), *pair, *leg;
	json_int_t differing = 0;
	size_t i, k;
	json_array_foreach(pairs, i, pair)
		differing += json_integer_value(json_object_get(pair, "bytes_differing"));
	if (!rc && !printed(args, reply.json)) {
		struct table *t = table_new(headings);
		json_array_foreach(pairs, i, pair) json_array_foreach(json_object_get(pair, "targets"), k, leg)
		{
			const json_t *range = json_array_get(json_object_get(leg, "ranges"), 0);
			table_add(t, text_of(pair, "id"));
			table_add(t, text_of(leg, "resource"));
			table_add(t, size_text(json_object_get(leg, "bytes_compared"), buf));
			table_add(t, size_text(json_object_get(leg, "bytes_differing"), buf));
			table_add(t, size_text(json_object_get(leg, "bytes_repaired"), buf));
			*buf = 0;
			if (range)
				snprintf(buf, sizeof buf, "at %lld", (long long)json_integer_value(json_object_get(range, "offset")));
			table_add(t, buf);
		}
		table_print(t);
	}
	reply_free(&reply);
	free(path);
	return rc ? rc : differing ? EXIT_FAILED : EXIT_DONE;
}

int keys_and_values(const struct args *args, size_t first, json_t **body)
{
	*body = json_object();
	for (size_t i = first; i < args->n_positional; i++) {
		const char *word = args->positional[i], *equals = strchr(word, '=');
		char *key = equals ? strndup(word, (size_t)(equals - word)) : NULL;
		if (!key || !*key || json_object_get(*body, key)) {
			int rc = fail(args, EXIT_USAGE, "usage", key && *key ? "\"%s\" is given twice" : "\"%s\" is not of the form KEY=VALUE",
				key && *key ? key : word);
			free(key);
			json_decref(*body);
			*body = NULL;
			return rc;
		}
		json_object_set_new(*body, key, json_string(equals + 1));
		free(key);
	}
	return EXIT_DONE;
}

/* Of each pair that is named. */
static json_t *of_pairs(const struct args *args, json_t *keys)
{
	json_t *all = json_object(), *value;
	const char *key;
	for (size_t i = 0; i < args->n_pairs; i++)
		json_object_foreach (keys, key, value) {
			char *name;
			if (asprintf(&name, "pairs.%s.%s", args->pairs[i], key) < 0)
				abort();
			json_object_set(all, name, value);
			free(name);
		}
	json_decref(keys);
	return all;
}

int cmd_set(const struct args *args)
{
	json_t *body;
	struct reply reply;
	int rc = keys_and_values(args, 1, &body);
	if (rc)
		return rc;
	if (args->n_pairs)
		body = of_pairs(args, body);
	char *path = path_of("sessions", args->positional[0], "");
	rc = send_json(args, "PATCH", path, body, &reply);
	if (!rc)
		print_outcome(args, reply.json);
	reply_free(&reply);
	free(path);
	return rc;
}

int cmd_apply(const struct args *args)
{
	struct reply reply = { 0 };
	int rc = send_document(args, "/v1/apply", &reply);
	if (!rc)
		print_outcome(args, reply.json);
	reply_free(&reply);
	return rc;
}

/* ---- wait ---- */

/* How far along its normal path a session is; 0: beside it. A pause and what is queued count as copying. */
static int rank(int state)
{
	switch (state) {
	case DRAY_PAIR_SCHEDULED: return 1;
	case DRAY_PAIR_QUEUED: return 2;
	case DRAY_PAIR_STARTING: return 3;
	case DRAY_PAIR_PAUSED:
	case DRAY_PAIR_COPYING: return 4;
	case DRAY_PAIR_SYNCED: return 5;
	case DRAY_PAIR_COMPLETED:
	case DRAY_PAIR_SWITCHING: return 6;
	case DRAY_PAIR_SWITCHED: return 7;
	case DRAY_PAIR_COMMITTED: return 8;
	default: return 0;
	}
}

static enum follow_end look_state(const json_t *doc, void *arg)
{
	int wanted = *(int *)arg, state = dray_state_from_word(text_of(doc, "state"));
	bool beside = wanted == DRAY_PAIR_PAUSED || wanted == DRAY_PAIR_COMPLETED || wanted == DRAY_PAIR_CANCELED ||
		wanted == DRAY_PAIR_FAILED;
	if (state < 0)
		return FOLLOW_GO_ON;
	if (state == wanted || (!beside && rank(state) >= rank(wanted)))
		return FOLLOW_GOOD;
	/* A failed session can go on only if somebody retries it. */
	return dray_state_final((enum dray_pair_state)state) || state == DRAY_PAIR_FAILED ? FOLLOW_BAD : FOLLOW_GO_ON;
}

/* A duration, or a decimal number of seconds such as 0.5. */
static bool parse_seconds(const char *s, double *seconds)
{
	uint64_t ns;
	if (!dray_duration_parse(s, &ns)) {
		*seconds = (double)ns / 1e9;
		return true;
	}
	size_t whole = strspn(s, "0123456789");
	if (s[whole] != '.' || !s[whole + 1] || s[whole + 1 + strspn(s + whole + 1, "0123456789")])
		return false;
	*seconds = strtod(s, NULL);
	return true;
}

int cmd_wait(const struct args *args)
{
	const char *word = args->positional[1], *timeout = args->value[OPT_TIMEOUT];
	int wanted = dray_state_from_word(word);
	double seconds = 0;
	json_t *doc;
	if (wanted < 0)
		return no_state(args, word);
	if (timeout && !parse_seconds(timeout, &seconds))
		return fail(args, EXIT_USAGE, "usage", "\"%s\" is not a time: seconds, or 500ms, 10m, 2h", timeout);
	struct follow f = { .args = args, .session = args->positional[0], .timeout = seconds, .look = look_state,
		.arg = &wanted };
	if (timeout && seconds <= 0)
		f.timeout = 1e-9; /* look once */
	int rc = follow(&f, &doc);
	if (doc && (rc == EXIT_DONE || rc == EXIT_FAILED || rc == EXIT_TIMED_OUT) && args->output != OUTPUT_HUMAN)
		printed(args, doc);
	const char *state = text_of(doc, "state"), *reason = text_of(doc, "reason");
	if (rc == EXIT_FAILED && doc)
		fail(args, rc, "failed", "%s is %s and can't become %s any more%s%s", session_name(doc), state, word,
			*reason ? ": " : "", reason);
	else if (rc == EXIT_TIMED_OUT)
		fail(args, rc, "timed_out", "%s is %s%s after %s%s", doc ? session_name(doc) : args->positional[0],
			doc ? "still " : "", doc ? state : "unknown: the agent does not answer", timeout,
			timeout[strspn(timeout, "0123456789.")] ? "" : " s");
	else if (rc == EXIT_DONE && args->output == OUTPUT_HUMAN)
		printf("%s: %s\n", session_name(doc), state);
	json_decref(doc);
	return rc;
}
