/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The progress of a session: a bar on a terminal, or a line.
 *
 * On the terminal one line is for the session and, when it has several pairs, one for each as far as the screen
 * goes. They are drawn over what was drawn before. A line never wraps: what does not fit is left out, the least
 * important first.
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

static unsigned drawn; /* lines on the screen that are ours */

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
	char s[320];
	size_t len; /* in columns; what is put in is ASCII, but for the bar and names */
};

static void put(struct text *t, const char *s)
{
	size_t used = strlen(t->s), n = strlen(s);
	if (used + n >= sizeof t->s)
		n = sizeof t->s - used - 1;
	memcpy(t->s + used, s, n);
	t->s[used + n] = 0;
	for (size_t i = 0; i < n; i++)
		t->len += (s[i] & 0xc0) != 0x80;
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
		snprintf(out, size, "%s left",
			eta < 60 ? (snprintf(a, sizeof a, "%d s", (int)eta), a) :
				   dray_duration_format((uint64_t)eta * 1000000000, a, sizeof a));
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
	if (asprintf(&line, "%s: %s, %d %%%s%s%s%s%s%s", session_name(doc), state, (int)(share(state, p) * 100), *size ? ", " : "",
		    size, *rate ? ", " : "", rate, *eta ? ", " : "", eta) < 0)
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

/* "label state  [bar]  54 %  size  rate  eta" in `columns`. */
static void draw_line(const char *label, int label_width, const char *state, const json_t *progress, int columns)
{
	char size[80], rate[48], eta[48], percent[16];
	double part = share(state, progress);
	size_part(size, sizeof size, progress);
	rate_part(rate, sizeof rate, progress);
	eta_part(eta, sizeof eta, progress);
	if (!moves(state))
		rate[0] = eta[0] = 0;
	if (past_copy(state) || number(progress, "bytes_total", -1) >= 0)
		snprintf(percent, sizeof percent, "%3d %%", (int)(part * 100));
	else
		snprintf(percent, sizeof percent, "  - %%"); /* how much it is will be known once all pairs have begun */
	struct text left = { 0 }, right = { 0 }, bar = { 0 };
	put(&left, label);
	while ((int)left.len < label_width)
		put(&left, " ");
	put(&left, " ");
	const char *parts[] = { percent, size, rate, eta };
	size_t n = sizeof parts / sizeof parts[0];
	const int state_width = 9, least_bar = 10; /* "switching" */
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
	fputs(left.s, stderr);
	bool colour = colours(STDERR_FILENO);
	fprintf(stderr, "%s%-*s%s", colour ? state_colour(state) : "", state_width, state, colour ? plain : "");
	if (room >= 4) {
		put_bar(&bar, part, room > 50 ? 50 : room);
		fprintf(stderr, " %s%s%s", colour ? state_colour(state) : "", bar.s, colour ? plain : "");
	}
	if (room >= 0)
		fputs(right.s, stderr);
	fputs("\033[K\n", stderr);
}

void bar_draw(const json_t *doc, const char *remark)
{
	struct winsize ws = { 0 };
	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &ws) || !ws.ws_col)
		ws = (struct winsize){ .ws_row = 24, .ws_col = 80 };
	int columns = ws.ws_col < 300 ? ws.ws_col : 300;
	size_t n = json_array_size(json_object_get(doc, "pairs")), most = ws.ws_row > 4 ? ws.ws_row - 4u : 0;
	if (drawn)
		fprintf(stderr, "\033[%uA\r", drawn);
	else
		fputc('\r', stderr);
	char label[24];
	unsigned now = 1;
	snprintf(label, sizeof label, "%.20s", session_name(doc));
	draw_line(label, n > 1 ? 10 : 0, text_of(doc, "state"), json_object_get(doc, "progress"), columns);
	for (size_t i = 0; n > 1 && i < n && i < most; i++, now++) {
		const json_t *pair = json_array_get(json_object_get(doc, "pairs"), i);
		const char *reason = text_of(pair, "reason");
		snprintf(label, sizeof label, "  pair %.8s", text_of(pair, "id"));
		if (*reason && !moves(text_of(pair, "state")) && columns > 30)
			fprintf(stderr, "%-10s %-9s %.*s\033[K\n", label, text_of(pair, "state"), columns - 24, reason);
		else
			draw_line(label, 10, text_of(pair, "state"), json_object_get(pair, "progress"), columns);
	}
	if (remark && *remark) {
		fprintf(stderr, "%.*s\033[K\n", columns - 1, remark);
		now++;
	}
	fputs("\033[J", stderr); /* what the last drawing had more of */
	drawn = now;
	fflush(stderr);
}

void bar_end(void)
{
	drawn = 0;
}
