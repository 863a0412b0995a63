/* SPDX-License-Identifier: BSD-3-Clause */
#include "cli/cli.h"
#include "base/units.h"
#include "session/session.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

#define CELL_LEAST 14 /* columns: a state, an id */
#define LAST_LEAST 9  /* of the last column: the beginning of a remark, of which there is more elsewhere */

const char plain[] = "\033[0m";

bool colours(int fd)
{
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
	return isatty(fd) && !(no && *no) && term && strcmp(term, "dumb");
}

const char *state_colour(const char *state)
{
	static const struct {
		const char *state, *colour;
	} table[] = {
		{ "failed", "\033[31m" }, { "degraded", "\033[31m" }, { "canceled", "\033[2m" }, { "paused", "\033[33m" },
		{ "queued", "\033[33m" }, { "scheduled", "\033[33m" }, { "copying", "\033[36m" }, { "starting", "\033[36m" },
		{ "switching", "\033[35m" }, { "synced", "\033[32m" }, { "switched", "\033[32m" }, { "committed", "\033[32m" },
		{ "completed", "\033[32m" },
	};
	for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
		if (!strcmp(table[i].state, state))
			return table[i].colour;
	return "";
}

void print_json(const json_t *json)
{
	json_dumpf(json, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY);
	putchar('\n');
}

void print_yaml(const json_t *json)
{
	char *text = dray_yaml_from_json(json);
	fputs(text, stdout);
	free(text);
}

bool printed(const struct args *args, const json_t *json)
{
	if (args->output == OUTPUT_JSON)
		print_json(json);
	else if (args->output == OUTPUT_YAML)
		print_yaml(json);
	return args->output != OUTPUT_HUMAN;
}

const char *text_of(const json_t *object, const char *key)
{
	const char *s = json_string_value(json_object_get(object, key));
	return s ? s : "";
}

char *size_text(const json_t *n, char *buf)
{
	if (!json_is_integer(n))
		return strcpy(buf, "-");
	return dray_size_format((uint64_t)json_integer_value(n), buf, 32);
}

char *seconds_text(uint64_t s, char *buf)
{
	if (s >= 60)
		return dray_duration_format(s * 1000000000, buf, 32);
	snprintf(buf, 32, "%d s", (int)s);
	return buf;
}

const char *session_name(const json_t *doc)
{
	const char *name = text_of(doc, "name");
	return *name ? name : text_of(doc, "id");
}

bool asks(const struct args *args)
{
	return !given(args, OPT_YES) && isatty(STDIN_FILENO) && isatty(STDERR_FILENO);
}

bool ask(const struct args *args, const char *question_fmt, ...)
{
	if (!asks(args))
		return true;
	va_list ap;
	va_start(ap, question_fmt);
	vfprintf(stderr, question_fmt, ap);
	va_end(ap);
	fputs(" [y/N] ", stderr);
	char answer[16] = "";
	return fgets(answer, sizeof answer, stdin) && (answer[0] == 'y' || answer[0] == 'Y');
}

struct table {
	const char *const *headings;
	size_t columns, n, room;
	char **cells;
};

struct table *table_new(const char *const *headings)
{
	struct table *t = calloc(1, sizeof *t);
	if (!t)
		abort();
	t->headings = headings;
	while (headings[t->columns])
		t->columns++;
	return t;
}

void table_add(struct table *t, const char *cell)
{
	if (t->n == t->room) {
		t->room = t->room ? t->room * 2 : 64;
		t->cells = realloc(t->cells, t->room * sizeof *t->cells);
		if (!t->cells)
			abort();
	}
	t->cells[t->n] = strdup(*cell ? cell : "-");
	if (!t->cells[t->n++])
		abort();
}

/* The next character and its columns. What is no character in this locale is a byte of one column. */
static size_t next_character(const char *s, mbstate_t *state, size_t *columns)
{
	wchar_t wide;
	size_t n = mbrtowc(&wide, s, MB_CUR_MAX, state);
	if (n == (size_t)-1 || n == (size_t)-2 || n == 0) {
		*state = (mbstate_t){ 0 };
		*columns = 1;
		return 1;
	}
	int w = wcwidth(wide);
	*columns = w < 0 ? 0 : (size_t)w; /* none: it goes over another one, or is a control character */
	return n;
}

size_t text_width(const char *s)
{
	mbstate_t state = { 0 };
	size_t sum = 0, columns;
	while (*s) {
		s += next_character(s, &state, &columns);
		sum += columns;
	}
	return sum;
}

char *text_cut(char *buf, size_t size, const char *s, size_t most)
{
	mbstate_t state = { 0 };
	size_t used = 0, sum = 0, columns;
	while (*s) {
		size_t n = next_character(s, &state, &columns);
		if (sum + columns > most || used + n >= size)
			break;
		if (columns || n > 1)
			memcpy(buf + used, s, n);
		else
			buf[used] = '?'; /* a control character is no business of the terminal's */
		used += n;
		sum += columns ? columns : n == 1;
		s += n;
	}
	buf[used] = 0;
	return buf;
}

static void put_cell(const char *text, size_t width, bool right, bool last, const char *colour)
{
	size_t w = text_width(text);
	int pad = w < width ? (int)(width - w) : 0;
	if (right)
		printf("%*s", pad, "");
	printf("%s%s%s", colour, text, *colour ? plain : "");
	if (!right && !last)
		printf("%*s", pad, "");
	if (!last)
		fputs("  ", stdout);
}

/* The beginning and the end, which mostly tell names apart; or the beginning alone. */
static void shorten(char **cell, size_t columns, bool end)
{
	const char *dots = MB_CUR_MAX > 1 ? "\u2026" : "~";
	size_t size = strlen(*cell) + 8, tail = end ? (columns - 1) / 2 : 0, head = columns - 1 - tail;
	char *cut = malloc(size);
	if (!cut)
		abort();
	text_cut(cut, size, *cell, head);
	strcat(cut, dots);
	const char *rest = *cell;
	mbstate_t state = { 0 };
	size_t width;
	while (tail && text_width(rest) > tail)
		rest += next_character(rest, &state, &width);
	if (tail)
		text_cut(cut + strlen(cut), size - strlen(cut), rest, tail);
	free(*cell);
	*cell = cut;
}

/* On a terminal a row is one line: the widest columns of text give way, as long as something of them is left. */
static void fit(struct table *t, size_t *width)
{
	struct winsize ws;
	size_t sum = 2 * (t->columns - 1);
	if (!isatty(STDOUT_FILENO) || ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws) || !ws.ws_col)
		return;
	for (size_t c = 0; c < t->columns; c++)
		sum += width[c];
	for (; sum > ws.ws_col; sum--) {
		size_t widest = t->columns;
		for (size_t c = 0; c < t->columns; c++)
			if (t->headings[c][0] != '>' && width[c] > (c + 1 < t->columns ? CELL_LEAST : LAST_LEAST) && (widest == t->columns || width[c] > width[widest]))
				widest = c;
		if (widest == t->columns)
			break;
		width[widest]--;
	}
	for (size_t i = 0; i < t->n; i++)
		if (text_width(t->cells[i]) > width[i % t->columns])
			shorten(&t->cells[i], width[i % t->columns], (i + 1) % t->columns);
}

void table_print(struct table *t)
{
	bool colour = colours(STDOUT_FILENO);
	size_t *width = calloc(t->columns, sizeof *width);
	if (!width)
		abort();
	for (size_t c = 0; c < t->columns; c++)
		width[c] = text_width(t->headings[c] + (t->headings[c][0] == '>'));
	for (size_t i = 0; i < t->n; i++)
		if (text_width(t->cells[i]) > width[i % t->columns])
			width[i % t->columns] = text_width(t->cells[i]);
	fit(t, width);
	for (size_t c = 0; c < t->columns; c++) {
		bool right = t->headings[c][0] == '>';
		put_cell(t->headings[c] + right, width[c], right, c + 1 == t->columns, colour ? "\033[1m" : "");
	}
	putchar('\n');
	for (size_t i = 0; i < t->n; i++) {
		size_t c = i % t->columns;
		put_cell(t->cells[i], width[c], t->headings[c][0] == '>', c + 1 == t->columns,
			colour ? state_colour(t->cells[i]) : "");
		if (c + 1 == t->columns)
			putchar('\n');
		free(t->cells[i]);
	}
	free(width);
	free(t->cells);
	free(t);
}
