/* SPDX-License-Identifier: BSD-3-Clause */
#include "session/problem.h"

#include "base/format.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A list of problems is what stands between a user and their mistake: without memory for it there is no way to
 * tell them anything, so running out of it ends the program. */
static void *must(void *p)
{
	if (!p)
		abort();
	return p;
}

char *dray_value_text(const json_t *v)
{
	if (!v)
		return NULL;
	return must(json_is_string(v) ? strdup(json_string_value(v)) : json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT));
}

void dray_problems_free(struct dray_problems *problems)
{
	for (size_t i = 0; i < problems->n; i++) {
		struct dray_problem *p = &problems->items[i];
		free(p->pointer);
		free(p->value);
		free(p->code);
		free(p->detail);
		free(p->legal);
	}
	free(problems->items);
	*problems = DRAY_PROBLEMS_INIT;
}

void dray_problems_add(struct dray_problems *problems, const char *pointer, unsigned line, const char *code,
	const char *value, const char *legal, const char *detail_fmt, ...)
{
	/* Room doubles whenever the count reaches a power of two, so no capacity needs to be kept. */
	if (!(problems->n & (problems->n - 1)))
		problems->items = must(realloc(problems->items,
			(problems->n ? problems->n * 2 : 1) * sizeof *problems->items));
	struct dray_problem *p = &problems->items[problems->n++];
	va_list ap;
	va_start(ap, detail_fmt);
	p->detail = dray_vformat(detail_fmt, ap);
	va_end(ap);
	p->pointer = must(strdup(pointer));
	p->line = line;
	p->code = must(strdup(code));
	p->value = value ? must(strdup(value)) : NULL;
	p->legal = legal ? must(strdup(legal)) : NULL;
}

/* Text from outside may hold bytes that JSON can't: those are shown as '?'. */
static json_t *text_or_null(const char *s)
{
	if (!s)
		return json_null();
	json_t *j = json_string(s);
	if (j)
		return j;
	char *copy = must(strdup(s));
	for (char *c = copy; *c; c++)
		if (*c & 0x80)
			*c = '?';
	j = must(json_string(copy));
	free(copy);
	return j;
}

json_t *dray_problems_to_json(const struct dray_problems *problems)
{
	json_t *list = must(json_array());
	for (size_t i = 0; i < problems->n; i++) {
		const struct dray_problem *p = &problems->items[i];
		json_array_append_new(list,
			must(json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "pointer", text_or_null(p->pointer), "line",
				p->line ? json_integer(p->line) : json_null(), "value", text_or_null(p->value), "code",
				text_or_null(p->code), "detail", text_or_null(p->detail), "legal",
				text_or_null(p->legal))));
	}
	return list;
}
