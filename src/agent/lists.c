/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What dray-iod's volumes are: a->volumes, kept up to date by volume.list.
 *
 * dray-iod is asked for what changed since the last answer (`since`, docs/PROTOCOL.md), so a look costs by that, however many volumes stand idle.
 * The pages of one answer are kept until the last one is there and are taken over together: between them the world would be half of one
 * dray-iod and half of the next. Now and then, and where dray-iod says so because it was started anew, everything is asked for. An
 * older dray-iod, which an upgraded agent may find running, knows the whole list only.
 *
 * A list has a number when it is asked for (run_needs_list): what it says of a volume, or leaves unsaid because nothing changed, is so at that
 * moment or later.
 */
#include "agent/agent.h"

#include "agent/reconcile.h"
#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POLL_ACTIVE (SECOND / 2) /* how often dray-iod is asked while something moves */
#define POLL_IDLE   (10 * SECOND)
#define SILENT      (5 * SECOND) /* who has not answered by then hangs */
#define WHOLE_EVERY (300 * SECOND)

void agent_refresh(struct agent *a)
{
	a->list_wanted = true;
}

json_t *volume_find(const struct agent *a, const char *name)
{
	return json_object_get(a->volumes, name);
}

/* ---- epochs ---- */

/* The highest epoch of each volume is kept: those of one list in one transaction. */
static bool epoch_is_news(const struct agent *a, const char *name, const json_t *volume)
{
	const char *uuid = json_string_value(json_object_get(volume, "uuid"));
	json_int_t epoch = json_integer_value(json_object_get(volume, "epoch"));
	if (!uuid || epoch < 0 || json_is_true(json_object_get(volume, "hidden")))
		return false;
	const json_t *seen = json_object_get(a->seen, name);
	return !seen || (!strcmp(json_string_value(json_object_get(seen, "uuid")), uuid) &&
				json_integer_value(json_object_get(seen, "epoch")) < epoch);
}

static void note_epochs(struct agent *a, const json_t *changed)
{
	struct dray_error err = DRAY_ERROR_INIT;
	json_t *rows = json_object(), *volume;
	const char *name;
	json_object_foreach ((json_t *)(uintptr_t)changed, name, volume)
		if (epoch_is_news(a, name, volume))
			json_object_set_new(rows, name, json_pack("{s:O, s:O}", "uuid", json_object_get(volume, "uuid"), "epoch",
				json_object_get(volume, "epoch")));
	if (json_object_size(rows) && seen_put_all(a, rows, &err))
		dray_log(DRAY_LOG_ERROR, "record-failed", "epochs of volumes: %s", err.text);
	json_decref(rows);
}

/* ---- what changed ---- */

void volume_wake(struct agent *a, const char *name)
{
	for (struct pair_run *run = dray_table_get(&a->watchers, name); run; run = run->watch_next) {
		run->news = true;
		run_wake(run);
	}
}

static void volume_changed(struct agent *a, const char *name)
{
	a->work.volumes++;
	volume_wake(a, name);
}

static void listed_at_last(struct agent *a)
{
	dray_list_for_each_safe (n, &a->unlisted) {
		struct pair_run *run = dray_container(n, struct pair_run, unlisted_node);
		if (a->list_number < run->list_needed)
			continue;
		dray_list_del(n);
		run->news = true;
		run_wake(run);
	}
}

/* `told`: name -> volume; `all`: there are no others. */
static void take_over(struct agent *a, json_t *told, bool all, const json_t *removed)
{
	json_t *changed = json_object(), *volume;
	const char *name;
	void *next;
	size_t i;
	a->work.lists++;
	if (!a->volumes)
		a->volumes = json_object();
	/* First, for a name may have been given again. */
	json_array_foreach (removed, i, volume)
		if (json_object_del(a->volumes, json_string_value(volume)) == 0 && !json_object_get(told, json_string_value(volume)))
			volume_changed(a, json_string_value(volume));
	json_object_foreach_safe (a->volumes, next, name, volume) {
		if (!all || json_object_get(told, name))
			continue;
		volume_changed(a, name);
		json_object_del(a->volumes, name);
	}
	json_object_foreach (told, name, volume)
		if (!json_equal(volume, volume_find(a, name)))
			json_object_set(changed, name, volume);
	note_epochs(a, changed);
	json_object_foreach (changed, name, volume) {
		json_object_set(a->volumes, name, volume);
		volume_changed(a, name);
	}
	json_decref(changed);
	if (a->seen_changed)
		seen_write(a);
	listed_at_last(a);
	/* A copy that stands still changes nothing, and its rate falls all the same. */
	for (size_t p = 0; p < PLACES_PRIORITIES; p++)
		dray_list_for_each (n, &a->places.running[p]) {
			struct job *job = dray_container(n, struct job, places.running_node);
			job_each_of (&job->places.active, k)
				run_wake(&job->runs[k]);
		}
}

/* ---- asking ---- */

static void listed(void *arg, const struct dray_error *err, json_t *result);

static void ask(struct agent *a)
{
	a->list_asked_at = a->now;
	bool since = json_is_true(json_object_get(iod_hello(a->iod), "list_since"));
	iod_call(a->iod, "volume.list", since ? json_pack("{s:s}", "since", a->list_cursor) : NULL, listed, a);
}

static void clear_pages(struct agent *a)
{
	json_decref(a->list_told);
	json_decref(a->list_removed);
	a->list_told = a->list_removed = NULL;
	a->list_all = false;
}

void list_lost(struct agent *a)
{
	a->list_under_way = false;
	a->list_cursor[0] = 0; /* what was kept of an answer is not the whole of it */
	clear_pages(a);
}

static void put_volumes(json_t *into, const json_t *volumes)
{
	size_t i;
	json_t *volume;
	const char *name;
	json_array_foreach (volumes, i, volume)
		if ((name = json_string_value(json_object_get(volume, "name"))))
			json_object_set(into, name, volume);
}

/* A page. false: it is none. */
static bool keep_page(struct agent *a, const json_t *result)
{
	const char *cursor = json_string_value(json_object_get(result, "cursor"));
	json_t *volumes = json_object_get(result, "volumes"), *removed = json_object_get(result, "removed"), *name;
	size_t i;
	if (!cursor || strlen(cursor) >= sizeof a->list_cursor || !json_is_array(volumes) || !json_is_array(removed))
		return false;
	if (json_is_true(json_object_get(result, "all"))) {
		clear_pages(a);
		a->list_all = true;
		a->list_whole_at = a->now + WHOLE_EVERY;
	}
	if (!a->list_told) {
		a->list_told = json_object();
		a->list_removed = json_array();
	}
	strcpy(a->list_cursor, cursor);
	json_array_extend(a->list_removed, removed);
	json_array_foreach (removed, i, name)
		json_object_del(a->list_told, json_string_value(name));
	put_volumes(a->list_told, volumes);
	return true;
}

static void listed(void *arg, const struct dray_error *err, json_t *result)
{
	struct agent *a = arg;
	if (err) {
		list_lost(a);
		if (err->code != -ENOTCONN && err->code != -ECANCELED)
			dray_log(DRAY_LOG_ERROR, "list-failed", "volume.list: %s", err->text);
		return;
	}
	if (json_is_array(result)) { /* an older dray-iod */
		clear_pages(a);
		a->list_told = json_object();
		a->list_removed = json_array();
		a->list_all = true;
		put_volumes(a->list_told, result);
	} else if (!keep_page(a, result)) {
		list_lost(a);
		dray_log(DRAY_LOG_ERROR, "list-failed", "volume.list: not a list");
		return;
	} else if (json_is_true(json_object_get(result, "more"))) {
		ask(a);
		return;
	}
	a->list_under_way = false;
	snprintf(a->volumes_by, sizeof a->volumes_by, "%s", iod_incarnation(a->iod));
	a->list_number = a->lists_asked; /* one at a time */
	take_over(a, a->list_told, a->list_all, a->list_removed);
	clear_pages(a);
	agent_turn(a);
}

bool iod_answers(const struct agent *a)
{
	return iod_ready(a->iod) && !(a->list_under_way && a->now > a->list_asked_at + SILENT);
}

void list_ask(struct agent *a)
{
	if (!iod_ready(a->iod) || a->list_under_way)
		return;
	if (!a->list_wanted && a->now < a->list_at)
		return;
	a->list_wanted = false;
	a->list_under_way = true;
	a->lists_asked++;
	a->list_at = a->now + (a->moving ? POLL_ACTIVE : POLL_IDLE);
	if (a->now >= a->list_whole_at)
		a->list_cursor[0] = 0;
	ask(a);
}
