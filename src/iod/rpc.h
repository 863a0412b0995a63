/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * JSON-RPC 2.0, one object a line: from bytes to a checked call, and answers back to bytes. Pure: no socket, no state; a fuzz
 * target feeds it.
 */
#ifndef DRAY_IOD_RPC_H
#define DRAY_IOD_RPC_H

#include "base/error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#define IOD_RPC_LINE_MOST (4u << 20) /* a switch of ten thousand volumes with long names has some two */

enum iod_rpc_code {
	IOD_RPC_PARSE = -32700,
	IOD_RPC_INVALID = -32600,
	IOD_RPC_NO_METHOD = -32601,
	IOD_RPC_BAD_PARAMS = -32602,
	IOD_RPC_FAILED = -32000,
	IOD_RPC_NOT_FOUND = -32001,
	IOD_RPC_NOT_LEGAL = -32002,
	IOD_RPC_REFUSED = -32003,
	IOD_RPC_ROLLED_BACK = -32004,
};

enum iod_param_type {
	IOD_P_STRING,
	IOD_P_BOOL,
	IOD_P_COUNT,      /* integer >= 0 */
	IOD_P_LIMIT,      /* integer >= 0, or null */
	IOD_P_RESOURCE,   /* string, or {resource, offset, length} */
	IOD_P_ROLE,       /* "successor" or "copy" */
	IOD_P_CREATE,     /* "none", "thin" or "full" */
	IOD_P_SWITCHES,   /* [{volume, leg, epoch}], at least one */
	IOD_P_SPLITS,     /* [{volume, legs: [..]}], at least one */
};

struct iod_rpc_param {
	const char *name; /* NULL ends a table */
	enum iod_param_type type;
	bool required;
};

struct iod_rpc_method {
	const char *name; /* NULL ends the table */
	const struct iod_rpc_param *params;
};
extern const struct iod_rpc_method iod_rpc_methods[];

struct iod_rpc_request {
	json_t *id;     /* owned; NULL: a notification, which gets no answer */
	json_t *params; /* owned; always an object */
	const struct iod_rpc_method *method;
};

/* Understands one line. 0, or a JSON-RPC code with `err->text`; then `req->id` is what the answer carries (owned; NULL:
 * null). IOD_RPC_PARSE alone means that the connection is to be closed. */
int iod_rpc_parse(const char *line, size_t length, struct iod_rpc_request *req, struct dray_error *err);
void iod_rpc_request_clear(struct iod_rpc_request *req);

/* The code for an error's kind. */
int iod_rpc_code(const struct dray_error *err);

/* Lines ended by \n, malloc'd; NULL: no memory. `result`, `data` are taken over; `id` is only read and may be NULL. */
char *iod_rpc_answer(json_t *id, json_t *result);
char *iod_rpc_error(json_t *id, int code, const struct dray_error *err, json_t *data);
char *iod_rpc_notification(const char *method, json_t *params);

#endif
