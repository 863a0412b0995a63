/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Following a session. The document is asked for again and again: an agent that is restarted meanwhile, or a lost event,
 * changes nothing: while it is away it is asked less and less often, for a minute. Ctrl-C ends the following and never the session.
 */
#include "cli/cli.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LOOK_MS        200
#define LOOK_MOST_MS   2000 /* while no agent answers */
#define LINE_SECONDS   10.0

static volatile sig_atomic_t interrupted;

static void on_interrupt(int sig)
{
	interrupted = sig;
}

static double now(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void catch_interrupt(void)
{
	/* Also where a script that starts us in the background has it ignored: whoever sends it means us, and nothing is lost. */
	sigaction(SIGINT, &(struct sigaction){ .sa_handler = on_interrupt }, NULL);
}

/* Whether it is switched without a command, at whatever time or event. */
static bool switches_itself(const json_t *doc)
{
	const json_t *when = json_object_get(json_object_get(doc, "switch"), "when");
	return json_is_object(when) || (json_is_string(when) && strcmp(json_string_value(when), "manual"));
}

static const char *remark_of(const json_t *doc, char *buf, size_t size)
{
	const char *state = text_of(doc, "state");
	if (*trouble_of(doc, buf, size))
		return buf;
	if (!strcmp(state, "synced") && !switches_itself(doc) && strcmp(text_of(doc, "mode"), "copy"))
		snprintf(buf, size, "in sync: `dray switch %s` switches it", session_name(doc));
	else if (!strcmp(state, "paused"))
		snprintf(buf, size, "`dray resume %s` goes on", session_name(doc));
	return buf;
}

struct told {
	char state[48]; /* and phase */
	int tenth;
	double at;
};

/* Whether there is news: another state, another tenth of the way, or some time has passed. */
static bool is_news(struct told *told, const json_t *doc, double t)
{
	const json_t *p = json_object_get(doc, "progress");
	json_int_t total = json_integer_value(json_object_get(p, "bytes_total")),
		   done = json_integer_value(json_object_get(p, "bytes_done"));
	int tenth = total > 0 ? (int)(done * 10 / total) : 0;
	char state[sizeof told->state];
	snprintf(state, sizeof state, "%s %s", text_of(doc, "state"), phase_of(doc));
	bool other_state = strcmp(told->state, state) != 0;
	if (!other_state && tenth == told->tenth && t - told->at < LINE_SECONDS)
		return false;
	strcpy(told->state, state);
	told->tenth = tenth;
	told->at = t;
	return true;
}

static void tell(const struct follow *f, const json_t *doc, struct told *told, char *each_state, size_t size)
{
	char remark[500];
	if (f->bar) {
		bar_draw(doc, remark_of(doc, remark, sizeof remark));
	} else if (f->lines && is_news(told, doc, now())) {
		char *line = progress_line(doc);
		fprintf(stderr, "%s\n", line);
		free(line);
	}
	if (f->each && strcmp(each_state, text_of(doc, "state"))) {
		snprintf(each_state, size, "%s", text_of(doc, "state"));
		json_dumpf(doc, stdout, JSON_COMPACT);
		putchar('\n');
		fflush(stdout);
	}
}

int follow(const struct follow *f, json_t **doc)
{
	struct told told = { 0 };
	char each_state[24] = "", *path = path_of("sessions", f->session, "");
	struct call call = { .method = "GET", .path = path, .quiet = true };
	double begun = now(), seen = begun, look = LOOK_MS;
	bool ever = false, missed = false;
	int rc = 0;
	*doc = NULL;
	catch_interrupt();
	for (;;) {
		struct reply reply;
		double asked = now();
		call.quiet = ever && now() - seen < AGENT_PATIENCE;
		rc = request(f->args, &call, &reply);
		enum follow_end end = FOLLOW_GO_ON;
		if (!rc && json_is_object(reply.json)) {
			json_decref(*doc);
			*doc = json_incref(reply.json);
			ever = true;
			look = LOOK_MS;
			if (missed) {
				bar_end();
				note("the agent answers again");
			}
			missed = false;
			seen = now();
			tell(f, *doc, &told, each_state, sizeof each_state);
			end = f->look(*doc, f->arg);
		} else if (rc == -1) {
			look = missed && 2 * look < LOOK_MOST_MS ? 2 * look : missed ? LOOK_MOST_MS : look;
			if (!missed) {
				bar_end();
				note("the agent does not answer; still trying, for %d s", AGENT_PATIENCE);
			}
			missed = true;
		}
		reply_free(&reply);
		if (rc > 0)
			break;
		if (end != FOLLOW_GO_ON) {
			rc = end == FOLLOW_GOOD ? EXIT_DONE : EXIT_FAILED;
			break;
		}
		if (f->timeout > 0 && now() - begun >= f->timeout) {
			rc = EXIT_TIMED_OUT;
			break;
		}
		if (!interrupted) {
			/* A document of thousands of pairs takes its time: who looks must not keep the agent from its work. */
			double pause = !missed && (now() - asked) * 4000 > LOOK_MS ? (now() - asked) * 4000 : look;
			double left = f->timeout > 0 ? (f->timeout - (now() - begun)) * 1000 : pause;
			poll(NULL, 0, left < pause ? (int)left + 1 : (int)pause);
		}
		if (interrupted) {
			bar_end();
			const char *name = *doc ? session_name(*doc) : f->session;
			fprintf(stderr, "\nDetached: the session goes on. Watch it again: dray watch %s\n", name);
			rc = EXIT_DETACHED;
			break;
		}
	}
	bar_end();
	free(path);
	return rc;
}

static bool is(const char *a, const char *b)
{
	return !strcmp(a, b);
}

static bool any_pair(const json_t *doc, const char *state)
{
	size_t i;
	json_t *pair;
	json_array_foreach(json_object_get(doc, "pairs"), i, pair)
		if (is(text_of(pair, "state"), state))
			return true;
	return false;
}

static bool any_retired(const json_t *doc, const char *state)
{
	size_t i;
	json_t *pair;
	json_array_foreach(json_object_get(doc, "pairs"), i, pair)
		if (is(text_of(json_object_get(pair, "retired"), "state"), state))
			return true;
	return false;
}

/* A session that ends by nothing but a cancel: it is waited for its first generation. */
static bool first_generation(const json_t *doc)
{
	size_t i;
	json_t *g;
	json_array_foreach(json_object_get(doc, "generations"), i, g)
		if (json_is_true(json_object_get(g, "complete")))
			return true;
	return false;
}

enum follow_end look_moved(const json_t *doc, void *arg)
{
	const char *state = text_of(doc, "state");
	const json_t *sw = json_object_get(doc, "switch");
	enum follow_end over = any_pair(doc, "failed") ? FOLLOW_BAD : FOLLOW_GOOD;
	if (is(state, "committed") || is(state, "completed")) {
		/* The end is the end of the retire, too. */
		if (any_retired(doc, "pending"))
			return FOLLOW_GO_ON;
		return any_retired(doc, "failed") ? FOLLOW_BAD : over;
	}
	if (is(state, "switched") && !is(text_of(sw, "commit"), "switched"))
		return over;
	if (is(state, "failed") || is(state, "canceled"))
		return FOLLOW_BAD;
	if (first_generation(doc))
		return over;
	/* The rest waits for what failed, and will not switch by itself. */
	if (is(state, "synced") && over == FOLLOW_BAD && !json_is_true(json_object_get(sw, "partial")))
		return FOLLOW_BAD;
	/* The agent has used up its attempts and waits for the operator (switch.on_failure: wait). */
	if (is(state, "synced") && switches_itself(doc) && !strncmp(text_of(doc, "reason"), "the switch failed", 17))
		return FOLLOW_BAD;
	if (is(state, "synced") && !strncmp(text_of(doc, "reason"), "bad ranges:", 11))
		return FOLLOW_BAD;
	return FOLLOW_GO_ON;
}
