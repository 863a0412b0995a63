/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The progress of a session: a bar on a terminal, or a line.
 *
 * On the terminal one line is for the session and, when it has several pairs, one for each as far as the screen
 * goes. They are drawn over what was drawn before. A line never wraps: what does not fit is left out, the least
 * important first. The screen's size is asked for at each drawing; where it became narrower meanwhile, the terminal has
 * wrapped what was drawn, and that many more lines are gone over.
 */
#include "cli/cli.h"
#include "base/units.h"

#include <langinfo.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define LINES_MOST 512
static unsigned drawn; /* lines on the screen that are ours */
static unsigned short drawn_width[LINES_MOST]; /* columns of each */

static json_int_t number(const json_t *o, const char *key, json_int_t otherwise)
{
	json_t *v = json_object_get(o, key);
	return json_is_integer(v) ? json_integer_value(v) : otherwise;
}

static bool past_copy(const char *state)
{
	return !strcmp(state, "synced") || !strcmp(state, "switching") || !strcmp(state, "switched") ||
		!strcmp(state, "committed") || !strcmp(state, "completed");
}

/* 0 to 1; full only when all is done. */
static double share(const char *state, const json_t *progress)
{
	json_int_t total = number(progress, "bytes_total", 0), done = number(progress, "bytes_done", 0);
	if (past_copy(state))
		return 1;
	return total > 0 ? fmin((double)done / (double)total, 0.999) : 0;
}

struct text {
	char s[1300];
	size_t len; /* in columns */
};

static void put(struct text *t, const char *s)
{
	size_t used = strlen(t->s);
	text_cut(t->s + used, sizeof t->s - used, s, sizeof t->s);
	t->len += text_width(t->s + used);
}

static void size_part(char *out, size_t size, const json_t *progress)
{
	char a[32], b[32];
	json_int_t total = number(progress, "bytes_total", -1), done = number(progress, "bytes_done", 0);
	*out = 0;
	if (total >= 0)
		snprintf(out, size, "%s of %s", dray_size_format((uint64_t)done, a, sizeof a),
			dray_size_format((uint64_t)total, b, sizeof b));
}

static void rate_part(char *out, size_t size, const json_t *progress)
{
	char a[32];
	json_int_t rate = number(progress, "rate", -1);
	*out = 0;
	if (rate >= 0)
		snprintf(out, size, "%s/s", dray_size_format((uint64_t)rate, a, sizeof a));
}

static void eta_part(char *out, size_t size, const json_t *progress)
{
	char a[32];
	json_int_t eta = number(progress, "eta_seconds", -1);
	*out = 0;
	if (eta >= 0 && eta < 10000000) /* months: nobody believes that */
		snprintf(out, size, "%s left", seconds_text((uint64_t)eta, a));
}

/* Told where it matters: something is written that has to be brought again. */
static void dirty_part(char *out, size_t size, const json_t *progress)
{
	char a[32];
	json_int_t rate = number(progress, "dirty_rate", 0);
	*out = 0;
	if (rate > 0)
		snprintf(out, size, "%s/s written anew", dray_size_format((uint64_t)rate, a, sizeof a));
}

const char *phase_of(const json_t *o)
{
	static const char *const more[] = { "verifying", "recovering", "comparing", "recording", "pausing", "resyncing", "canceling",
		"committing", "retiring", "attaching" };
	const char *phase = text_of(o, "phase");
	for (size_t i = 0; i < sizeof more / sizeof more[0]; i++)
		if (!strcmp(phase, more[i]))
			return phase;
	return "";
}

const char *trouble_of(const json_t *doc, char *buf, size_t size)
{
	size_t i, k;
	json_t *pair, *target;
	const char *waits = NULL;
	bool any_moves = false;
	*buf = 0;
	if (*text_of(doc, "reason")) {
		snprintf(buf, size, "%s", text_of(doc, "reason"));
		return buf;
	}
	json_array_foreach(json_object_get(doc, "pairs"), i, pair) {
		const char *state = text_of(pair, "state"), *reason = text_of(pair, "reason");
		any_moves |= !strcmp(state, "copying") || !strcmp(state, "starting");
		if (!waits && *reason && !strcmp(state, "queued"))
			waits = reason;
		json_array_foreach(json_object_get(pair, "targets"), k, target)
			if (!*buf && !strcmp(text_of(target, "state"), "degraded") && strcmp(state, "canceled") && strcmp(state, "failed"))
				snprintf(buf, size, "pair %s: target %s is degraded%s%s", text_of(pair, "id"), text_of(target, "resource"),
					*text_of(target, "error") ? ": " : "", text_of(target, "error"));
	}
	if (!*buf && waits && !any_moves)
		snprintf(buf, size, "%s", waits);
	return buf;
}

static bool moves(const char *state)
{
	return !strcmp(state, "copying") || !strcmp(state, "starting");
}

char *progress_line(const json_t *doc)
{
	const json_t *p = json_object_get(doc, "progress");
	const char *state = text_of(doc, "state");
	char size[80], rate[48], eta[48], *line;
	size_part(size, sizeof size, p);
	rate_part(rate, sizeof rate, p);
	eta_part(eta, sizeof eta, p);
	if (!moves(state))
		rate[0] = eta[0] = 0;
	char trouble[400], dirty[64];
	const char *phase = phase_of(doc);
	trouble_of(doc, trouble, sizeof trouble);
	dirty_part(dirty, sizeof dirty, p);
	if (asprintf(&line, "%s: %s%s%s%s, %d %%%s%s%s%s%s%s%s%s%s%s", session_name(doc), state, *phase ? " (" : "", phase, *phase ? ")" : "",
		    (int)(share(state, p) * 100), *size ? ", " : "", size, *rate ? ", " : "", rate, *dirty ? ", " : "", dirty,
		    *eta ? ", " : "", eta, *trouble ? "; " : "", trouble) < 0)
		abort();
	return line;
}

static void put_bar(struct text *t, double part, int width)
{
	static const char *const eighths[] = { " ", "▏", "▎", "▍", "▌", "▋", "▊", "▉" };
	bool utf8 = !strcmp(nl_langinfo(CODESET), "UTF-8");
	int steps = (int)(part * width * 8 + 0.5), full = steps / 8, i = 0;
	put(t, utf8 ? "▕" : "[");
	for (; i < full; i++)
		put(t, utf8 ? "█" : "#");
	if (i < width && utf8) {
		put(t, eighths[steps % 8]);
		i++;
	}
	for (; i < width; i++)
		put(t, utf8 ? " " : ".");
	put(t, utf8 ? "▏" : "]");
}

/* "label state  [bar]  54 %  size  rate  eta" in `columns`. Returns the columns that were used. */
static size_t draw_line(const char *label, int label_width, const json_t *doc, int columns)
{
	const char *state = text_of(doc, "state"), *phase = phase_of(doc);
	const json_t *progress = json_object_get(doc, "progress");
	char size[80], rate[48], dirty[64], eta[48], percent[16], name[200];
	double part = share(state, progress);
	size_part(size, sizeof size, progress);
	rate_part(rate, sizeof rate, progress);
	dirty_part(dirty, sizeof dirty, progress);
	eta_part(eta, sizeof eta, progress);
	if (!moves(state))
		rate[0] = eta[0] = 0;
	if (past_copy(state) || number(progress, "bytes_total", -1) >= 0)
		snprintf(percent, sizeof percent, "%3d %%", (int)(part * 100));
	else
		snprintf(percent, sizeof percent, "  - %%"); /* how much it is will be known once all pairs have begun */
	struct text left = { 0 }, right = { 0 }, bar = { 0 };
	const int state_width = 10, least_bar = 10; /* "committing" */
	put(&left, text_cut(name, sizeof name, label, (size_t)(columns > 50 ? columns - 40 : 10)));
	while ((int)left.len < label_width)
		put(&left, " ");
	put(&left, " ");
	const char *parts[] = { percent, size, rate, eta, dirty };
	size_t n = sizeof parts / sizeof parts[0];
	int room;
	do { /* the last parts go first, until there is a bar to see */
		right = (struct text){ 0 };
		for (size_t i = 0; i < n; i++) {
			if (*parts[i]) {
				put(&right, "  ");
				put(&right, parts[i]);
			}
		}
		room = columns - 1 - (int)left.len - state_width - 3 - (int)right.len;
	} while (room < least_bar && n-- > 1);
	bool colour = colours(STDERR_FILENO);
	const char *word = *phase ? phase : state;
	size_t used = left.len + (size_t)state_width;
	if (used + 1 > (size_t)columns) { /* hardly a screen: what it does, as far as that goes */
		text_cut(name, sizeof name, word, (size_t)columns - 1);
		fprintf(stderr, "%s\033[K\n", name);
		return strlen(name);
	}
	fputs(left.s, stderr);
	fprintf(stderr, "%s%-*s%s", colour ? state_colour(state) : "", state_width, word, colour ? plain : "");
	if (room >= 4) {
		put_bar(&bar, part, room > 50 ? 50 : room);
		fprintf(stderr, " %s%s%s", colour ? state_colour(state) : "", bar.s, colour ? plain : "");
		used += bar.len + 1;
	}
	if (room >= 0) {
		fputs(right.s, stderr);
		used += right.len;
	}
	fputs("\033[K\n", stderr);
	return used;
}

/* Text of one line, cut where the screen ends. */
static size_t draw_text(const char *text, int columns)
{
	char cut[1300];
	fprintf(stderr, "%s\033[K\n", text_cut(cut, sizeof cut, text, (size_t)columns - 1));
	return text_width(cut);
}

/* To the first line that is ours: one that is wider than the screen is now takes several of it. */
static void go_up(int columns)
{
	unsigned rows = 0;
	for (unsigned i = 0; i < drawn; i++)
		rows += drawn_width[i] ? (drawn_width[i] + (unsigned)columns - 1) / (unsigned)columns : 1;
	if (rows)
		fprintf(stderr, "\033[%uA", rows);
	fputc('\r', stderr);
}

static void note_drawn(size_t width)
{
	if (drawn < LINES_MOST)
		drawn_width[drawn++] = (unsigned short)width;
}

void bar_draw(const json_t *doc, const char *remark)
{
	struct winsize ws = { 0 };
	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &ws) || !ws.ws_col)
		ws = (struct winsize){ .ws_row = 24, .ws_col = 80 };
	int columns = ws.ws_col < 2 ? 2 : ws.ws_col < 300 ? ws.ws_col : 300;
	size_t n = json_array_size(json_object_get(doc, "pairs")), most = ws.ws_row > 4 ? ws.ws_row - 4u : 0;
	most = most < LINES_MOST - 3 ? most : LINES_MOST - 3;
	go_up(columns);
	drawn = 0;
	char label[24], line[1300];
	note_drawn(draw_line(session_name(doc), n > 1 ? 10 : 0, doc, columns));
	/* Of more than fit, those at which something is to be seen. */
	for (size_t i = 0, shown = 0; n > 1 && i < n && shown < most; i++) {
		const json_t *pair = json_array_get(json_object_get(doc, "pairs"), i);
		if (n > most && !pair_is_at_work(pair) && !pair_failed(pair))
			continue;
		shown++;
		const char *reason = text_of(pair, "reason");
		snprintf(label, sizeof label, "  pair %.8s", text_of(pair, "id"));
		if (*reason && !moves(text_of(pair, "state")) && columns > 30) {
			snprintf(line, sizeof line, "%-10s %-10s %s", label, text_of(pair, "state"), reason);
			note_drawn(draw_text(line, columns));
		} else {
			note_drawn(draw_line(label, 10, pair, columns));
		}
	}
	if (remark && *remark)
		note_drawn(draw_text(remark, columns));
	fputs("\033[J", stderr); /* what the last drawing had more of */
	fflush(stderr);
}

void bar_end(void)
{
	drawn = 0;
}
