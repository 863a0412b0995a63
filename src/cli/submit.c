/* SPDX-License-Identifier: BSD-3-Clause */
/* The commands that send a document: start, estimate, apply; and migrate, which makes one. */
#include "cli/cli.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_DOCUMENT ((size_t)16 << 20)
#define MOST_TOLD    20 /* pairs of an estimate, for people */

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
	printf("%s: %s, ", text_of(e, "name"), size_text(json_object_get(e, "bytes"), bytes));
	if (json_is_null(json_object_get(e, "seconds")) && json_is_null(json_object_get(e, "seconds_low")))
		puts("never done, as it stands: the last assumption says why");
	else
		printf("about %s (%s to %s)\n", span(json_object_get(e, "seconds"), mid), span(json_object_get(e, "seconds_low"), low),
			span(json_object_get(e, "seconds_high"), high));
	const json_t *pairs = json_object_get(e, "pairs");
	json_array_foreach (pairs, i, item)
		if (i < MOST_TOLD && json_is_null(json_object_get(item, "seconds")))
			printf("  pair %s: %s: %s, never done\n", text_of(item, "id"), text_of(item, "source"), size_text(json_object_get(item, "bytes"), bytes));
		else if (i < MOST_TOLD)
			printf("  pair %s: %s: %s at %s/s, begins after %s, takes %s\n", text_of(item, "id"), text_of(item, "source"),
				size_text(json_object_get(item, "bytes"), bytes), size_text(json_object_get(item, "rate"), rate),
				span(json_object_get(item, "begins"), low), span(json_object_get(item, "seconds"), mid));
	if (json_array_size(pairs) > MOST_TOLD)
		printf("  ... and %zu more; -o json has them all\n", json_array_size(pairs) - MOST_TOLD);
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

int cmd_apply(const struct args *args)
{
	struct reply reply = { 0 };
	int rc = send_document(args, "/v1/apply", &reply);
	if (!rc)
		print_outcome(args, reply.json);
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

static void set_map(json_t *doc, const char *key, json_t *map)
{
	if (json_object_size(map))
		json_object_set(doc, key, map);
	json_decref(map);
}

/* A word, a time, or "{event: NAME}". Not read as a document is: in YAML {event:go} has a key event:go, and 2027, true and - are no texts, but names
 * of events. What is anything else goes as it is, so that the refusal shows all of it, and what is legal. */
static json_t *when(const char *text)
{
	char name[65];
	int n = 0;
	if (sscanf(text, " { event : %64[A-Za-z0-9._-] } %n", name, &n) == 1 && n && !text[n])
		return json_pack("{s:s}", "event", name);
	return json_string(text);
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
		json_object_set_new(sw, "when", when(args->value[OPT_WHEN]));
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
