/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A list of everything that is wrong with a document, told all at once.
 */
#ifndef DRAY_SESSION_PROBLEM_H
#define DRAY_SESSION_PROBLEM_H

#include <jansson.h>
#include <stddef.h>

struct dray_problem {
	char *pointer; /* JSON pointer: "/pairs/1/target" */
	unsigned line; /* 0: not known */
	char *value;   /* as submitted, or NULL */
	char *code;    /* stable: unknown_key unsupported missing wrong_type bad_value bad_unit out_of_range duplicate syntax
	                * not_found not_accessible too_small locked held mounted signature same_device vehicle exists ... */
	char *detail;  /* one sentence */
	char *legal;   /* what would be legal, or NULL */
};

struct dray_problems {
	struct dray_problem *items;
	size_t n;
};

#define DRAY_PROBLEMS_INIT ((struct dray_problems){ 0 })

void dray_problems_free(struct dray_problems *problems);
/* Strings are copied; value and legal may be NULL. */
void dray_problems_add(struct dray_problems *problems, const char *pointer, unsigned line, const char *code,
	const char *value, const char *legal, const char *detail_fmt, ...) __attribute__((format(printf, 7, 8)));
/* A value as people write it: a text as it is, else its JSON. For the caller to free; NULL if there is none. */
char *dray_value_text(const json_t *v);
/* [{pointer, line, value, code, detail, legal}] New reference. */
json_t *dray_problems_to_json(const struct dray_problems *problems);

#endif
