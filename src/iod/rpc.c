/* SPDX-License-Identifier: BSD-3-Clause */
#include "iod/rpc.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* clang-format off */
#define PARAMS(...) (const struct iod_rpc_param[]){ __VA_ARGS__ __VA_OPT__(,) { NULL, IOD_P_STRING, false } }
#define MUST true
#define MAY  false

const struct iod_rpc_method iod_rpc_methods[] = {
	{ "hello", PARAMS({ "version", IOD_P_COUNT, MUST }) },
	{ "status", PARAMS() },
	{ "volume.add", PARAMS({ "name", IOD_P_STRING, MUST }, { "resource", IOD_P_RESOURCE, MUST },
		{ "hidden", IOD_P_BOOL, MAY }, { "read_only", IOD_P_BOOL, MAY }, { "block_bytes", IOD_P_COUNT, MAY }, { "identity", IOD_P_STRING, MAY },
		{ "boot_id", IOD_P_STRING, MAY }, { "vouch", IOD_P_BOOL, MAY }) },
	{ "volume.remove", PARAMS({ "name", IOD_P_STRING, MUST }, { "force", IOD_P_BOOL, MAY }) },
	{ "volume.accept", PARAMS({ "name", IOD_P_STRING, MUST }) },
	{ "volume.list", PARAMS({ "since", IOD_P_STRING, MAY }) },
	{ "volume.get", PARAMS({ "name", IOD_P_STRING, MUST }) },
	{ "leg.attach", PARAMS({ "volume", IOD_P_STRING, MUST }, { "resource", IOD_P_RESOURCE, MUST },
		{ "role", IOD_P_ROLE, MAY }, { "create", IOD_P_CREATE, MAY }, { "durable", IOD_P_BOOL, MAY },
		{ "paused", IOD_P_BOOL, MAY }, { "tag", IOD_P_STRING, MAY }, { "identity", IOD_P_STRING, MAY },
		{ "boot_id", IOD_P_STRING, MAY }, { "vouch", IOD_P_BOOL, MAY }) },
	{ "leg.detach", PARAMS({ "volume", IOD_P_STRING, MUST }, { "leg", IOD_P_COUNT, MUST }) },
	{ "leg.pause", PARAMS({ "volume", IOD_P_STRING, MUST }, { "leg", IOD_P_COUNT, MUST },
		{ "paused", IOD_P_BOOL, MUST }, { "detach", IOD_P_BOOL, MAY }) },
	{ "leg.retry", PARAMS({ "volume", IOD_P_STRING, MUST }, { "leg", IOD_P_COUNT, MUST }, { "vouch", IOD_P_BOOL, MAY }) },
	{ "copy.set", PARAMS({ "volume", IOD_P_STRING, MUST }, { "step_bytes", IOD_P_LIMIT, MAY },
		{ "steps", IOD_P_LIMIT, MAY }, { "in_flight_bytes", IOD_P_LIMIT, MAY }, { "rate", IOD_P_LIMIT, MAY },
		{ "rate_now", IOD_P_LIMIT, MAY }, { "io_level", IOD_P_LIMIT, MAY },
		{ "app_latency_us", IOD_P_LIMIT, MAY }, { "leg_timeout_ms", IOD_P_LIMIT, MAY }) },
	{ "switch", PARAMS({ "members", IOD_P_SWITCHES, MUST }, { "deadline_ms", IOD_P_COUNT, MUST },
		{ "token", IOD_P_STRING, MUST }, { "commit", IOD_P_BOOL, MAY }) },
	{ "switch.status", PARAMS({ "token", IOD_P_STRING, MUST }) },
	{ "split", PARAMS({ "members", IOD_P_SPLITS, MUST }, { "deadline_ms", IOD_P_COUNT, MUST },
		{ "token", IOD_P_STRING, MUST }, { "keep", IOD_P_BOOL, MAY }) },
	{ "commit", PARAMS({ "volume", IOD_P_STRING, MUST }, { "leg", IOD_P_COUNT, MUST }) },
	{ "verify.start", PARAMS({ "volume", IOD_P_STRING, MUST }, { "leg", IOD_P_COUNT, MUST },
		{ "sample", IOD_P_COUNT, MAY }, { "repair", IOD_P_BOOL, MAY }) },
	{ "verify.stop", PARAMS({ "volume", IOD_P_STRING, MUST }, { "leg", IOD_P_COUNT, MUST }) },
	{ "log.level", PARAMS({ "level", IOD_P_STRING, MUST }) },
	{ "events.subscribe", PARAMS() },
	{ "shutdown", PARAMS({ "force", IOD_P_BOOL, MAY }) },
	{ NULL, NULL },
};

static const struct iod_rpc_param resource_members[] = {
	{ "resource", IOD_P_STRING, MUST }, { "offset", IOD_P_COUNT, MAY }, { "length", IOD_P_COUNT, MAY }, { NULL, 0, 0 },
};
static const struct iod_rpc_param switch_members[] = {
	{ "volume", IOD_P_STRING, MUST }, { "leg", IOD_P_COUNT, MUST }, { "epoch", IOD_P_COUNT, MUST },
	{ "accept_bad_bytes", IOD_P_COUNT, MAY }, { "force", IOD_P_BOOL, MAY }, { NULL, 0, 0 },
};
/* clang-format on */

static bool type_ok(enum iod_param_type type, json_t *v, const char *name, struct dray_error *err);

static bool __attribute__((format(printf, 2, 3))) bad(struct dray_error *err, const char *fmt, ...)
{
	char text[200];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	dray_error_kind(err, -EINVAL, "syntax", "%s", text);
	return false;
}

/* 0 or IOD_RPC_BAD_PARAMS. */
static int check_params(json_t *params, const struct iod_rpc_param *table, struct dray_error *err)
{
	const char *key;
	json_t *value;
	json_object_foreach(params, key, value)
	{
		const struct iod_rpc_param *p = table;
		while (p->name && strcmp(p->name, key) != 0)
			p++;
		if (!p->name) {
			dray_error_kind(err, -EINVAL, "syntax", "unknown parameter \"%.64s\"", key);
			return IOD_RPC_BAD_PARAMS;
		}
		if (!type_ok(p->type, value, key, err))
			return IOD_RPC_BAD_PARAMS;
	}
	for (const struct iod_rpc_param *p = table; p->name; p++)
		if (p->required && !json_object_get(params, p->name)) {
			bad(err, "parameter \"%s\" is missing", p->name);
			return IOD_RPC_BAD_PARAMS;
		}
	return 0;
}

static bool one_of(json_t *v, const char *const *words)
{
	const char *s = json_string_value(v);
	for (; s && *words; words++)
		if (strcmp(s, *words) == 0)
			return true;
	return false;
}

static bool text_ok(json_t *v)
{
	/* A zero byte inside would make two different strings look the same further down. */
	return json_is_string(v) && strlen(json_string_value(v)) == json_string_length(v) &&
		json_string_length(v) < 4096;
}

static bool splits_ok(json_t *list, struct dray_error *err)
{
	size_t i, k;
	json_t *member, *leg, *value;
	const char *key;
	json_array_foreach(list, i, member)
	{
		json_t *legs = json_object_get(member, "legs");
		if (!text_ok(json_object_get(member, "volume")) || !json_is_array(legs) || !json_array_size(legs))
			return bad(err, "members: each needs \"volume\" and \"legs\"");
		json_array_foreach(legs, k, leg)
			if (!json_is_integer(leg) || json_integer_value(leg) < 1)
				return bad(err, "members: \"legs\" are leg ids");
		json_object_foreach(member, key, value)
			if (strcmp(key, "accept_bad_bytes") == 0 && (!json_is_integer(value) || json_integer_value(value) < 0))
				return bad(err, "members: \"accept_bad_bytes\" is not a whole number");
			else if (strcmp(key, "volume") != 0 && strcmp(key, "legs") != 0 && strcmp(key, "accept_bad_bytes") != 0)
				return bad(err, "members: unknown parameter \"%.64s\"", key);
	}
	return true;
}

static bool type_ok(enum iod_param_type type, json_t *v, const char *name, struct dray_error *err)
{
	static const char *const roles[] = { "successor", "copy", NULL };
	static const char *const creates[] = { "none", "thin", "full", NULL };
	size_t i;
	json_t *member;

	switch (type) {
	case IOD_P_STRING:
		return text_ok(v) || bad(err, "parameter \"%s\" is not a string of at most 4095 bytes", name);
	case IOD_P_BOOL:
		return json_is_boolean(v) || bad(err, "parameter \"%s\" is not true or false", name);
	case IOD_P_LIMIT:
		if (json_is_null(v))
			return true;
		/* fall through */
	case IOD_P_COUNT:
		return (json_is_integer(v) && json_integer_value(v) >= 0) ||
			bad(err, "parameter \"%s\" is not a whole number", name);
	case IOD_P_RESOURCE:
		if (json_is_object(v))
			return check_params(v, resource_members, err) == 0;
		return text_ok(v) || bad(err, "parameter \"%s\" is neither a name nor a slice of one", name);
	case IOD_P_ROLE:
		return one_of(v, roles) || bad(err, "parameter \"%s\" is not \"successor\" or \"copy\"", name);
	case IOD_P_CREATE:
		return one_of(v, creates) || bad(err, "parameter \"%s\" is not \"none\", \"thin\" or \"full\"", name);
	case IOD_P_SWITCHES:
	case IOD_P_SPLITS:
		if (!json_is_array(v) || !json_array_size(v))
			return bad(err, "parameter \"%s\" is not a list", name);
		if (type == IOD_P_SPLITS)
			return splits_ok(v, err);
		json_array_foreach(v, i, member)
		{
			if (!json_is_object(member))
				return bad(err, "parameter \"%s\": not a list of objects", name);
			if (check_params(member, switch_members, err)) {
				dray_error_prepend(err, "%s", name);
				return false;
			}
		}
		return true;
	}
	return false;
}

int iod_rpc_parse(const char *line, size_t length, struct iod_rpc_request *req, struct dray_error *err)
{
	memset(req, 0, sizeof *req);
	json_error_t why;
	json_t *root = json_loadb(line, length, JSON_REJECT_DUPLICATES, &why);
	if (!root) {
		dray_error_kind(err, -EINVAL, "syntax", "not JSON: %.160s", why.text);
		return IOD_RPC_PARSE;
	}
	int code = IOD_RPC_INVALID;
	json_t *id = json_object_get(root, "id"), *params = json_object_get(root, "params");
	const char *version = json_string_value(json_object_get(root, "jsonrpc"));
	const char *method = json_string_value(json_object_get(root, "method"));
	if (json_is_string(id) || json_is_integer(id) || json_is_real(id) || json_is_null(id))
		req->id = json_incref(id);
	if (!json_is_object(root)) {
		bad(err, "a request is one object a line");
	} else if (!version || strcmp(version, "2.0") != 0) {
		bad(err, "\"jsonrpc\" is not \"2.0\"");
	} else if (!method) {
		bad(err, "\"method\" is missing");
	} else if (id && !req->id) {
		bad(err, "\"id\" is neither a string nor a number");
	} else if (params && !json_is_object(params)) {
		code = IOD_RPC_BAD_PARAMS;
		bad(err, "\"params\" is not an object");
	} else {
		const struct iod_rpc_method *m = iod_rpc_methods;
		while (m->name && strcmp(m->name, method) != 0)
			m++;
		code = IOD_RPC_NO_METHOD;
		if (!m->name) {
			dray_error_kind(err, -ENOSYS, "unsupported", "no such call: \"%.64s\"", method);
		} else {
			req->method = m;
			req->params = params ? json_incref(params) : json_object();
			code = req->params ? check_params(req->params, m->params, err) : IOD_RPC_FAILED;
			if (code)
				dray_error_prepend(err, "%s", m->name);
		}
	}
	json_decref(root);
	return code;
}

void iod_rpc_request_clear(struct iod_rpc_request *req)
{
	json_decref(req->id);
	json_decref(req->params);
	memset(req, 0, sizeof *req);
}

int iod_rpc_code(const struct dray_error *err)
{
	static const struct {
		const char *kind;
		int code;
	} codes[] = {
		{ "not_found", IOD_RPC_NOT_FOUND },
		{ "busy", IOD_RPC_NOT_LEGAL },
		{ "stale_token", IOD_RPC_NOT_LEGAL },
		{ "connected", IOD_RPC_NOT_LEGAL },
		{ "not_served", IOD_RPC_NOT_LEGAL },
		{ "dirty", IOD_RPC_NOT_LEGAL },
		{ "degraded", IOD_RPC_NOT_LEGAL },
		{ "unsettled", IOD_RPC_NOT_LEGAL },
		{ "in_doubt", IOD_RPC_NOT_LEGAL },
		{ "exists", IOD_RPC_REFUSED },
		{ "bad_name", IOD_RPC_REFUSED },
		{ "bad_resource", IOD_RPC_REFUSED },
		{ "not_accessible", IOD_RPC_REFUSED },
		{ "read_only", IOD_RPC_REFUSED },
		{ "held", IOD_RPC_REFUSED },
		{ "too_small", IOD_RPC_REFUSED },
		{ "block_size", IOD_RPC_REFUSED },
		{ "unreachable", IOD_RPC_REFUSED },
		{ "self_export", IOD_RPC_REFUSED },
		{ "unsupported", IOD_RPC_REFUSED },
		{ "syntax", IOD_RPC_BAD_PARAMS },
		{ "deadline", IOD_RPC_ROLLED_BACK },
		{ "flush_failed", IOD_RPC_ROLLED_BACK },
		{ "record_busy", IOD_RPC_ROLLED_BACK },
	};
	for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
		if (strcmp(codes[i].kind, err->kind) == 0)
			return codes[i].code;
	return IOD_RPC_FAILED;
}

static char *to_line(json_t *root)
{
	char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;
	json_decref(root);
	if (!text)
		return NULL;
	size_t n = strlen(text);
	char *line = realloc(text, n + 2);
	if (!line) {
		free(text);
		return NULL;
	}
	memcpy(line + n, "\n", 2);
	return line;
}

char *iod_rpc_answer(json_t *id, json_t *result)
{
	return to_line(json_pack("{s:s s:o s:o}", "jsonrpc", "2.0", "id", id ? json_incref(id) : json_null(), "result",
		result));
}

char *iod_rpc_error(json_t *id, int code, const struct dray_error *err, json_t *data)
{
	if (!data)
		data = json_object();
	json_object_set_new(data, "kind", json_string(err->kind[0] ? err->kind : "failed"));
	json_object_set_new(data, "errno", json_integer(err->code));
	/* The text may hold bytes of a file's name that are not UTF-8. */
	json_t *text = json_string(err->text);
	if (!text)
		text = json_string("(a message that is not UTF-8)");
	return to_line(json_pack("{s:s s:o s:{s:i s:o s:o}}", "jsonrpc", "2.0", "id", id ? json_incref(id) : json_null(),
		"error", "code", code, "message", text, "data", data));
}

char *iod_rpc_notification(const char *method, json_t *params)
{
	return to_line(json_pack("{s:s s:s s:o}", "jsonrpc", "2.0", "method", method, "params", params));
}
