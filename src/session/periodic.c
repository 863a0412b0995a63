/* SPDX-License-Identifier: BSD-3-Clause */
#include "session/periodic.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECOND     UINT64_C(1000000000)
#define TIME       "{time}"
#define LONGEST    200 /* bytes of a name: the time, a dot and what a file has until it is whole are added to it */
#define A_TEMPLATE "a directory, or the path of a file with {time} once in its name, such as /backup/orders-{time}.img"

bool dray_periodic_start(struct dray_check *c, const struct dray_key *key, const json_t *v, unsigned line, struct dray_session *found)
{
	const struct dray_moments m = dray_session_moments(found);
	const char *wrong = NULL, *legal = NULL, *what = NULL;
	if (found->every_ns % SECOND) {
		wrong = "every";
		legal = "whole seconds";
		what = "\"every\" is not of whole seconds";
	} else if (!dray_moments_good(&m)) {
		wrong = "every";
		legal = "with \"at\": whole days, or from 1m on what goes into a day without rest, such as 6h";
		what = "\"every\" does not go with \"at\"";
	}
	if (!wrong)
		return true;
	size_t before = dray_pointer_key(&c->at, wrong);
	dray_check_fail(c, line, "bad_value", json_object_get(v, wrong), legal, "%s", what);
	dray_pointer_cut(&c->at, before);
	return false;
}

/* ---- templates ---- */

/* "DIR/NAME" with something else in the place of {time}, and in front of NAME. */
static char *fill(const char *template, const char *dot, const char *time)
{
	const char *name = strrchr(template, '/') + 1, *at = strstr(name, TIME);
	char *path;
	if (asprintf(&path, "%.*s%s%.*s%s%s", (int)(name - template), template, dot, (int)(at - name), name, time, at + strlen(TIME)) < 0)
		abort();
	return path;
}

char *dray_periodic_path(const struct dray_target *t, time_t instant)
{
	struct tm tm;
	char time[32];
	gmtime_r(&instant, &tm);
	strftime(time, sizeof time, "%Y%m%dT%H%M%SZ", &tm);
	return fill(t->template, "", time);
}

/* Why it can't be one; NULL: it is, as `*template`, malloc'ed. */
static const char *make_template(const char *target, const char *volume, char **template)
{
	size_t n = strlen(target);
	const char *brace = strchr(target, '{'), *name;
	if (*target != '/')
		return "a generation is a file: its target is an absolute path";
	if (!brace && !strchr(target, '}')) {
		while (n > 1 && target[n - 1] == '/')
			n--;
		if (asprintf(template, "%.*s/%s-" TIME ".img", n == 1 ? 0 : (int)n, target, volume) < 0)
			abort();
	} else {
		name = strrchr(target, '/') + 1;
		if (!brace || strncmp(brace, TIME, strlen(TIME)))
			return "{time} is all that may stand in braces";
		if (brace < name)
			return "{time} stands in the name of the file, not of a directory";
		if (strpbrk(brace + strlen(TIME), "{}"))
			return "{time} stands there more than once, or is not all that stands in braces";
		*template = strdup(target);
		if (!*template)
			abort();
	}
	if (strlen(strrchr(*template, '/') + 1) <= LONGEST && strlen(*template) < PATH_MAX - 64)
		return NULL;
	free(*template);
	*template = NULL;
	return "the name would be too long";
}

/* Told: it is not looked at any further. */
static void blank(struct dray_target *t)
{
	free(t->at.resource);
	t->at = (struct dray_resource){ .resource = strdup("") };
	if (!t->at.resource)
		abort();
}

static void template_of(struct dray_check *c, const struct dray_pair *p, struct dray_target *t, const json_t *v)
{
	const char *volume = p->source.resource + strlen("volume:");
	const char *why = t->at.slice ? "a generation is a whole file" : make_template(t->at.resource, volume, &t->template);
	if (why) {
		dray_check_fail(c, 0, "bad_value", v, A_TEMPLATE, "%s", why);
		blank(t);
		return;
	}
	char *base = fill(t->template, ".", "base");
	free(t->at.resource);
	t->at.resource = base;
}

/* ---- the rest ---- */

static void cannot_have(struct dray_check *c, const char *map, const char *key, const json_t *v, const char *legal, const char *why)
{
	size_t before = map ? dray_pointer_key(&c->at, map) : dray_pointer_key(&c->at, key), inner = 0;
	if (map)
		inner = dray_pointer_key(&c->at, key);
	dray_check_fail(c, 0, "bad_value", v, legal, "%s", why);
	if (map)
		dray_pointer_cut(&c->at, inner);
	dray_pointer_cut(&c->at, before);
}

static void check_pair(struct dray_check *c, struct dray_pair *p, const json_t *doc)
{
	const json_t *target = json_object_get(doc, "target");
	if (*p->source.resource && strncmp(p->source.resource, "volume:", 7))
		cannot_have(c, NULL, "source", json_object_get(doc, "source"), "volume:NAME",
			"what others change in a plain resource is not known, so it has no generations");
	if (p->overwrite)
		cannot_have(c, NULL, "overwrite", json_object_get(doc, "overwrite"), "leave it out", "a periodic session makes its files, and overwrites none");
	if (p->n_targets > 1) {
		size_t before = dray_pointer_key(&c->at, "target");
		dray_check_fail(c, 0, "out_of_range", target, "one target", "a pair of a periodic session has one target");
		dray_pointer_cut(&c->at, before);
		for (size_t i = 0; i < p->n_targets; i++)
			blank(&p->targets[i]);
		return;
	}
	if (p->n_targets != 1 || !*p->targets[0].at.resource)
		return; /* told already */
	if (strncmp(p->source.resource, "volume:", 7)) {
		blank(&p->targets[0]);
		return;
	}
	size_t before = dray_pointer_key(&c->at, "target"), inner = 0;
	if (p->targets_as_list)
		inner = dray_pointer_index(&c->at, 0);
	template_of(c, p, &p->targets[0], p->targets_as_list ? json_array_get(target, 0) : target);
	if (p->targets_as_list)
		dray_pointer_cut(&c->at, inner);
	dray_pointer_cut(&c->at, before);
	/* The working image is always made. Unless the document says thin, there has to be room for all of it. */
	p->needs_room = p->create == DRAY_CREATE_NONE;
	if (p->create == DRAY_CREATE_NONE)
		p->create = DRAY_CREATE_THIN;
}

void dray_periodic_check(struct dray_check *c, struct dray_session *s)
{
	const json_t *doc = s->doc, *sw = json_object_get(doc, "switch"), *pairs = json_object_get(doc, "pairs");
	if (s->start != DRAY_START_EVERY)
		return;
	if (!s->every_ns && s->mode != DRAY_MODE_COPY) { /* it is wrong, and what is meant is not known */
		s->start = DRAY_START_NOW;
		return;
	}
	if (s->mode != DRAY_MODE_COPY)
		cannot_have(c, NULL, "mode", json_object_get(doc, "mode"), "copy", "a session that starts every so often makes copies: mode is copy");
	if (!s->checkpoint)
		cannot_have(c, NULL, "checkpoint", json_object_get(doc, "checkpoint"), "true", "without a checkpoint it is not known what changed since the last generation");
	if (json_object_get(sw, "when"))
		cannot_have(c, "switch", "when", json_object_get(sw, "when"), "leave it out", "the moments of a periodic session are those of \"start\"");
	if (s->retire)
		cannot_have(c, "switch", "retire", json_object_get(sw, "retire"), "none", "the sources of a periodic session stay in use");
	s->retire = 0;
	size_t before = dray_pointer_key(&c->at, "pairs");
	for (size_t i = 0; i < s->n_pairs; i++) {
		size_t inner = dray_pointer_index(&c->at, i);
		check_pair(c, &s->pairs[i], json_array_get(pairs, i));
		dray_pointer_cut(&c->at, inner);
	}
	dray_pointer_cut(&c->at, before);
}
