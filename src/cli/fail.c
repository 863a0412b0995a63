/* SPDX-License-Identifier: BSD-3-Clause */
#include "cli/cli.h"

#include "base/format.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void note(const char *fmt, ...)
{
	va_list ap;
	fputs("dray: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

static void put_json(const json_t *problem)
{
	json_dumpf(problem, stderr, JSON_INDENT(2));
	fputc('\n', stderr);
}

static const char *title_of(int status)
{
	switch (status) {
	case EXIT_USAGE: return "wrong usage";
	case EXIT_REFUSED: return "refused";
	case EXIT_NOT_FOUND: return "no such thing";
	case EXIT_ILLEGAL: return "not legal in this state";
	case EXIT_UNREACHABLE: return "agent unreachable";
	case EXIT_TIMED_OUT: return "timed out";
	default: return "failed";
	}
}

int fail(const struct args *args, int status, const char *code, const char *fmt, ...)
{
	char *text;
	va_list ap;
	va_start(ap, fmt);
	text = dray_vformat(fmt, ap);
	va_end(ap);
	if (args->output == OUTPUT_JSON) {
		json_t *p = json_pack("{s:s, s:s, s:s, s:s*, s:s, s:[], s:i}", "type", "about:blank", "title", title_of(status),
			"code", code, "command", *args->command->name ? args->command->name : NULL, "detail", text, "errors",
			"exit", status);
		if (p)
			put_json(p);
		json_decref(p);
	} else {
		fprintf(stderr, "dray%s%s: %s\n", *args->command->name ? " " : "", args->command->name, text);
	}
	free(text);
	return status;
}

void put_place(const char *pointer)
{
	bool begun = false;
	if (!strncmp(pointer, "/pairs/", 7) && pointer[7] >= '0' && pointer[7] <= '9') {
		char *end;
		unsigned long n = strtoul(pointer + 7, &end, 10);
		fprintf(stderr, "pair %lu", n + 1);
		pointer = end;
		if (*pointer)
			fputs(": ", stderr);
	}
	for (const char *p = pointer; *p; p++) {
		if (*p == '/' && begun)
			fputc('.', stderr);
		else if (*p == '~' && (p[1] == '0' || p[1] == '1'))
			fputc(*++p == '0' ? '~' : '/', stderr);
		else if (*p != '/')
			fputc(*p, stderr);
		begun = true;
	}
}

static void put_problem(const json_t *e, const char *where, bool colour)
{
	json_int_t line = json_integer_value(json_object_get(e, "line"));
	const char *pointer = text_of(e, "pointer"), *value = text_of(e, "value"), *legal = text_of(e, "legal"),
		   *detail = text_of(e, "detail");
	fputs("  ", stderr);
	if (line && where && *where)
		fprintf(stderr, "%s:%lld: ", where, (long long)line);
	else if (line && !where)
		fprintf(stderr, "line %lld: ", (long long)line);
	if (*pointer) {
		fputs(colour ? "\033[1m" : "", stderr);
		put_place(pointer);
		fprintf(stderr, "%s: ", colour ? plain : "");
	}
	if (*value && !strstr(detail, value))
		fprintf(stderr, "\"%s\": ", value);
	fprintf(stderr, "%s", detail);
	if (*legal)
		fprintf(stderr, " (legal: %s)", legal);
	fputc('\n', stderr);
}

static json_int_t line_of(const json_t *e)
{
	return json_integer_value(json_object_get(e, "line"));
}

struct ordered {
	const json_t *problem;
	size_t place;
};

static int by_line(const void *a, const void *b)
{
	const struct ordered *p = a, *q = b;
	json_int_t x = line_of(p->problem), y = line_of(q->problem);
	return x != y ? (x > y) - (x < y) : (p->place > q->place) - (p->place < q->place);
}

/* In the order of the document; those without a line first. */
static void put_problems(const json_t *errors, const char *where)
{
	size_t n = json_array_size(errors);
	struct ordered *list = calloc(n + 1, sizeof *list);
	if (!list)
		abort();
	for (size_t i = 0; i < n; i++)
		list[i] = (struct ordered){ json_array_get(errors, i), i };
	qsort(list, n, sizeof *list, by_line);
	for (size_t i = 0; i < n; i++)
		put_problem(list[i].problem, where, colours(STDERR_FILENO));
	free(list);
}

int fail_problem(const struct args *args, const json_t *problem, const char *where)
{
	json_t *exit = json_object_get(problem, "exit"), *errors = json_object_get(problem, "errors");
	int status = json_is_integer(exit) ? (int)json_integer_value(exit) : EXIT_FAILED;
	if (status < EXIT_FAILED || status > EXIT_TIMED_OUT)
		status = EXIT_FAILED;
	if (args->output == OUTPUT_JSON) {
		put_json(problem);
		return status;
	}
	size_t n = json_array_size(errors);
	const char *detail = text_of(problem, "detail");
	fprintf(stderr, "dray %s: ", args->command->name);
	if (n && status == EXIT_REFUSED)
		fprintf(stderr, "refused, with %zu problem%s:\n", n, n > 1 ? "s" : "");
	else
		fprintf(stderr, "%s%s\n", *detail ? detail : text_of(problem, "title"), n ? ":" : "");
	put_problems(errors, where);
	if (n && status == EXIT_REFUSED)
		fprintf(stderr, "Nothing was started or changed.\n");
	return status;
}
