/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Any bytes as a session document. Whatever is accepted must print and read back as the same document, and every
 * refusal must say why. The last byte, if it is odd, has the document read as `dray apply` does.
 */
#include "session/session.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dray_problems problems = DRAY_PROBLEMS_INIT;
	struct dray_session *s, *again;
	bool strict = !size || !(data[size - 1] & 1);
	if (dray_session_parse((const char *)data, size, strict, &s, &problems)) {
		assert(problems.n > 0);
		if (s)
			dray_session_add_lines(s, &problems);
		dray_session_free(s);
		json_decref(dray_problems_to_json(&problems));
		dray_problems_free(&problems);
		return 0;
	}
	assert(problems.n == 0);
	char *yaml = dray_session_to_yaml(s);
	int rc = dray_session_parse(yaml, strlen(yaml), false, &again, &problems);
	assert(!rc);
	free(yaml);
	json_t *saved = dray_session_save(s);
	dray_session_free(again);
	rc = dray_session_load(saved, &again);
	assert(!rc && json_equal(s->doc, again->doc));
	json_decref(saved);
	dray_session_free(again);
	dray_session_free(s);
	return 0;
}
