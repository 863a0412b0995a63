/* SPDX-License-Identifier: BSD-3-Clause */
/* What became of a pair's source: kept, shown, taken back. */
#include "session/schema.h"
#include "session/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const states[] = { [DRAY_RETIRED_NO] = "no", [DRAY_RETIRED_PENDING] = "pending", [DRAY_RETIRED_DONE] = "done",
	[DRAY_RETIRED_FAILED] = "failed" };

const char *dray_retired_word(enum dray_retired_state state)
{
	return states[state];
}

const char *dray_retire_how(const struct dray_session *session)
{
	/* The words of its row, cut apart once: they are few and never change. */
	static const char *const words[] = { "none", "read-only", "offline", "discard", "zero", "delete", "rename" };
	return session->retire < sizeof words / sizeof words[0] ? words[session->retire] : words[0];
}

void dray_retired_clear(struct dray_retired *r)
{
	free(r->how);
	free(r->reason);
	free(r->name);
	free(r->step);
	free(r->path);
	free(r->plan);
	*r = (struct dray_retired){ .bytes_done = DRAY_UNKNOWN, .bytes_total = DRAY_UNKNOWN };
}

void dray_origin_clear(struct dray_origin *origin)
{
	free(origin->resource);
	free(origin->identity);
	free(origin->boot);
	*origin = (struct dray_origin){ 0 };
}

static void put_text(json_t *o, const char *key, const char *s)
{
	json_t *text = s ? json_string(s) : NULL;
	if (text)
		json_object_set_new(o, key, text);
}

static void put_number(json_t *o, const char *key, uint64_t n)
{
	if (n != DRAY_UNKNOWN)
		json_object_set_new(o, key, json_integer((json_int_t)n));
}

static char *get_text(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));
	return s ? strdup(s) : NULL;
}

static uint64_t get_number(const json_t *o, const char *key, uint64_t other)
{
	const json_t *v = json_object_get(o, key);
	return json_is_integer(v) && json_integer_value(v) >= 0 ? (uint64_t)json_integer_value(v) : other;
}

json_t *dray_retired_json(const struct dray_retired *r)
{
	char when[32];
	struct tm tm;
	if (r->state == DRAY_RETIRED_NO)
		return NULL;
	json_t *o = json_object();
	put_text(o, "how", r->how);
	put_text(o, "state", states[r->state]);
	if (r->time && gmtime_r(&r->time, &tm) && strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &tm))
		put_text(o, "time", when);
	else
		json_object_set_new(o, "time", json_null());
	json_object_set_new(o, "reason", json_null());
	put_text(o, "reason", r->reason);
	json_object_set_new(o, "name", json_null());
	put_text(o, "name", r->name);
	put_number(o, "bytes_done", r->bytes_done);
	put_number(o, "bytes_total", r->bytes_total);
	return o;
}

json_t *dray_retired_save(const struct dray_pair *p)
{
	const struct dray_retired *r = &p->retired;
	const struct dray_origin *from = &p->origin;
	if (r->state == DRAY_RETIRED_NO && !from->resource)
		return NULL;
	json_t *o = json_object();
	put_text(o, "resource", from->resource);
	put_number(o, "offset", from->offset);
	put_number(o, "length", from->length);
	put_text(o, "identity", from->identity);
	put_text(o, "boot", from->boot);
	if (r->state == DRAY_RETIRED_NO)
		return o;
	put_text(o, "state", states[r->state]);
	put_text(o, "how", r->how);
	json_object_set_new(o, "automatic", json_boolean(r->automatic));
	put_number(o, "time", (uint64_t)r->time);
	put_text(o, "reason", r->reason);
	put_text(o, "name", r->name);
	put_text(o, "step", r->step);
	put_text(o, "path", r->path);
	put_number(o, "bytes_done", r->bytes_done);
	put_number(o, "bytes_total", r->bytes_total);
	return o;
}

void dray_retired_load(const json_t *o, struct dray_pair *p)
{
	struct dray_retired *r = &p->retired;
	const char *state = json_string_value(json_object_get(o, "state"));
	dray_retired_clear(r);
	dray_origin_clear(&p->origin);
	p->origin = (struct dray_origin){ .resource = get_text(o, "resource"), .offset = get_number(o, "offset", 0),
		.length = get_number(o, "length", 0), .identity = get_text(o, "identity"), .boot = get_text(o, "boot") };
	for (int i = 0; state && i <= DRAY_RETIRED_FAILED; i++)
		if (!strcmp(states[i], state))
			r->state = (enum dray_retired_state)i;
	if (r->state == DRAY_RETIRED_NO)
		return;
	r->how = get_text(o, "how");
	r->automatic = json_is_true(json_object_get(o, "automatic"));
	r->time = (time_t)get_number(o, "time", 0);
	r->reason = get_text(o, "reason");
	r->name = get_text(o, "name");
	r->step = get_text(o, "step");
	r->path = get_text(o, "path");
	r->bytes_done = get_number(o, "bytes_done", DRAY_UNKNOWN);
	r->bytes_total = get_number(o, "bytes_total", DRAY_UNKNOWN);
}
