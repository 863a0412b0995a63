/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reading JSON, with the line of each part.
 *
 * JSON is YAML and the YAML reader would do, but programs write JSON on one line, and libfyaml holds a line's tokens
 * in memory all at once: 16 MiB of text became gigabytes. Here brackets, commas and lines are followed, and each scalar is
 * left to jansson. Numbers that jansson's integers can't hold become text, as in YAML.
 */
#include "session/reader.h"
#include "session/reading.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct scan {
	struct dray_reading *r;
	const char *p, *end;
	unsigned line;
};

static void skip_space(struct scan *s)
{
	for (; s->p < s->end && strchr(" \t\r\n", *s->p) && *s->p; s->p++)
		s->line += *s->p == '\n';
}

static bool next_is(struct scan *s, char c)
{
	skip_space(s);
	if (s->p == s->end || *s->p != c)
		return false;
	s->p++;
	return true;
}

static int bad(struct scan *s, const char *detail)
{
	return dray_reading_refuse(s->r, s->line, "syntax", NULL, detail);
}

/* The end of the scalar that begins here; for a text behind its closing quote. */
static const char *scalar_end(const struct scan *s)
{
	const char *p = s->p;
	if (*p != '"') {
		while (p < s->end && !strchr(" \t\r\n,:[]{}\"", *p))
			p++;
		return p;
	}
	for (p++; p < s->end && *p != '"' && *p != '\n'; p++)
		if (*p == '\\' && p + 1 < s->end)
			p++;
	return p < s->end && *p == '"' ? p + 1 : p;
}

static json_t *read_scalar(struct scan *s)
{
	const char *end = scalar_end(s);
	size_t len = (size_t)(end - s->p);
	json_error_t err;
	if (dray_reading_spend(s->r, s->line, 1, len))
		return NULL;
	json_t *v = json_loadb(s->p, len, JSON_DECODE_ANY, &err);
	if (!v && json_error_code(&err) == json_error_numeric_overflow)
		v = json_stringn(s->p, len);
	if (!v && (json_error_code(&err) == json_error_null_character || json_error_code(&err) == json_error_invalid_utf8))
		dray_reading_refuse(s->r, s->line, "syntax", "UTF-8 without NUL characters", "the text is not valid UTF-8, or holds a NUL");
	else if (!v)
		bad(s, len ? "this is not JSON" : "a value is missing here");
	s->p = end;
	return v;
}

static int read_value(struct scan *s, unsigned depth, json_t **value, struct dray_lines *lines);

static int read_array(struct scan *s, unsigned depth, json_t *list, struct dray_lines *lines)
{
	if (next_is(s, ']'))
		return 0;
	do {
		json_t *v = NULL;
		struct dray_lines l = { 0 };
		size_t before = dray_pointer_index(&s->r->at, json_array_size(list));
		int rc = read_value(s, depth, &v, &l);
		if (!rc)
			rc = json_array_append_new(list, v) || dray_lines_add(lines, l) ? -ENOMEM : 0;
		if (rc)
			return rc;
		dray_pointer_cut(&s->r->at, before);
	} while (next_is(s, ','));
	return next_is(s, ']') ? 0 : bad(s, "a list goes on with ',' or ends with ']'");
}

static int read_object(struct scan *s, unsigned depth, json_t *object, struct dray_lines *lines)
{
	if (next_is(s, '}'))
		return 0;
	do {
		skip_space(s);
		unsigned line = s->line;
		if (s->p == s->end || *s->p != '"')
			return bad(s, "a key in double quotes is missing here");
		json_t *key = read_scalar(s);
		if (!key)
			return -EINVAL;
		json_t *v = NULL;
		struct dray_lines l = { 0 };
		size_t before = dray_pointer_key(&s->r->at, json_string_value(key));
		int rc = next_is(s, ':') ? read_value(s, depth, &v, &l) : bad(s, "a key is followed by ':'");
		if (!rc)
			rc = dray_reading_member(s->r, object, lines, json_string_value(key), line, v, l);
		json_decref(key);
		if (rc)
			return rc;
		dray_pointer_cut(&s->r->at, before);
	} while (next_is(s, ','));
	return next_is(s, '}') ? 0 : bad(s, "a map goes on with ',' or ends with '}'");
}

static int read_value(struct scan *s, unsigned depth, json_t **value, struct dray_lines *lines)
{
	skip_space(s);
	*lines = (struct dray_lines){ .line = s->line };
	int rc = 0;
	if (s->p == s->end)
		return bad(s, "the document ends too early");
	if (*s->p == '[' || *s->p == '{') {
		bool list = *s->p++ == '[';
		rc = dray_reading_spend(s->r, s->line, 1, 0);
		if (!rc && depth == DRAY_READING_MAX_DEPTH)
			rc = dray_reading_refuse(s->r, s->line, "too_large", "at most 32 levels", "the document nests too deeply");
		*value = list ? json_array() : json_object();
		if (!rc)
			rc = list ? read_array(s, depth + 1, *value, lines) : read_object(s, depth + 1, *value, lines);
	} else {
		*value = read_scalar(s);
		rc = *value ? 0 : -EINVAL;
	}
	if (rc) {
		json_decref(*value);
		*value = NULL;
		dray_lines_clear(lines);
	}
	return rc;
}

bool dray_json_looks_like(const char *text, size_t len)
{
	struct scan s = { .p = text, .end = text + len };
	if (!next_is(&s, '{'))
		return false;
	skip_space(&s);
	return s.p < s.end && (*s.p == '"' || *s.p == '}');
}

int dray_json_read(struct dray_reading *r, const char *text, size_t len, json_t **value, struct dray_lines *lines)
{
	struct scan s = { .r = r, .p = text, .end = text + len, .line = 1 };
	int rc = read_value(&s, 0, value, lines);
	if (rc)
		return rc;
	skip_space(&s);
	return s.p == s.end ? 0 : bad(&s, "there is more behind the document's end");
}
