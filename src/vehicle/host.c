/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The vehicle `host`: dray-iod copies and mirrors.
 *
 * An online pair is legs on the volume that applications use. An offline pair gets a volume of its own that is not exported
 * and whose source is opened read-only; nobody writes to it, so the copy alone makes it complete.
 *
 * What dray-iod says is read defensively, member by member: an answer without a number counts as zero, and nothing in
 * it can make the agent fail.
 */
#include "vehicle/vehicle.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void probe(const struct dray_vehicle_facts *facts, struct dray_vehicle_offer *offer)
{
	*offer = (struct dray_vehicle_offer){ .rank = 10 };
	if (!facts->iod_ready) {
		snprintf(offer->why, sizeof offer->why, "dray-iod does not answer");
	} else if (facts->n_targets > 7) {
		snprintf(offer->why, sizeof offer->why, "%u targets, 7 are possible", facts->n_targets);
	} else {
		offer->possible = true;
		snprintf(offer->why, sizeof offer->why, "copied by dray-iod on this host");
	}
}

static char *volume_name(const struct dray_session *s, const struct dray_pair *p)
{
	const char *name = dray_source_volume(&p->source);
	char *made;
	if (name)
		return strdup(name);
	return asprintf(&made, "%s.%u", s->id, p->id) < 0 ? NULL : made;
}

static json_t *resource_json(const struct dray_resource *r)
{
	if (!r->slice)
		return json_string(r->resource);
	return json_pack("{s:s, s:I, s:I}", "resource", r->resource, "offset", (json_int_t)r->offset, "length",
		(json_int_t)r->length);
}

/* What was checked when the session was submitted is what has to be there now, whatever names mean after a restart of the host
 * (H2). A file that was to be made had no identity then, only a name. */
static json_t *as_checked(json_t *params, const struct dray_session *s, const struct dray_pair *p, const char *identity)
{
	if (!identity || !*identity || !strncmp(identity, "name:", 5) || !s->boot_id)
		return params;
	json_object_set_new(params, "identity", json_string(identity));
	json_object_set_new(params, "boot_id", json_string(s->boot_id));
	if (p->vouched)
		json_object_set_new(params, "vouch", json_true());
	return params;
}

static void prepare(struct dray_rpc *rpc, const struct dray_session *s, const struct dray_pair *p, dray_vehicle_done *done,
	void *arg)
{
	json_t *params = json_pack("{s:s, s:o, s:b, s:b}", "name", p->iod_volume, "resource", resource_json(&p->source), "hidden", 1,
		"read_only", 1);
	rpc->call(rpc, "volume.add", as_checked(params, s, p, p->source_identity), done, arg);
}

static void start(struct dray_rpc *rpc, const struct dray_session *s, const struct dray_pair *p, size_t target,
	dray_vehicle_done *done, void *arg)
{
	static const char *const create[] = { [DRAY_CREATE_NONE] = "none", [DRAY_CREATE_THIN] = "thin",
		[DRAY_CREATE_FULL] = "full" };
	const struct dray_target *t = &p->targets[target];
	char *tag = dray_vehicle_tag(s, p, target);
	json_t *params = json_pack("{s:s, s:o, s:s, s:s, s:b, s:s}", "volume", p->iod_volume, "resource", resource_json(&t->at), "role",
		t->copy_role ? "copy" : "successor", "create", create[p->create], "durable", s->checkpoint, "tag", tag ? tag : "");
	rpc->call(rpc, "leg.attach", as_checked(params, s, p, t->identity), done, arg);
	free(tag);
}

static uint64_t number(const json_t *object, const char *key)
{
	json_t *v = json_object_get(object, key);
	return json_is_integer(v) && json_integer_value(v) > 0 ? (uint64_t)json_integer_value(v) : 0;
}

static bool flag(const json_t *object, const char *key)
{
	return json_is_true(json_object_get(object, key));
}

static const char *text(const json_t *object, const char *key)
{
	const char *s = json_string_value(json_object_get(object, key));
	return s ? s : "";
}

static void read_leg(const json_t *leg, struct dray_leg_view *view)
{
	view->found = true;
	view->leg = (int)number(leg, "id");
	snprintf(view->state, sizeof view->state, "%s", text(leg, "state"));
	view->primary = !strcmp(view->state, "primary");
	view->degraded = !strcmp(view->state, "degraded");
	view->synced = flag(leg, "synced");
	view->paused = flag(leg, "paused");
	view->held = flag(leg, "held");
	view->set_aside = flag(leg, "set_aside");
	view->size_bytes = number(leg, "size_bytes");
	view->dirty_bytes = number(leg, "dirty_bytes");
	view->doubt_bytes = number(leg, "doubt_bytes");
	view->done_bytes = number(leg, "done_bytes");
	view->copied_bytes = number(leg, "copied_bytes");
	view->skipped_bytes = number(leg, "skipped_bytes") + number(leg, "zeroed_bytes");
	view->recopied_bytes = number(leg, "recopied_bytes");
	view->unsettled = number(leg, "unsettled");
	snprintf(view->error, sizeof view->error, "%s", text(leg, "error"));
	view->identity = text(leg, "identity");
	json_t *verify = json_object_get(leg, "verify");
	view->verify_seen = json_is_object(verify);
	view->verify_running = flag(verify, "running");
	view->verify_compared_bytes = number(verify, "compared_bytes");
	view->verify_skipped_bytes = number(verify, "skipped_bytes");
	view->verify_differing_bytes = number(verify, "differing_bytes");
	view->verify_repaired_bytes = number(verify, "repaired_bytes");
	view->verify_ranges = json_object_get(verify, "ranges");
}

static int observe(json_t *volume, const struct dray_session *s, const struct dray_pair *p,
	struct dray_pair_view *view)
{
	dray_pair_view_free(view);
	view->primary_target = -1;
	view->targets = calloc(p->n_targets, sizeof *view->targets);
	if (!view->targets)
		return -ENOMEM;
	view->n_targets = p->n_targets;
	size_t k;
	const json_t *leg;
	if (!volume)
		return 0;
	view->volume = json_incref(volume);
	view->found = true;
	view->served = flag(volume, "served");
	view->suspended = flag(volume, "suspended");
	view->in_doubt = flag(volume, "in_doubt");
	snprintf(view->why_not_served, sizeof view->why_not_served, "%s", text(volume, "reason"));
	snprintf(view->uuid, sizeof view->uuid, "%s", text(volume, "uuid"));
	view->size_bytes = number(volume, "size_bytes");
	view->epoch = number(volume, "epoch");
	view->bad_bytes = number(volume, "bad_bytes");
	view->bad_behind_bytes = number(volume, "bad_behind_bytes");
	view->trouble_bytes = number(volume, "trouble_bytes");
	snprintf(view->source_error, sizeof view->source_error, "%s", text(volume, "source_error"));
	view->bad_ranges = json_object_get(volume, "bad_ranges");
	view->predicted_blackout_us = json_is_integer(json_object_get(volume, "predicted_blackout_us"))
					      ? number(volume, "predicted_blackout_us")
					      : DRAY_UNKNOWN;
	snprintf(view->bound, sizeof view->bound, "%s", text(volume, "copy_bound"));
	view->paced_bytes = number(volume, "paced_bytes");
	const json_t *rate_now = json_object_get(json_object_get(volume, "limits"), "rate_now");
	view->rate_now = json_is_integer(rate_now) ? (uint64_t)json_integer_value(rate_now) : DRAY_UNKNOWN;
	json_array_foreach (json_object_get(volume, "legs"), k, leg) {
		struct dray_leg_view *into = NULL;
		for (size_t t = 0; t < p->n_targets && !into; t++) {
			char *tag = dray_vehicle_tag(s, p, t);
			if (tag && !strcmp(tag, text(leg, "tag")))
				into = &view->targets[t];
			free(tag);
		}
		/* Of the other legs, the source is the one that serves, or that served before the switch. */
		if (!into && (!strcmp(text(leg, "state"), "primary") || !strcmp(text(leg, "role"), "source")))
			into = &view->source;
		if (!into)
			continue;
		read_leg(leg, into);
		if (into != &view->source && into->primary)
			view->primary_target = (int)(into - view->targets);
	}
	return 0;
}

static void pause_leg(struct dray_rpc *rpc, const struct dray_pair *p, int leg, bool paused, bool detach,
	dray_vehicle_done *done, void *arg)
{
	json_t *params = json_pack("{s:s, s:i, s:b}", "volume", p->iod_volume, "leg", leg, "paused", paused);
	if (detach)
		json_object_set_new(params, "detach", json_true());
	rpc->call(rpc, "leg.pause", params, done, arg);
}

static json_t *of_leg(const struct dray_pair *p, int leg)
{
	return json_pack("{s:s, s:i}", "volume", p->iod_volume, "leg", leg);
}

static void retry(struct dray_rpc *rpc, const struct dray_pair *p, int leg, dray_vehicle_done *done, void *arg)
{
	json_t *params = of_leg(p, leg);
	json_object_set_new(params, "vouch", json_boolean(p->vouched));
	rpc->call(rpc, "leg.retry", params, done, arg);
}

static void put_limit(json_t *params, const char *key, uint64_t value)
{
	json_object_set_new(params, key, value == DRAY_UNKNOWN ? json_null() : json_integer((json_int_t)value));
}

static void set_limits(struct dray_rpc *rpc, const struct dray_pair *p, const struct dray_vehicle_limits *limits, dray_vehicle_done *done,
	void *arg)
{
	json_t *params = json_pack("{s:s}", "volume", p->iod_volume);
	put_limit(params, "step_bytes", limits->step);
	put_limit(params, "steps", limits->steps);
	put_limit(params, "in_flight_bytes", limits->in_flight);
	put_limit(params, "rate", limits->rate);
	if (limits->rate_now != limits->rate)
		put_limit(params, "rate_now", limits->rate_now);
	put_limit(params, "app_latency_us", limits->app_latency_ns == DRAY_UNKNOWN ? DRAY_UNKNOWN : limits->app_latency_ns / 1000);
	if (limits->io_level != DRAY_UNKNOWN)
		put_limit(params, "io_level", limits->io_level);
	put_limit(params, "leg_timeout_ms", limits->leg_timeout_ns / 1000000);
	rpc->call(rpc, "copy.set", params, done, arg);
}

static void verify_start(struct dray_rpc *rpc, const struct dray_pair *p, int leg, unsigned sample, bool repair,
	dray_vehicle_done *done, void *arg)
{
	rpc->call(rpc, "verify.start",
		json_pack("{s:s, s:i, s:i, s:b}", "volume", p->iod_volume, "leg", leg, "sample", (int)sample, "repair", repair),
		done, arg);
}

static void verify_stop(struct dray_rpc *rpc, const struct dray_pair *p, int leg, dray_vehicle_done *done, void *arg)
{
	rpc->call(rpc, "verify.stop", of_leg(p, leg), done, arg);
}

static json_t *with_bad(json_t *member, const struct dray_switch_member *m)
{
	if (m->force)
		json_object_set_new(member, "force", json_true());
	if (m->accept_bad_bytes)
		json_object_set_new(member, "accept_bad_bytes", json_integer((json_int_t)m->accept_bad_bytes));
	return member;
}

static void switch_group(struct dray_rpc *rpc, const struct dray_switch_member *members, size_t n, uint64_t deadline_ns,
	bool commit, const char *token, dray_vehicle_done *done, void *arg)
{
	json_t *list = json_array();
	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, with_bad(json_pack("{s:s, s:i, s:I}", "volume", members[i].volume, "leg", members[i].leg,
							     "epoch", (json_int_t)members[i].epoch), &members[i]));
	json_t *params = json_pack("{s:o, s:I, s:s}", "members", list, "deadline_ms", (json_int_t)(deadline_ns / 1000000), "token", token);
	if (commit)
		json_object_set_new(params, "commit", json_true());
	rpc->call(rpc, "switch", params, done, arg);
}

static void split_group(struct dray_rpc *rpc, const struct dray_switch_member *members, const int (*legs)[9], size_t n,
	uint64_t deadline_ns, bool keep, const char *token, dray_vehicle_done *done, void *arg)
{
	json_t *list = json_array();
	for (size_t i = 0; i < n; i++) {
		json_t *ids = json_array();
		for (const int *leg = legs[i]; *leg >= 0; leg++)
			json_array_append_new(ids, json_integer(*leg));
		json_array_append_new(list, with_bad(json_pack("{s:s, s:o}", "volume", members[i].volume, "legs", ids), &members[i]));
	}
	json_t *params = json_pack("{s:o, s:I, s:s}", "members", list, "deadline_ms", (json_int_t)(deadline_ns / 1000000), "token", token);
	if (keep)
		json_object_set_new(params, "keep", json_true());
	rpc->call(rpc, "split", params, done, arg);
}

static void switch_status(struct dray_rpc *rpc, const char *token, dray_vehicle_done *done, void *arg)
{
	rpc->call(rpc, "switch.status", json_pack("{s:s}", "token", token), done, arg);
}

static void commit(struct dray_rpc *rpc, const struct dray_pair *p, int leg, dray_vehicle_done *done, void *arg)
{
	rpc->call(rpc, "commit", of_leg(p, leg), done, arg);
}

static void cancel(struct dray_rpc *rpc, const struct dray_pair *p, int leg, dray_vehicle_done *done, void *arg)
{
	rpc->call(rpc, "leg.detach", of_leg(p, leg), done, arg);
}

static void cleanup(struct dray_rpc *rpc, const struct dray_session *s, const struct dray_pair *p, dray_vehicle_done *done,
	void *arg)
{
	rpc->call(rpc, "volume.remove", json_pack("{s:s}", "name", p->iod_volume), done, arg);
}

const struct dray_vehicle dray_vehicle_host = {
	.name = "host",
	.what = "dray-iod copies on this host and mirrors what applications write",
	.online = true,
	.offline = true,
	.can_pause = true,
	.checkpoint = true,
	.limits = true,
	.verify = true,
	.group = true,
	.undo = true,
	.probe = probe,
	.volume_name = volume_name,
	.prepare = prepare,
	.start = start,
	.observe = observe,
	.pause = pause_leg,
	.retry = retry,
	.set_limits = set_limits,
	.verify_start = verify_start,
	.verify_stop = verify_stop,
	.switch_group = switch_group,
	.split_group = split_group,
	.switch_status = switch_status,
	.commit = commit,
	.cancel = cancel,
	.cleanup = cleanup,
};
