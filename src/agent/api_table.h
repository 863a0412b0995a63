/* SPDX-License-Identifier: BSD-3-Clause */
/* The API's methods and paths: one table. docs/openapi.yaml is held against it by a test. */
#ifndef DRAY_AGENT_API_TABLE_H
#define DRAY_AGENT_API_TABLE_H

#include <jansson.h>
#include <stddef.h>

struct agent;
struct api_call;

enum { /* arguments of the query that a route takes */
	Q_SESSION = 1,
	Q_STATE = 2,
	Q_LIMIT = 4,
	Q_AFTER = 8,
	Q_FOLLOW = 16,
	Q_DRY_RUN = 32,
	Q_FORCE = 64,
	Q_PAST = 128,
	Q_AFTER_SESSION = 256, /* after=ID */
};

struct api_route {
	const char *method, *path; /* "/v1/sessions/{session}" */
	unsigned query;
	void (*run)(struct agent *a, struct api_call *call); /* on the core */
};

/* NULL: there is none. `allow` then has the methods that the path has, "GET, PATCH", or "" where there is nothing at all. Any thread. */
const struct api_route *api_route_find(const char *method, const char *path, char *allow, size_t size);
/* Checks one argument of the query. NULL: legal; else what would be, and `*known` whether the route has it. */
const char *api_query_check(const struct api_route *route, const char *key, const char *value, int *known);
/* {path: [methods]} New reference. */
json_t *api_table_json(void);

#endif
