/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the readers of YAML (reader.c) and of JSON (json.c) share.
 */
#ifndef DRAY_SESSION_READING_H
#define DRAY_SESSION_READING_H

#include "session/reader.h"

#include <stdbool.h>
#include <stdint.h>

#define DRAY_READING_MAX_DEPTH 32

/* A document being read: where we are, and what it has cost so far. */
struct dray_reading {
	struct dray_problems *problems;
	struct dray_pointer at;
	uint64_t values, bytes;
};

/* Adds a problem at the current place. Returns -EINVAL. */
int dray_reading_refuse(struct dray_reading *r, unsigned line, const char *code, const char *legal, const char *detail);
/* Counts values and bytes of text towards the limits: 0, or -EINVAL with a problem. */
int dray_reading_spend(struct dray_reading *r, unsigned line, uint64_t values, uint64_t bytes);
/* Adds a member to `object` and its lines; a key that is there already is a problem, and the new value is dropped.
 * Takes over `value` and `l`. 0 or -ENOMEM. */
int dray_reading_member(struct dray_reading *r, json_t *object, struct dray_lines *lines, const char *key, unsigned line,
	json_t *value, struct dray_lines l);

/* Takes over `child`. 0 or -ENOMEM. */
int dray_lines_add(struct dray_lines *lines, struct dray_lines child);
/* Frees what is below. */
void dray_lines_clear(struct dray_lines *lines);

/* Whether the text begins as a JSON object does: {" or {}. */
bool dray_json_looks_like(const char *text, size_t len);
int dray_json_read(struct dray_reading *r, const char *text, size_t len, json_t **value, struct dray_lines *lines);

#endif
