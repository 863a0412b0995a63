/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Any bytes as a line on the control socket. Checked beside memory safety: a line that is taken names a call of the table and
 * has its required parameters; one that is refused gives an error that can be answered, as one line.
 */
#include "iod/rpc.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_line(char *line)
{
	size_t n = strlen(line);
	assert(n > 1 && line[n - 1] == '\n' && !memchr(line, '\n', n - 1));
	json_t *back = json_loadb(line, n, 0, NULL);
	assert(back && json_object_get(back, "id"));
	json_decref(back);
	free(line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct iod_rpc_request req;
	struct dray_error err = DRAY_ERROR_INIT;
	int code = iod_rpc_parse((const char *)data, size, &req, &err);
	if (code) {
		assert(code < 0 && err.text[0]);
		char *line = iod_rpc_error(req.id, code, &err, NULL);
		assert(line);
		check_line(line);
	} else {
		assert(req.method && json_is_object(req.params));
		for (const struct iod_rpc_param *p = req.method->params; p->name; p++)
			assert(!p->required || json_object_get(req.params, p->name));
		char *line = iod_rpc_answer(req.id, json_object());
		assert(line);
		check_line(line);
	}
	iod_rpc_request_clear(&req);
	return 0;
}
