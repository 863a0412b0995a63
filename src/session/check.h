/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Checks of single values, as their rows in the table of keys ask. Each adds a problem at the walk's place and says
 * whether the value is right.
 */
#ifndef DRAY_SESSION_CHECK_H
#define DRAY_SESSION_CHECK_H

#include "session/problem.h"
#include "session/reader.h"
#include "session/schema.h"

#include <stdbool.h>
#include <stdint.h>

/* A walk over a document. */
struct dray_check {
	struct dray_problems *problems;
	struct dray_pointer at;
	bool strict;   /* output keys are problems */
	unsigned pair; /* the pair being walked */
};

/* Adds a problem. `v` may be NULL. */
void dray_check_fail(struct dray_check *c, unsigned line, const char *code, const json_t *v, const char *legal,
	const char *detail, ...) __attribute__((format(printf, 6, 7)));
void dray_check_wrong_type(struct dray_check *c, const struct dray_key *key, unsigned line, const json_t *v);
/* The place of the value among the row's words, or -1. */
int dray_check_word(struct dray_check *c, const struct dray_key *key, unsigned line, const json_t *v);
/* Sizes, rates, counts and durations; DRAY_UNKNOWN for none where the row allows it. */
bool dray_check_number(struct dray_check *c, const struct dray_key *key, unsigned line, const json_t *v, uint64_t *n);
struct dray_limits;
/* A rate, or a timetable of them. Replaces what `into` has only when it is right. */
void dray_check_rate(struct dray_check *c, const struct dray_key *key, unsigned line, const json_t *v, struct dray_limits *into);
bool dray_check_priority(struct dray_check *c, const struct dray_key *key, unsigned line, const json_t *v, uint64_t *n);
/* Names, ids and vehicles. */
bool dray_check_text(struct dray_check *c, const struct dray_key *key, unsigned line, const json_t *v);
/* A time of the day. */
void dray_check_clock(struct dray_check *c, const struct dray_key *key, unsigned line, const json_t *v, int *minutes);
bool dray_check_pair_id(struct dray_check *c, unsigned line, const json_t *v);
/* What a resource may be called; whether it is there is not looked at. */
bool dray_check_resource_name(struct dray_check *c, const struct dray_key *key, unsigned line, const json_t *v,
	bool volumes);
struct dray_windows;
struct dray_session;
/* Replace what `into`, and the session, have only when all is right. */
void dray_check_windows(struct dray_check *c, const struct dray_key *key, const json_t *v, const struct dray_lines *lines,
	struct dray_windows *into);
void dray_check_commit(struct dray_check *c, const struct dray_key *key, const json_t *v, const struct dray_lines *lines,
	struct dray_session *s);
/* Checks one value and writes it to its field, where that is right. `base` is what the row's offset counts from (document.c). */
void dray_check_value(struct dray_check *c, const struct dray_key *key, const json_t *v, const struct dray_lines *lines, void *base);
/* The keys that dray_session_set takes, for error messages. Static text. */
const char *dray_settable_words(void);

#endif
