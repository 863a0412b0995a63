/* SPDX-License-Identifier: BSD-3-Clause */
/* The documents that dray-session(5) shows are documents. */
#include "session/session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void examples(void **state)
{
	const char *source = getenv("DRAY_SOURCE");
	char path[4096], line[512], text[4096] = "";
	unsigned found = 0;
	bool inside = false;
	if (!source) {
		print_message("DRAY_SOURCE is not set\n");
		skip();
	}
	snprintf(path, sizeof path, "%s/man/dray-session.5", source);
	FILE *f = fopen(path, "r");
	assert_non_null(f);
	while (fgets(line, sizeof line, f)) {
		if (!strncmp(line, ".Bd -literal", 12)) {
			inside = true;
			*text = 0;
		} else if (inside && !strncmp(line, ".Ed", 3)) {
			struct dray_problems problems = DRAY_PROBLEMS_INIT;
			struct dray_session *s;
			inside = false;
			found++;
			if (dray_session_parse(text, strlen(text), true, &s, &problems))
				fail_msg("line %u: %s\n%s", problems.items[0].line, problems.items[0].detail, text);
			dray_session_free(s);
		} else if (inside) {
			assert_true(strlen(text) + strlen(line) < sizeof text);
			strcat(text, line);
		}
	}
	fclose(f);
	assert_int_equal(found, 6);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(examples),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
