/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * switch, split, switch.status: from a call to a group and its outcome.
 *
 * A call is named by its token, and is carried out once: the same token again waits for the first call and answers with its outcome.
 * Outcomes are kept for the life of the process (the last 4096). Over a restart the epoch record knows each volume's last
 * token; so a switch that was recorded and whose answer was lost in the crash is found as "switched", and one that was not
 * is "unknown", which after a restart means that it did not happen.
 */
#include "iod/group.h"
#include "iod/verbs.h"

#include "base/log.h"
#include "base/crash.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEPT_MOST 4096

enum outcome { RUNNING, IN_DOUBT, OVER };

struct entry {
	struct dray_list node;
	char token[IOD_TOKEN_MAX + 1];
	enum outcome outcome;
	json_t *result; /* of a success */
	struct dray_error err;
	int code;
	json_t *data;
};

/* iod->lock */
struct iod_switch_log {
	struct dray_list entries;
	unsigned n;
};

int iod_switch_log_new(struct iod *iod)
{
	iod->switches = calloc(1, sizeof *iod->switches);
	if (!iod->switches)
		return -ENOMEM;
	dray_list_init(&iod->switches->entries);
	return 0;
}

static struct entry *find_entry(struct iod *iod, const char *token)
{
	dray_list_for_each(n, &iod->switches->entries)
	{
		struct entry *e = dray_container(n, struct entry, node);
		if (strcmp(e->token, token) == 0)
			return e;
	}
	return NULL;
}

static struct entry *new_entry(struct iod *iod, const char *token)
{
	struct entry *e = calloc(1, sizeof *e);
	if (!e)
		return NULL;
	strcpy(e->token, token);
	dray_list_add_tail(&iod->switches->entries, &e->node);
	if (++iod->switches->n > KEPT_MOST)
		dray_list_for_each_safe(n, &iod->switches->entries)
		{
			struct entry *old = dray_container(n, struct entry, node);
			if (old->outcome != OVER)
				continue;
			dray_list_del(n);
			json_decref(old->result);
			json_decref(old->data);
			free(old);
			iod->switches->n--;
			break;
		}
	return e;
}

static json_t *member_json(const struct iod_volume *v, int64_t blackout_us, int64_t suspended_us)
{
	return json_pack("{s:s s:I s:i s:o s:o}", "volume", v->def.name, "epoch", (json_int_t)v->epoch, "primary",
		(int)v->primary, "blackout_us", blackout_us < 0 ? json_null() : json_integer(blackout_us), "suspended_us",
		suspended_us < 0 ? json_null() : json_integer(suspended_us));
}

/* From the epoch records: NULL if no volume's last switch has this token. iod->lock is held. */
static json_t *recorded_outcome(struct iod *iod, const char *token)
{
	json_t *members = json_array();
	dray_list_for_each(n, &iod->volumes)
	{
		const struct iod_volume *v = dray_container(n, struct iod_volume, node);
		if (strcmp(v->token, token) == 0)
			json_array_append_new(members, member_json(v, v->blackout_us, v->suspended_us));
	}
	if (json_array_size(members))
		return json_pack("{s:s s:o}", "outcome", "switched", "members", members);
	json_decref(members);
	return NULL;
}

static json_t *answer_from(struct iod_call *call, const struct entry *e)
{
	if (e->result)
		return json_deep_copy(e->result);
	call->err = e->err;
	call->code = e->code;
	call->data = json_deep_copy(e->data);
	return NULL;
}

/* ---- making the group ---- */

static int by_name(const void *a, const void *b)
{
	const struct iod_member *ma = a, *mb = b;
	return strcmp(ma->v->def.name, mb->v->def.name);
}

static void give_members(struct iod_group *g, unsigned taken)
{
	for (unsigned i = 0; i < g->n; i++) {
		struct iod_member *m = &g->members[i];
		if (m->leg)
			iod_leg_put(m->leg);
		if (i < taken)
			iod_volume_give(m->v);
		iod_volume_put(m->v);
	}
	free(g->members);
}

struct held {
	struct iod_volume *v;
	unsigned id[DRAY_MAX_LEGS], n;
};

static void look_held(void *arg)
{
	struct held *h = arg;
	for (int i = 0; i < DRAY_MAX_LEGS; i++) {
		struct dray_leg_info info;
		if (h->v->vio.legs[i] && dray_vol_leg_info(h->v->vio.vol, i, &info) == 0 && info.held)
			h->id[h->n++] = h->v->vio.legs[i]->def->id;
	}
}

/* The engine lets all legs go that are not held: the call must name just these. */
static int check_split(struct iod_call *call, struct iod_member *m, json_t *legs)
{
	struct iod_volume *v = m->v;
	struct held held = { .v = v };
	size_t named = 0, k;
	unsigned other = 0;
	json_t *id;
	iod_thread_call(v->thread, look_held, &held);
	pthread_mutex_lock(&v->iod->lock);
	for (unsigned i = 0; i < v->n_legs; i++) {
		struct iod_leg *leg = v->legs[i];
		bool wanted = false, is_held = false;
		if (leg->forgotten || leg->def->id == v->primary)
			continue;
		json_array_foreach(legs, k, id) wanted |= json_integer_value(id) == (json_int_t)leg->def->id;
		for (unsigned h = 0; h < held.n; h++)
			is_held |= held.id[h] == leg->def->id;
		leg->splitting = wanted;
		named += wanted;
		if (wanted == is_held)
			other = leg->def->id;
	}
	pthread_mutex_unlock(&v->iod->lock);
	if (named != json_array_size(legs))
		return dray_error_kind(&call->err, -ENOENT, "not_found", "split: volume %s: not all of the legs are its targets",
			v->def.name);
	if (other)
		return dray_error_kind(&call->err, -EINVAL, "unsupported",
			"split: volume %s: all legs that are not held are split off together; leg %u breaks that", v->def.name, other);
	return 0;
}

static int check_member(struct iod_call *call, struct iod_group *g, struct iod_member *m, json_t *param)
{
	struct iod_volume *v = m->v;
	if (!v->served)
		return dray_error_kind(&call->err, -ENXIO, "not_served", "%s: volume %s: it is not served: %.300s", call->method,
			v->def.name, v->reason);
	m->epoch = v->epoch;
	m->accept_bad_bytes = (uint64_t)json_integer_value(json_object_get(param, "accept_bad_bytes"));
	m->old_primary = v->primary;
	m->force = json_is_true(json_object_get(param, "force"));
	if (g->split)
		return check_split(call, m, json_object_get(param, "legs"));
	json_int_t epoch = json_integer_value(json_object_get(param, "epoch"));
	if ((uint64_t)epoch != v->epoch)
		return dray_error_kind(&call->err, -ESTALE, "stale_token", "switch: volume %s: its epoch is %llu, not %lld",
			v->def.name, (unsigned long long)v->epoch, (long long)epoch);
	m->leg = iod_volume_leg(v, (unsigned)json_integer_value(json_object_get(param, "leg")), &call->err);
	if (!m->leg)
		return -ENOENT;
	if (m->leg->def->id == v->primary)
		return dray_error_kind(&call->err, -EINVAL, "unsupported", "switch: volume %s: leg %u is the primary already",
			v->def.name, v->primary);
	if (m->leg->storage && dray_storage_gone(m->leg->storage))
		return dray_error_kind(&call->err, -ENOENT, "not_accessible",
			"switch: volume %s: leg %u: %s was removed: what it holds would be lost when it is closed", v->def.name,
			m->leg->def->id, m->leg->def->resource);
	if (!m->leg->storage)
		return dray_error_kind(&call->err, -ENODEV, "degraded", "switch: volume %s: leg %u is not open: %.300s",
			v->def.name, m->leg->def->id, m->leg->error);
	return 0;
}

static int make_group(struct iod_call *call, struct iod_group *g)
{
	json_t *members = json_object_get(call->params, "members"), *param;
	size_t i;
	g->members = calloc(json_array_size(members), sizeof *g->members);
	if (!g->members)
		return dray_error_set(&call->err, -ENOMEM, "%s: no memory", call->method);
	json_array_foreach(members, i, param)
	{
		struct iod_volume *v =
			iod_volume_get(call->iod, json_string_value(json_object_get(param, "volume")), &call->err);
		if (!v)
			break;
		g->members[g->n].param = param;
		g->members[g->n++].v = v;
	}
	int rc = g->n == json_array_size(members) ? 0 : -ENOENT;
	unsigned taken = 0;
	if (!rc)
		qsort(g->members, g->n, sizeof *g->members, by_name);
	for (i = 1; i < g->n && !rc; i++)
		if (g->members[i].v == g->members[i - 1].v)
			rc = dray_error_kind(&call->err, -EINVAL, "syntax", "%s: volume %s is named twice", call->method,
				g->members[i].v->def.name);
	/* All in one order, so that two groups never wait for each other. */
	for (; !rc && taken < g->n; taken++)
		if ((rc = iod_volume_take(g->members[taken].v, UINT64_C(2000000000), &call->err)))
			break;
	for (i = 0; i < g->n && !rc; i++)
		rc = check_member(call, g, &g->members[i], g->members[i].param);
	if (rc)
		give_members(g, taken);
	return rc;
}

/* ---- outcomes ---- */

static void bury_job(void *arg)
{
	struct iod_leg *leg = arg;
	struct iod_volume *v = leg->volume;
	struct iod *iod = v->iod;
	struct dray_error err = DRAY_ERROR_INIT;
	int rc = iod_leg_bury(leg, true, &err);
	pthread_mutex_lock(&iod->lock);
	if (rc && !leg->image_error)
		leg->image_error = rc;
	leg->buried = true;
	pthread_cond_broadcast(&iod->changed);
	pthread_mutex_unlock(&iod->lock);
	iod_leg_put(leg);
	iod_volume_put(v);
}

/* The legs that the engine let go at this instant: forgotten, flushed, closed. What takes longer than a moment goes on
 * by itself. */
static json_t *bury_images(struct iod_group *g, struct iod_member *m)
{
	struct iod *iod = g->iod;
	struct iod_volume *v = m->v;
	struct iod_leg *images[2 * IOD_LEGS_MAX];
	unsigned n = 0;
	pthread_mutex_lock(&iod->lock);
	for (unsigned i = 0; i < v->n_legs; i++) {
		struct iod_leg *leg = v->legs[i];
		unsigned id = leg->def->id;
		if (g->split ? !leg->splitting : leg->forgotten || id == v->primary || (id == m->old_primary && !g->commit))
			continue;
		leg->forgotten = true;
		leg->splitting = false;
		leg->refs += 2; /* the job's and ours */
		v->refs++;
		images[n++] = leg;
	}
	pthread_mutex_unlock(&iod->lock);
	struct dray_error err = DRAY_ERROR_INIT;
	if (n && !g->split && iod_volume_save(v, &err)) /* the next start finds out by itself (bring-up.c) */
		dray_log(DRAY_LOG_WARN, "volume-json", "%s", err.text);
	for (unsigned i = 0; i < n; i++)
		if (iod_jobs_run(iod->jobs, bury_job, images[i]) < 0)
			bury_job(images[i]);

	json_t *list = json_array();
	struct timespec until;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += g->split ? 30 : 2;
	pthread_mutex_lock(&iod->lock);
	for (unsigned i = 0; i < n; i++) {
		int rc = 0;
		while (!images[i]->buried && rc != ETIMEDOUT)
			rc = pthread_cond_timedwait(&iod->changed, &iod->lock, &until);
		const char *error = !images[i]->buried ? "not settled yet" :
			images[i]->image_error == -EAGAIN ? "it was not clean at that instant" :
			images[i]->image_error ? strerror(-images[i]->image_error) : NULL;
		json_array_append_new(list, json_pack("{s:i s:s?}", "leg", (int)images[i]->def->id, "error", error));
	}
	pthread_mutex_unlock(&iod->lock);
	for (unsigned i = 0; i < n; i++)
		iod_leg_put(images[i]);
	return list;
}

struct image {
	struct iod_leg *leg;
	int error;
};

static void look_image(void *arg)
{
	struct image *image = arg;
	struct dray_leg_info info;
	image->error = image->leg->index == DRAY_NO_LEG || dray_vol_leg_info(image->leg->volume->vio.vol, image->leg->index, &info) ? -ENOENT
																     : info.image_error;
}

/* The legs that were set aside at this instant: they stay as they were. Not flushed: whoever reads them from the disk does that. */
static json_t *kept_images(struct iod_member *m)
{
	struct iod_volume *v = m->v;
	struct image images[2 * IOD_LEGS_MAX];
	unsigned n = 0;
	json_t *list = json_array();
	pthread_mutex_lock(&v->iod->lock);
	for (unsigned i = 0; i < v->n_legs; i++)
		if (v->legs[i]->splitting) {
			v->legs[i]->splitting = false;
			images[n++].leg = v->legs[i];
		}
	pthread_mutex_unlock(&v->iod->lock);
	for (unsigned i = 0; i < n; i++) {
		iod_thread_call(v->thread, look_image, &images[i]);
		const char *error = images[i].error == -EAGAIN ? "it was not clean at that instant" :
			images[i].error == -ETIMEDOUT          ? "the deadline passed before all volumes had split" :
			images[i].error                        ? strerror(-images[i].error) : NULL;
		json_array_append_new(list, json_pack("{s:i s:s?}", "leg", (int)images[i].leg->def->id, "error", error));
	}
	return list;
}

/* Every leg that the split set aside; each volume's file says it before the record goes. */
static void set_aside_split(struct iod_group *g)
{
	pthread_mutex_lock(&g->iod->lock);
	for (unsigned i = 0; i < g->n; i++)
		for (unsigned k = 0; k < g->members[i].v->n_legs; k++)
			if (g->members[i].v->legs[k]->splitting)
				g->members[i].v->legs[k]->def->paused = g->members[i].v->legs[k]->def->set_aside = true;
	pthread_mutex_unlock(&g->iod->lock);
	iod_group_forgotten(g);
}

/* Every leg that the split let go; each volume's file says it before the maps go. */
static void forget_split(struct iod_group *g)
{
	pthread_mutex_lock(&g->iod->lock);
	for (unsigned i = 0; i < g->n; i++)
		for (unsigned k = 0; k < g->members[i].v->n_legs; k++)
			if (g->members[i].v->legs[k]->splitting)
				g->members[i].v->legs[k]->forgotten = true;
	pthread_mutex_unlock(&g->iod->lock);
	iod_group_forgotten(g);
}

static json_t *lost_json(const struct iod_member *m)
{
	json_t *ranges = json_array();
	for (unsigned i = 0; i < m->n_lost; i++)
		json_array_append_new(ranges,
			json_pack("{s:I s:I}", "offset", (json_int_t)m->lost[i].offset, "length", (json_int_t)m->lost[i].length));
	return json_pack("{s:I s:o}", "bytes", (json_int_t)m->lost_bytes, "ranges", ranges);
}

static json_t *switched(struct iod_group *g)
{
	dray_crash_point("switch-done");
	if (g->keep)
		set_aside_split(g);
	else if (g->split)
		forget_split(g);
	json_t *members = json_array();
	for (unsigned i = 0; i < g->n; i++) {
		struct iod_member *m = &g->members[i];
		int64_t blackout_us = (int64_t)(m->blackout_ns / 1000), suspended_us = (int64_t)(m->suspended_ns / 1000);
		if (!m->resumed)
			blackout_us = suspended_us = -1;
		pthread_mutex_lock(&g->iod->lock);
		m->v->blackout_us = blackout_us;
		m->v->suspended_us = suspended_us;
		json_t *o = member_json(m->v, blackout_us, suspended_us);
		pthread_mutex_unlock(&g->iod->lock);
		if (m->force)
			json_object_set_new(o, "lost", lost_json(m));
		json_object_set_new(o, "images", g->keep ? kept_images(m) : bury_images(g, m));
		json_array_append_new(members, o);
		dray_log(DRAY_LOG_INFO, g->split ? "split" : "switched", "%s blackout %lld us", m->v->def.name,
			(long long)blackout_us);
		iod_notify(g->iod, "switched", m->v->def.name, m->v->primary, NULL, NULL);
	}
	return json_pack("{s:s s:o}", "outcome", "switched", "members", members);
}

static const char *kind_of(int error)
{
	switch (error) {
	case -EAGAIN: return "dirty";
	case -EUCLEAN: return "bad_ranges";
	case -ETIMEDOUT:
	case -ESTALE: return "deadline";
	case -EBUSY: return "busy";
	case -ENOENT: return "not_found";
	default: return "flush_failed";
	}
}

static void not_switched(struct iod_call *call, struct iod_group *g)
{
	const char *name = g->culprit >= 0 ? g->members[g->culprit].v->def.name : NULL;
	bool suspended = g->outcome == DRAY_SWITCH_ROLLED_BACK;
	call->code = IOD_RPC_ROLLED_BACK;
	call->data = json_pack("{s:s? s:b s:s}", "volume", name, "suspended", suspended, "outcome",
		suspended ? "rolled_back" : "refused");
	if (g->record_error.code) {
		call->err = g->record_error;
		dray_error_prepend(&call->err, "%s: rolled back", call->method);
		return;
	}
	if (g->error == -EUCLEAN && g->culprit >= 0) {
		const struct iod_member *m = &g->members[g->culprit];
		json_object_set_new(call->data, "bad_bytes", json_integer((json_int_t)m->bad_behind_bytes));
		dray_error_kind(&call->err, g->error, kind_of(g->error),
			"%s: refused: volume %s: %llu bytes can't be read on its primary and are zeroes on the other legs; accepted are %llu",
			call->method, name, (unsigned long long)m->bad_behind_bytes, (unsigned long long)m->accept_bad_bytes);
		return;
	}
	const char *why = g->error == -EAGAIN ? "a leg is degraded, or has dirty or unsettled ranges" :
		g->error == -ETIMEDOUT || g->error == -ESTALE ? "the deadline passed" :
		g->error == -EIO ? "the flush failed" : strerror(-g->error);
	dray_error_kind(&call->err, g->error ? g->error : -EIO, kind_of(g->error), "%s: %s: volume %s: %s", call->method,
		suspended ? "rolled back" : "refused", name ? name : "(all)", why);
}

static void tell_doubt(struct iod_group *g)
{
	pthread_mutex_lock(&g->iod->lock);
	struct entry *e = find_entry(g->iod, g->token);
	if (e && e->outcome == RUNNING)
		e->outcome = IN_DOUBT;
	pthread_mutex_unlock(&g->iod->lock);
}

static json_t *carry_out(struct iod_call *call, bool split, const char *token)
{
	struct iod *iod = call->iod;
	struct iod_group g = { .iod = iod, .token = token, .split = split, .in_doubt = tell_doubt, .culprit = -1 };
	uint64_t ms = iod_arg_count(call, "deadline_ms", 0);
	if (ms < 1 || ms > 3600000) {
		dray_error_kind(&call->err, -EINVAL, "syntax", "%s: deadline_ms is from 1 to 3600000", call->method);
		return NULL;
	}
	g.deadline_ns = ms * 1000000;
	g.commit = !split && iod_arg_bool(call, "commit", false);
	g.keep = split && iod_arg_bool(call, "keep", false);
	if (make_group(call, &g))
		return NULL;
	json_t *result = NULL;
	/* The pen first: a suspended volume never waits for another group's record. */
	if (split || iod_epochs_begin(iod->epochs, UINT64_C(2000000000), &call->err) == 0) {
		if (iod_group_run(&g))
			dray_error_set(&call->err, -ENOMEM, "%s: no memory", call->method);
		else if (g.outcome == DRAY_SWITCH_SWITCHED)
			result = switched(&g);
		else
			not_switched(call, &g);
		if (!split)
			iod_epochs_end(iod->epochs);
	}
	give_members(&g, g.n);
	return result;
}

static json_t *do_group(struct iod_call *call, bool split)
{
	struct iod *iod = call->iod;
	const char *token = iod_arg_text(call, "token", "");
	if (!token[0] || strlen(token) > IOD_TOKEN_MAX) {
		dray_error_kind(&call->err, -EINVAL, "syntax", "%s: a token has 1 to %d bytes", call->method, IOD_TOKEN_MAX);
		return NULL;
	}
	json_t *result = NULL;
	pthread_mutex_lock(&iod->lock);
	struct entry *e = find_entry(iod, token);
	while (e && e->outcome != OVER) {
		pthread_cond_wait(&iod->changed, &iod->lock);
		e = find_entry(iod, token);
	}
	bool known = e;
	if (e)
		result = answer_from(call, e);
	else if ((result = recorded_outcome(iod, token)))
		known = true;
	else
		e = new_entry(iod, token);
	pthread_mutex_unlock(&iod->lock);
	if (known)
		return result;
	if (!e) {
		dray_error_set(&call->err, -ENOMEM, "%s: no memory", call->method);
		return NULL;
	}
	result = carry_out(call, split, token);
	pthread_mutex_lock(&iod->lock);
	e->outcome = OVER;
	e->result = result ? json_deep_copy(result) : NULL;
	e->err = call->err;
	e->code = call->code;
	e->data = call->data ? json_deep_copy(call->data) : NULL;
	pthread_cond_broadcast(&iod->changed);
	pthread_mutex_unlock(&iod->lock);
	return result;
}

json_t *iod_do_switch(struct iod_call *call)
{
	return do_group(call, false);
}

json_t *iod_do_split(struct iod_call *call)
{
	return do_group(call, true);
}

json_t *iod_do_switch_status(struct iod_call *call)
{
	struct iod *iod = call->iod;
	const char *token = iod_arg_text(call, "token", "");
	json_t *result = NULL;
	pthread_mutex_lock(&iod->lock);
	const struct entry *e = find_entry(iod, token);
	if (e && e->result) {
		result = json_deep_copy(e->result);
	} else if (e && e->outcome == OVER) {
		const char *outcome = json_string_value(json_object_get(e->data, "outcome"));
		/* The message may hold a name that is not UTF-8. */
		json_t *text = json_string(e->err.text);
		result = json_pack("{s:s s:s s:o}", "outcome", outcome ? outcome : "refused", "kind", e->err.kind, "message",
			text ? text : json_null());
	} else if (e) {
		result = json_pack("{s:s}", "outcome", e->outcome == IN_DOUBT ? "in_doubt" : "running");
	} else {
		result = recorded_outcome(iod, token);
	}
	pthread_mutex_unlock(&iod->lock);
	return result ? result : json_pack("{s:s}", "outcome", "unknown");
}
