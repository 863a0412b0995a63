/* SPDX-License-Identifier: BSD-3-Clause */
/* The commands that look at sessions, and wait for them. */
#include "cli/cli.h"
#include "base/units.h"
#include "session/state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- list, watch ---- */

static int no_state(const struct args *args, const char *word)
{
	char legal[200] = "";
	for (int i = 0; i < DRAY_PAIR_STATE_COUNT; i++) {
		size_t n = strlen(legal);
		snprintf(legal + n, sizeof legal - n, "%s%s", i ? ", " : "", dray_state_word((enum dray_pair_state)i));
	}
	return fail(args, EXIT_USAGE, "usage", "there is no state \"%s\" (legal: %s)", word, legal);
}

/* Each pair has a limit of its own, but the word for them is one. */
static bool said_before(const json_t *list, size_t n, const json_t *one)
{
	for (size_t i = 0; i < n; i++) {
		const json_t *before = json_array_get(list, i);
		if (!strcmp(text_of(before, "limit"), text_of(one, "limit")) && !strcmp(text_of(before, "of"), text_of(one, "of")))
			return true;
	}
	return false;
}

/* "by session rate, pair steps": what holds the session back now, that of the most pairs first. */
static void bound_text(const json_t *doc, char *buf, size_t size)
{
	size_t i, n = 0;
	json_t *one;
	*buf = 0;
	json_array_foreach(json_object_get(doc, "bound_by"), i, one) {
		const char *limit = text_of(one, "limit"), *of = text_of(one, "of");
		const json_t *value = json_object_get(one, "value");
		bool stops = json_is_integer(value) && !json_integer_value(value);
		if ((*text_of(doc, "reason") && (stops || !strcmp(limit, "active_pairs"))) || said_before(json_object_get(doc, "bound_by"), i, one))
			continue; /* the reason says so, with more words */
		bool its_own = strcmp(of, "default") && strcmp(of, "neighbour");
		n += (size_t)snprintf(buf + n, size - n, "%s%s%s%s", n ? ", " : "by ", !strcmp(limit, "none") ? "storage" : !strcmp(of, "default") ? "application" : of,
			*of && its_own ? " " : "", *of && its_own ? limit : "");
		if (n >= size)
			return;
	}
}

/* What there is to say of it: why it is as it is, what it does, what holds it back. malloc'ed. */
static char *remark_on(const json_t *doc)
{
	char bound[160], *text;
	const char *first = *text_of(doc, "reason") ? text_of(doc, "reason") : phase_of(doc);
	bound_text(doc, bound, sizeof bound);
	if (asprintf(&text, "%s%s%s", first, *first && *bound ? "; " : "", bound) < 0)
		abort();
	return text;
}

/* To the agent 0 is no limit, and it takes 18 digits. */
static bool is_limit(const char *s)
{
	size_t n = strspn(s, "0123456789");
	return n && n < 19 && !s[n] && s[strspn(s, "0")];
}

#define PAST_SHOWN 100 /* of those that are over, unless all are asked for */

int cmd_list(const struct args *args)
{
	static const char *const headings[] = { "NAME", "ID", "STATE", ">DONE", ">OF", ">RATE", "REASON", NULL };
	const char *state = args->value[OPT_STATE], *limit = args->value[OPT_LIMIT];
	if (state && dray_state_from_word(state) < 0)
		return no_state(args, state);
	if (limit && !is_limit(limit))
		return fail(args, EXIT_USAGE, "usage", "--limit: \"%s\" is not a number from 1 to 999999999999999999", limit);
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
			char *remark = remark_on(doc);
			table_add(t, remark);
			free(remark);
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
