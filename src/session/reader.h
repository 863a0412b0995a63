/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From text, YAML or JSON, to a JSON value and the line each part of it stands on.
 */
#ifndef DRAY_SESSION_READER_H
#define DRAY_SESSION_READER_H

#include "session/problem.h"

#include <jansson.h>
#include <stddef.h>

#define DRAY_DOCUMENT_MAX_BYTES (UINT64_C(16) << 20)

/* The lines of a value: one node beside each JSON value, its children in the order in which jansson iterates (keys
 * as they were written, elements by index). The line of a member is that of its key. */
struct dray_lines {
	unsigned line;
	unsigned n;
	struct dray_lines *child;
};

/* Reads one document. Returns 0 with `*value` (a new reference) and `*lines` (freed by dray_lines_free), or -EINVAL
 * with a problem of code "syntax" or "too_large". Duplicate keys are problems too, the first of each is kept and
 * reading goes on: 0 is returned, and the caller looks at problems->n. */
int dray_read(const char *text, size_t len, json_t **value, struct dray_lines **lines, struct dray_problems *problems);
/* NULL is allowed. */
void dray_lines_free(struct dray_lines *lines);

/* A JSON pointer that grows and shrinks while a document is walked. Zero is an empty one. */
struct dray_pointer {
	char *text; /* NULL: "" */
	size_t len, room;
};

/* Adds "/key", escaped as RFC 6901 has it. Returns the length before, for dray_pointer_cut. */
size_t dray_pointer_key(struct dray_pointer *p, const char *key);
size_t dray_pointer_index(struct dray_pointer *p, size_t index);
void dray_pointer_cut(struct dray_pointer *p, size_t len);
const char *dray_pointer_text(const struct dray_pointer *p);
void dray_pointer_free(struct dray_pointer *p);

#endif
