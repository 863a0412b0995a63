/* SPDX-License-Identifier: BSD-3-Clause */
#include "session/generations.h"

#include "base/instant.h"

#include <stdlib.h>
#include <string.h>

static const char *const steps[DRAY_MAKING_COUNT] = { "nothing", "hooks", "split", "clone", "place" };

void dray_generation_clear(struct dray_generation *g)
{
	for (size_t i = 0; i < g->n_files; i++) {
		free(g->files[i].path);
		free(g->files[i].part);
		free(g->files[i].identity);
	}
	free(g->files);
	*g = (struct dray_generation){ 0 };
}

void dray_making_clear(struct dray_making *m)
{
	dray_generation_clear(&m->g);
	free(m->boot);
	free(m->actor);
	*m = (struct dray_making){ 0 };
}

void dray_generations_clear(struct dray_generations *all)
{
	for (size_t i = 0; i < all->n; i++)
		dray_generation_clear(&all->list[i]);
	free(all->list);
	dray_making_clear(&all->making);
	free(all->why);
	*all = (struct dray_generations){ 0 };
}

static void *more(void *list, size_t n, size_t size)
{
	list = realloc(list, (n + 1) * size);
	if (!list)
		abort();
	return list;
}

void dray_generation_add(struct dray_generation *g, unsigned pair, char *path, char *part)
{
	g->files = more(g->files, g->n_files, sizeof *g->files);
	g->files[g->n_files++] = (struct dray_generation_file){ pair, path, part, NULL };
}

void dray_generations_add(struct dray_generations *all, struct dray_generation *g)
{
	all->list = more(all->list, all->n, sizeof *all->list);
	all->list[all->n++] = *g;
	*g = (struct dray_generation){ 0 };
}

void dray_generations_drop(struct dray_generations *all, size_t i)
{
	dray_generation_clear(&all->list[i]);
	memmove(&all->list[i], &all->list[i + 1], (all->n - i - 1) * sizeof *all->list);
	all->n--;
}

size_t dray_generations_complete(const struct dray_generations *all)
{
	size_t n = 0;
	for (size_t i = 0; i < all->n; i++)
		n += all->list[i].complete;
	return n;
}

/* ---- the record ---- */

static json_t *save(const struct dray_generation *g)
{
	json_t *files = json_array();
	for (size_t i = 0; i < g->n_files; i++) {
		const struct dray_generation_file *f = &g->files[i];
		json_array_append_new(files, json_pack("{s:i, s:s, s:s*, s:s*}", "pair", (int)f->pair, "path", f->path, "part", f->part,
						     "identity", f->identity));
	}
	return json_pack("{s:I, s:b, s:b, s:i, s:i, s:o}", "time", (json_int_t)g->time, "complete", g->complete, "removing", g->removing, "quiesced",
		g->quiesced, "shared", g->shared, "files", files);
}

static char *text(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));
	char *copy = s ? strdup(s) : NULL;
	if (s && !copy)
		abort();
	return copy;
}

static void load(const json_t *o, struct dray_generation *g)
{
	size_t i;
	json_t *file;
	const json_t *shared = json_object_get(o, "shared");
	*g = (struct dray_generation){ .time = (time_t)json_integer_value(json_object_get(o, "time")),
		.complete = json_is_true(json_object_get(o, "complete")), .removing = json_is_true(json_object_get(o, "removing")),
		.quiesced = (int)json_integer_value(json_object_get(o, "quiesced")), .shared = shared ? (int)json_integer_value(shared) : -1 };
	json_array_foreach (json_object_get(o, "files"), i, file) {
		char *path = text(file, "path");
		if (!path)
			continue;
		dray_generation_add(g, (unsigned)json_integer_value(json_object_get(file, "pair")), path, text(file, "part"));
		g->files[g->n_files - 1].identity = text(file, "identity");
	}
}

json_t *dray_generations_save(const struct dray_generations *all)
{
	const struct dray_making *m = &all->making;
	json_t *list = json_array();
	if (!all->anchor) {
		json_decref(list);
		return NULL;
	}
	for (size_t i = 0; i < all->n; i++)
		json_array_append_new(list, save(&all->list[i]));
	json_t *o = json_pack("{s:o, s:I, s:I, s:I, s:s*}", "list", list, "anchor", (json_int_t)all->anchor, "last", (json_int_t)all->last, "made",
		(json_int_t)all->made, "why", all->why);
	if (o && (m->step != DRAY_MAKING_NOTHING || m->thaw))
		json_object_set_new(o, "making", json_pack("{s:s, s:b, s:b, s:I, s:s*, s:s*, s:o}", "step", steps[m->step], "thaw", m->thaw, "split",
						       m->split, "due", (json_int_t)m->due, "boot", m->boot, "actor", m->actor, "generation", save(&m->g)));
	if (!o)
		abort();
	return o;
}

void dray_generations_load(const json_t *o, struct dray_generations *all)
{
	size_t i;
	json_t *one;
	const json_t *making = json_object_get(o, "making");
	const char *step = json_string_value(json_object_get(making, "step"));
	dray_generations_clear(all);
	json_array_foreach (json_object_get(o, "list"), i, one) {
		struct dray_generation g;
		load(one, &g);
		dray_generations_add(all, &g);
	}
	all->anchor = (time_t)json_integer_value(json_object_get(o, "anchor"));
	all->last = (time_t)json_integer_value(json_object_get(o, "last"));
	all->made = (unsigned long)json_integer_value(json_object_get(o, "made"));
	all->why = text(o, "why");
	for (int k = 0; step && k < DRAY_MAKING_COUNT; k++)
		if (!strcmp(steps[k], step))
			all->making.step = (enum dray_making_step)k;
	if (!step)
		return;
	all->making.thaw = json_is_true(json_object_get(making, "thaw"));
	all->making.split = json_is_true(json_object_get(making, "split"));
	all->making.due = (time_t)json_integer_value(json_object_get(making, "due"));
	all->making.boot = text(making, "boot");
	all->making.actor = text(making, "actor");
	load(json_object_get(making, "generation"), &all->making.g);
}

/* ---- the document ---- */

static json_t *yes_no_unknown(int what)
{
	return what < 0 ? json_null() : json_boolean(what);
}

static json_t *shown(const struct dray_generation *g)
{
	char at[40];
	json_t *paths = json_array();
	for (size_t i = 0; i < g->n_files; i++)
		json_array_append_new(paths, json_string(g->files[i].path));
	return json_pack("{s:s, s:b, s:o, s:o, s:o}", "time", dray_instant_format(g->time, at, sizeof at), "complete", g->complete, "paths", paths,
		"quiesced", yes_no_unknown(g->quiesced), "shared", yes_no_unknown(g->shared));
}

json_t *dray_generations_json(const struct dray_generations *all)
{
	json_t *list = json_array();
	for (size_t i = 0; i < all->n; i++)
		json_array_append_new(list, shown(&all->list[i]));
	if (all->making.step >= DRAY_MAKING_CLONE)
		json_array_append_new(list, shown(&all->making.g));
	return list;
}
