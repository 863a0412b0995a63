/* SPDX-License-Identifier: BSD-3-Clause */
/* Large documents are read quickly, and those made to exhaust a reader are refused before they do. */
#include "session/reader.h"
#include "session/session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

static double seconds(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void ten_thousand_pairs(void **state)
{
	char *text;
	size_t len;
	FILE *f = open_memstream(&text, &len);
	fputs("name: many\npairs:\n", f);
	for (int i = 0; i < 10000; i++)
		fprintf(f, "- source: /dev/source%d\n  target: /dev/target%d\n  limits: {rate: 1M}\n%s", i, i,
			i % 2 ? "  bad: 1\n" : "");
	fclose(f);
	struct dray_problems problems = DRAY_PROBLEMS_INIT;
	struct dray_session *s;
	double t = seconds();
	assert_int_equal(dray_session_parse(text, len, true, &s, &problems), -22);
	assert_int_equal(problems.n, 5000);
	assert_int_equal(problems.items[4999].line, 2 + 10000 * 3 + 5000);
	dray_problems_free(&problems);
	dray_session_free(s);
	for (char *p = text; (p = strstr(p, "  bad: 1\n"));)
		memcpy(p, "#        ", 8);
	assert_int_equal(dray_session_parse(text, len, true, &s, &problems), 0);
	assert_int_equal(s->n_pairs, 10000);
	free(text);
	text = dray_session_to_yaml(s);
	struct dray_session *again;
	assert_int_equal(dray_session_parse(text, strlen(text), false, &again, &problems), 0);
	/* Generous: a sanitizer build on a busy machine; what grows with the square of the pairs takes minutes. */
	assert_true(seconds() - t < 20);
	free(text);
	dray_session_free(s);
	dray_session_free(again);
}

static void refused(const char *text, size_t len, const char *code)
{
	struct dray_problems problems = DRAY_PROBLEMS_INIT;
	struct dray_session *s;
	assert_int_equal(dray_session_parse(text, len, true, &s, &problems), -22);
	assert_string_equal(problems.items[0].code, code);
	dray_problems_free(&problems);
}

static void billion_laughs(void **state)
{
	char text[4096], *p = text;
	p += sprintf(p, "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
	for (int i = 1; i < 12; i++)
		p += sprintf(p, "a%d: &a%d [*a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d]\n", i, i, i - 1, i - 1,
			i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1);
	double t = seconds();
	refused(text, strlen(text), "too_large");
	assert_true(seconds() - t < 20);
}

static void too_deep(void **state)
{
	char text[2001];
	memset(text, '[', 2000);
	text[2000] = 0;
	struct dray_problems problems = DRAY_PROBLEMS_INIT;
	struct dray_session *s;
	assert_int_equal(dray_session_parse(text, 2000, true, &s, &problems), -22);
	dray_problems_free(&problems);
	refused("name: [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]\n", 72, "too_large");
}

static void too_large(void **state)
{
	size_t len = DRAY_DOCUMENT_MAX_BYTES + 1;
	char *text = malloc(len);
	assert_non_null(text);
	memset(text, '#', len);
	refused(text, len, "too_large");
	/* Just small enough, on one line and all of it values: as YAML, then as JSON. */
	for (size_t i = 0; i + 1 < len; i += 2)
		memcpy(text + i, "0,", 2);
	memcpy(text, "[1", 2);
	refused(text, len - 1, "too_large");
	memcpy(text, " {\"\":[0", 7);
	refused(text, len - 1, "too_large");
	free(text);
}

/* Nothing that stands behind what a reader takes for the end is ignored. */
static void nothing_behind_the_end(void **state)
{
	char text[200];
	for (int c = 0; c < 256; c++)
		for (int line = 0; line < 2; line++) {
			int n = sprintf(text, "name: x\npairs: [{source: volume:v, target: /t}]%s", line ? "\n" : "");
			text[n] = (char)c;
			n += 1 + sprintf(text + n + 1, " bogus: [");
			if (c != '#') /* a comment */
				refused(text, (size_t)n, "syntax");
			n = sprintf(text, "{\"name\": \"x\", \"pairs\": [{\"source\": \"volume:v\", \"target\": \"/t\"}]}%s", line ? "\n" : "");
			text[n] = (char)c;
			n += 1 + sprintf(text + n + 1, " \"bogus\"");
			refused(text, (size_t)n, "syntax");
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ten_thousand_pairs),
		cmocka_unit_test(billion_laughs),
		cmocka_unit_test(too_deep),
		cmocka_unit_test(too_large),
		cmocka_unit_test(nothing_behind_the_end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
