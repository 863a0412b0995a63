/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reading YAML.
 *
 * libfyaml's events are turned into jansson values and, beside them, a tree of lines of the same shape. What a text can
 * make us do is bounded before it is done:
 *
 *  - its size (DRAY_DOCUMENT_MAX_BYTES), its longest line (libfyaml keeps all of a line's tokens, some hundred bytes each, at
 *    once), how deep it nests, how many values it holds;
 *  - aliases are copied where they stand, and each copy counts like text that was written out: a "billion laughs"
 *    document hits the same limit as one of that size. An alias to what surrounds it is not known yet, so there are no
 *    cycles.
 *
 * Plain scalars are null, true, false, decimal integers and decimal fractions as YAML 1.2's core schema has them; all
 * else is text. Numbers that a 64-bit integer can't hold, that begin with a zero (007) or are not decimal stay text, so
 * that nothing is printed in another way than it was written. Tags, and keys that are not scalars, are refused.
 */
#include "session/reader.h"
#include "session/reading.h"

#include <assert.h>
#include <errno.h>
#include <libfyaml.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define MAX_VALUES  2000000
#define MAX_BYTES   (UINT64_C(64) << 20) /* of text, copies by aliases counted */
#define MAX_ANCHORS 1000
#define MAX_LINE    (1u << 20)

struct anchor {
	char *name;
	json_t *value;
	struct dray_lines lines;
	uint64_t values, bytes; /* what a copy costs */
};

struct reader {
	struct dray_reading common;
	struct fy_parser *parser;
	struct anchor *anchors;
	size_t n_anchors;
};

void dray_lines_clear(struct dray_lines *lines)
{
	for (unsigned i = 0; i < lines->n; i++)
		dray_lines_clear(&lines->child[i]);
	free(lines->child);
	lines->child = NULL;
	lines->n = 0;
}

void dray_lines_free(struct dray_lines *lines)
{
	if (!lines)
		return;
	dray_lines_clear(lines);
	free(lines);
}

/* Takes over `child`. */
int dray_lines_add(struct dray_lines *lines, struct dray_lines child)
{
	if (!(lines->n & (lines->n - 1))) {
		struct dray_lines *grown =
			realloc(lines->child, (lines->n ? (size_t)lines->n * 2 : 1) * sizeof *grown);
		if (!grown) {
			dray_lines_clear(&child);
			return -ENOMEM;
		}
		lines->child = grown;
	}
	lines->child[lines->n++] = child;
	return 0;
}

/* Room for just what is there: a copy never grows. */
static int lines_copy(struct dray_lines *to, const struct dray_lines *from)
{
	*to = (struct dray_lines){ .line = from->line };
	if (!from->n)
		return 0;
	to->child = calloc(from->n, sizeof *to->child);
	if (!to->child)
		return -ENOMEM;
	for (unsigned i = 0; i < from->n; i++) {
		to->n = i + 1;
		if (lines_copy(&to->child[i], &from->child[i])) {
			dray_lines_clear(to);
			return -ENOMEM;
		}
	}
	return 0;
}

int dray_reading_refuse(struct dray_reading *r, unsigned line, const char *code, const char *legal, const char *detail)
{
	dray_problems_add(r->problems, dray_pointer_text(&r->at), line, code, NULL, legal, "%s", detail);
	return -EINVAL;
}

int dray_reading_spend(struct dray_reading *r, unsigned line, uint64_t values, uint64_t bytes)
{
	r->values += values;
	r->bytes += bytes;
	if (r->values <= MAX_VALUES && r->bytes <= MAX_BYTES)
		return 0;
	return dray_reading_refuse(r, line, "too_large", "at most 2000000 values and 64 MiB of text, aliases written out",
		"the document holds too much");
}

int dray_reading_member(struct dray_reading *r, json_t *object, struct dray_lines *lines, const char *key, unsigned line,
	json_t *value, struct dray_lines l)
{
	if (json_object_get(object, key)) {
		dray_reading_refuse(r, line, "duplicate", "each key once", "this key is there already");
		json_decref(value);
		dray_lines_clear(&l);
		return 0;
	}
	l.line = line;
	return json_object_set_new(object, key, value) || dray_lines_add(lines, l) ? -ENOMEM : 0;
}

static int refuse(struct reader *r, unsigned line, const char *code, const char *legal, const char *detail)
{
	return dray_reading_refuse(&r->common, line, code, legal, detail);
}

static unsigned line_of(struct fy_event *event)
{
	const struct fy_mark *mark = fy_event_start_mark(event);
	return mark && mark->line >= 0 ? (unsigned)mark->line + 1 : 0;
}

static int spend(struct reader *r, unsigned line, uint64_t values, uint64_t bytes)
{
	return dray_reading_spend(&r->common, line, values, bytes);
}

/* Text that can be a JSON string: UTF-8 without NUL. */
static json_t *text_value(struct reader *r, unsigned line, const char *s, size_t len)
{
	json_t *j = memchr(s, 0, len) ? NULL : json_stringn(s, len);
	if (!j)
		refuse(r, line, "syntax", "UTF-8 without NUL characters", "the text is not valid UTF-8, or holds a NUL");
	return j;
}

static size_t digits(const char *s, size_t len)
{
	size_t n = 0;
	while (n < len && s[n] >= '0' && s[n] <= '9')
		n++;
	return n;
}

static bool word_is(const char *s, size_t len, const char *a, const char *b, const char *c)
{
	return (strlen(a) == len && !memcmp(s, a, len)) || (strlen(b) == len && !memcmp(s, b, len)) ||
		(strlen(c) == len && !memcmp(s, c, len));
}

/* A number, or NULL if it is to stay text. */
static json_t *number_value(const char *s, size_t len)
{
	char buf[64];
	if (!len || len >= sizeof buf)
		return NULL;
	memcpy(buf, s, len);
	buf[len] = 0;
	size_t sign = s[0] == '-', whole = digits(s + sign, len - sign), i = sign + whole;
	if (!whole || (whole > 1 && s[sign] == '0'))
		return NULL;
	if (i == len) {
		errno = 0;
		long long v = strtoll(buf, NULL, 10);
		return errno || (sign && !v) ? NULL : json_integer(v);
	}
	if (s[i] == '.') {
		size_t part = digits(s + i + 1, len - i - 1);
		if (!part)
			return NULL;
		i += 1 + part;
	}
	if (i < len && (s[i] == 'e' || s[i] == 'E')) {
		i++;
		if (i < len && (s[i] == '+' || s[i] == '-'))
			i++;
		size_t part = digits(s + i, len - i);
		if (!part)
			return NULL;
		i += part;
	}
	return i == len ? json_real(strtod(buf, NULL)) : NULL; /* jansson refuses infinity: text then */
}

static json_t *scalar_value(struct reader *r, struct fy_event *event, unsigned line)
{
	size_t len = 0;
	const char *s = event->scalar.value ? fy_token_get_text(event->scalar.value, &len) : "";
	if (!s) {
		s = "";
		len = 0;
	}
	if (spend(r, line, 1, len))
		return NULL;
	if (fy_event_get_node_style(event) == FYNS_PLAIN || !event->scalar.value) {
		if (!len || word_is(s, len, "null", "Null", "NULL") || (len == 1 && *s == '~'))
			return json_null();
		if (word_is(s, len, "true", "True", "TRUE"))
			return json_true();
		if (word_is(s, len, "false", "False", "FALSE"))
			return json_false();
		json_t *j = number_value(s, len);
		if (j)
			return j;
	}
	return text_value(r, line, s, len);
}

static int syntax_error(struct reader *r)
{
	void *iter = NULL;
	struct fy_diag *diag = fy_parser_get_diag(r->parser);
	struct fy_diag_error *e = diag ? fy_diag_errors_iterate(diag, &iter) : NULL;
	unsigned line = e && e->line > 0 ? (unsigned)e->line : 0;
	int rc = refuse(r, line, "syntax", NULL, e && e->msg ? e->msg : "this is neither YAML nor JSON");
	fy_diag_unref(diag);
	return rc;
}

/* The next event, or NULL with a problem. */
static struct fy_event *next_event(struct reader *r)
{
	struct fy_event *event = fy_parser_parse(r->parser);
	if (!event)
		syntax_error(r);
	return event;
}

static int alias_value(struct reader *r, struct fy_event *event, unsigned line, json_t **value, struct dray_lines *lines)
{
	size_t len = 0;
	const char *name = fy_token_get_text(event->alias.anchor, &len);
	for (size_t i = r->n_anchors; name && i-- > 0;) { /* the latest of that name */
		const struct anchor *a = &r->anchors[i];
		if (strlen(a->name) != len || memcmp(a->name, name, len))
			continue;
		int rc = spend(r, line, a->values, a->bytes);
		if (rc)
			return rc;
		rc = lines_copy(lines, &a->lines);
		if (rc)
			return rc;
		lines->line = line;
		*value = json_deep_copy(a->value);
		return *value ? 0 : -ENOMEM;
	}
	return refuse(r, line, "syntax", "an anchor that was written out before", "the alias names no anchor, or one around itself");
}

static int remember_anchor(struct reader *r, struct fy_token *token, unsigned line, json_t *value,
	const struct dray_lines *lines, uint64_t values, uint64_t bytes)
{
	size_t len = 0;
	const char *name = fy_token_get_text(token, &len);
	int rc = spend(r, line, values, bytes);
	if (rc)
		return rc;
	if (!name || r->n_anchors == MAX_ANCHORS)
		return refuse(r, line, "too_large", "at most 1000 anchors", "the document has too many anchors");
	struct anchor *grown = realloc(r->anchors, (r->n_anchors + 1) * sizeof *grown);
	if (!grown)
		return -ENOMEM;
	r->anchors = grown;
	struct anchor a = { .name = strndup(name, len), .value = json_deep_copy(value), .values = values, .bytes = bytes };
	if (!a.name || !a.value || lines_copy(&a.lines, lines)) {
		free(a.name);
		json_decref(a.value);
		return -ENOMEM;
	}
	r->anchors[r->n_anchors++] = a;
	return 0;
}

static int read_value(struct reader *r, struct fy_event *event, unsigned depth, json_t **value, struct dray_lines *lines);

static int read_sequence(struct reader *r, unsigned depth, json_t *list, struct dray_lines *lines)
{
	for (;;) {
		struct fy_event *event = next_event(r);
		if (!event)
			return -EINVAL;
		if (event->type == FYET_SEQUENCE_END) {
			fy_parser_event_free(r->parser, event);
			return 0;
		}
		json_t *v = NULL;
		struct dray_lines l = { 0 };
		size_t before = dray_pointer_index(&r->common.at, json_array_size(list));
		int rc = read_value(r, event, depth, &v, &l);
		if (!rc)
			rc = json_array_append_new(list, v) || dray_lines_add(lines, l) ? -ENOMEM : 0;
		if (rc)
			return rc; /* the pointer stays where the problem is: nothing is read any more */
		dray_pointer_cut(&r->common.at, before);
	}
}

/* The text of a key, malloc'ed; NULL with a problem. */
static char *read_key(struct reader *r, struct fy_event *event, unsigned line)
{
	if (event->type != FYET_SCALAR || event->scalar.tag || event->scalar.anchor) {
		refuse(r, line, "syntax", "a key that is a plain or quoted word", "this can't be a key");
		return NULL;
	}
	size_t len = 0;
	const char *s = event->scalar.value ? fy_token_get_text(event->scalar.value, &len) : "";
	json_t *text = spend(r, line, 1, len) ? NULL : text_value(r, line, s ? s : "", s ? len : 0);
	char *key = text ? strdup(json_string_value(text)) : NULL;
	json_decref(text);
	return key;
}

static int read_mapping(struct reader *r, unsigned depth, json_t *object, struct dray_lines *lines)
{
	for (;;) {
		struct fy_event *event = next_event(r);
		if (!event)
			return -EINVAL;
		if (event->type == FYET_MAPPING_END) {
			fy_parser_event_free(r->parser, event);
			return 0;
		}
		unsigned line = line_of(event);
		char *key = read_key(r, event, line);
		fy_parser_event_free(r->parser, event);
		if (!key)
			return -EINVAL;
		json_t *v = NULL;
		struct dray_lines l = { 0 };
		size_t before = dray_pointer_key(&r->common.at, key);
		event = next_event(r);
		int rc = event ? read_value(r, event, depth, &v, &l) : -EINVAL;
		if (!rc)
			rc = dray_reading_member(&r->common, object, lines, key, line, v, l);
		free(key);
		if (rc)
			return rc;
		dray_pointer_cut(&r->common.at, before);
	}
}

/* Frees the event. After a failure nothing is left in `*value` and `*lines`. */
static int read_value(struct reader *r, struct fy_event *event, unsigned depth, json_t **value, struct dray_lines *lines)
{
	unsigned line = line_of(event);
	uint64_t values = r->common.values, bytes = r->common.bytes;
	int rc = 0;
	*lines = (struct dray_lines){ .line = line };
	struct fy_token *anchor = fy_event_get_anchor_token(event);
	if (event->type == FYET_ALIAS) {
		rc = alias_value(r, event, line, value, lines);
		anchor = NULL;
	} else if (fy_event_get_tag_token(event)) {
		rc = refuse(r, line, "syntax", "values without tags", "tags (!...) have no meaning here");
	} else if (depth == DRAY_READING_MAX_DEPTH) {
		rc = refuse(r, line, "too_large", "at most 32 levels", "the document nests too deeply");
	} else if (event->type == FYET_SCALAR) {
		*value = scalar_value(r, event, line);
		rc = *value ? 0 : -EINVAL;
	} else if (event->type == FYET_SEQUENCE_START) {
		*value = json_array();
		rc = spend(r, line, 1, 0);
		rc = rc ? rc : read_sequence(r, depth + 1, *value, lines);
	} else if (event->type == FYET_MAPPING_START) {
		*value = json_object();
		rc = spend(r, line, 1, 0);
		rc = rc ? rc : read_mapping(r, depth + 1, *value, lines);
	} else {
		rc = refuse(r, line, "syntax", NULL, "a value is missing here");
	}
	if (!rc && anchor)
		rc = remember_anchor(r, anchor, line, *value, lines, r->common.values - values, r->common.bytes - bytes);
	fy_parser_event_free(r->parser, event);
	if (rc) {
		json_decref(*value);
		*value = NULL;
		dray_lines_clear(lines);
	}
	return rc;
}

static int read_stream(struct reader *r, json_t **value, struct dray_lines *lines)
{
	for (;;) {
		struct fy_event *event = next_event(r);
		if (!event)
			return -EINVAL;
		enum fy_event_type type = event->type;
		unsigned line = line_of(event);
		if (type == FYET_STREAM_START || type == FYET_DOCUMENT_START || type == FYET_DOCUMENT_END) {
			fy_parser_event_free(r->parser, event);
			if (type == FYET_DOCUMENT_START && *value)
				return refuse(r, line, "syntax", "one document", "a second document begins here");
			continue;
		}
		if (type == FYET_STREAM_END) {
			fy_parser_event_free(r->parser, event);
			return *value ? 0 : refuse(r, 1, "syntax", NULL, "the document is empty");
		}
		int rc = read_value(r, event, 0, value, lines);
		if (rc)
			return rc;
	}
}

static int read_yaml(struct reader *r, const char *text, size_t len, json_t **value, struct dray_lines *lines)
{
	unsigned line = 1;
	bool begun = false; /* something other than directives and comments */
	for (const char *p = text, *end = text + len, *next; p < end; p = next, line++) {
		next = memchr(p, '\n', (size_t)(end - p));
		next = next ? next + 1 : end;
		if (next - p > MAX_LINE)
			return refuse(r, line, "too_large", "lines of at most 1 MiB", "the line is too long");
		/* To libfyaml they are the end, outside of values: what stands behind them would be ignored. */
		json_t *whole = text_value(r, line, p, (size_t)(next - p));
		if (!whole)
			return -EINVAL;
		json_decref(whole);
		/* ... and so is this, with all that follows. */
		if (*p == '%' && begun)
			return refuse(r, line, "syntax", "lines that don't begin with %", "a directive: it belongs in front of the document");
		begun |= !strchr("%#\r\n", *p);
	}
	struct fy_diag_cfg diag_cfg;
	fy_diag_cfg_default(&diag_cfg);
	diag_cfg.fp = NULL;
	diag_cfg.colorize = false;
	struct fy_diag *diag = fy_diag_create(&diag_cfg);
	if (!diag)
		return -ENOMEM;
	fy_diag_set_collect_errors(diag, true);
	/* Duplicate keys are ours to find: libfyaml compares each key with all others of its map. */
	struct fy_parse_cfg cfg = { .diag = diag,
		.flags = FYPCF_QUIET | FYPCF_COLLECT_DIAG | FYPCF_ALLOW_DUPLICATE_KEYS };
	r->parser = fy_parser_create(&cfg);
	int rc = -ENOMEM;
	if (r->parser && !fy_parser_set_string(r->parser, text, len))
		rc = read_stream(r, value, lines);
	for (size_t i = 0; i < r->n_anchors; i++) {
		free(r->anchors[i].name);
		json_decref(r->anchors[i].value);
		dray_lines_clear(&r->anchors[i].lines);
	}
	free(r->anchors);
	if (r->parser)
		fy_parser_destroy(r->parser);
	fy_diag_destroy(diag);
	return rc;
}

int dray_read(const char *text, size_t len, json_t **value, struct dray_lines **lines, struct dray_problems *problems)
{
	struct reader r = { .common.problems = problems };
	*value = NULL;
	*lines = NULL;
	if (len > DRAY_DOCUMENT_MAX_BYTES)
		return refuse(&r, 0, "too_large", "at most 16 MiB", "the document is too large");
	*lines = calloc(1, sizeof **lines);
	int rc = -ENOMEM;
	if (*lines && dray_json_looks_like(text, len))
		rc = dray_json_read(&r.common, text, len, value, *lines);
	else if (*lines)
		rc = read_yaml(&r, text, len, value, *lines);
	dray_pointer_free(&r.common.at);
	if (!rc)
		return 0;
	if (!problems->n)
		dray_problems_add(problems, "", 0, "too_large", NULL, NULL, "there is no memory to read the document");
	json_decref(*value);
	*value = NULL;
	dray_lines_free(*lines);
	*lines = NULL;
	return -EINVAL;
}
