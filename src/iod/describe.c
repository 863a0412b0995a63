/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A volume as JSON. The engine's figures are taken on the I/O thread in one call, so that they fit together; the rest from
 * the registry.
 */
#include "iod/peers.h"
#include "iod/volume.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct snapshot {
	struct iod_volume *v;
	uint64_t now_ns;
	bool live;
	struct dray_vol_info vol;
	struct dray_copy_limits limits;
	struct dray_bad_range bad[DRAY_BAD_RANGES_MOST];
	unsigned n;
	struct {
		unsigned id;
		struct dray_leg_info info;
	} leg[DRAY_MAX_LEGS];
	unsigned n_hopeful;
	unsigned hopeful[DRAY_MAX_LEGS]; /* ids */
};

/* Before the engine is asked: it calls a leg held until the attempt that opens it has said so, and is done. The other way round, one that was
 * opened in between would be told as given up. */
static void take_hopeful(struct snapshot *s)
{
	struct iod_volume *v = s->v;
	pthread_mutex_lock(&v->iod->lock);
	for (unsigned i = 0; i < v->n_legs && s->n_hopeful < DRAY_MAX_LEGS; i++)
		if (iod_leg_hopeful(v->legs[i]))
			s->hopeful[s->n_hopeful++] = v->legs[i]->def->id;
	pthread_mutex_unlock(&v->iod->lock);
}

static bool hopeful(const struct snapshot *s, unsigned id)
{
	for (unsigned i = 0; i < s->n_hopeful; i++)
		if (s->hopeful[i] == id)
			return true;
	return false;
}

static void take(void *arg)
{
	struct snapshot *s = arg;
	struct iod_vio *vio = &s->v->vio;
	if (!vio->vol)
		return;
	s->live = true;
	/* To look is no news. What a tick finds out by itself it tells as an event, but for what binds the copy, which may change by time alone. */
	bool news = !dray_list_empty(&vio->news_node), touched = vio->touched;
	vio->eventful = false;
	enum dray_bound was = dray_vol_bound(vio->vol);
	iod_vio_enter(s->v);
	s->now_ns = vio->ticked_ns;
	dray_vol_info(vio->vol, &s->vol);
	dray_vol_get_limits(vio->vol, &s->limits);
	dray_vol_bad_ranges(vio->vol, s->bad, DRAY_BAD_RANGES_MOST);
	for (int i = 0; i < DRAY_MAX_LEGS; i++)
		if (vio->legs[i] && dray_vol_leg_info(vio->vol, i, &s->leg[s->n].info) == 0)
			s->leg[s->n++].id = vio->legs[i]->def->id;
	vio->touched = touched; /* nothing was asked of it, so there is nothing for the hook to look after */
	if (!news && !vio->eventful && s->vol.bound == was)
		dray_list_del(&vio->news_node);
}

/* The bucket below which `share` of the requests lie, as its upper bound in microseconds. */
static json_int_t percentile(const uint64_t *bucket, double share)
{
	uint64_t all = 0, sum = 0;
	for (int i = 0; i < DRAY_LATENCY_BUCKETS; i++)
		all += bucket[i];
	if (!all)
		return 0;
	for (int i = 0; i < DRAY_LATENCY_BUCKETS; i++) {
		sum += bucket[i];
		if ((double)sum >= share * (double)all)
			return (json_int_t)1 << i;
	}
	return (json_int_t)1 << (DRAY_LATENCY_BUCKETS - 1);
}

static json_t *verify_json(const struct dray_leg_info *i)
{
	if (!i->verifying && !i->verify_compared_bytes)
		return json_null();
	json_t *ranges = json_array();
	for (unsigned k = 0; k < i->verify_ranges; k++)
		json_array_append_new(ranges, json_pack("{s:I s:I}", "offset", (json_int_t)i->verify_range[k].offset, "length",
			(json_int_t)i->verify_range[k].length));
	return json_pack("{s:b s:I s:I s:I s:I s:o}", "running", i->verifying, "compared_bytes",
		(json_int_t)i->verify_compared_bytes, "skipped_bytes", (json_int_t)i->verify_skipped_bytes, "differing_bytes", (json_int_t)i->verify_differing_bytes, "repaired_bytes",
		(json_int_t)i->verify_repaired_bytes, "ranges", ranges);
}

static json_t *resource_json(const struct iod_leg_def *d)
{
	if (!d->length && !d->offset)
		return json_string(d->resource);
	return json_pack("{s:s s:I s:I}", "resource", d->resource, "offset", (json_int_t)d->offset, "length",
		(json_int_t)d->length);
}

static void put(json_t *o, const char *key, uint64_t value)
{
	json_object_set_new(o, key, json_integer((json_int_t)value));
}

static json_t *leg_json(const struct snapshot *s, const struct iod_leg *leg)
{
	const struct iod_leg_def *d = leg->def;
	struct dray_leg_info i = { .state = DRAY_LEG_NONE };
	bool live = false;
	for (unsigned k = 0; k < s->n; k++)
		if (s->leg[k].id == d->id) {
			i = s->leg[k].info;
			live = true;
		}
	bool primary = live ? i.state == DRAY_LEG_PRIMARY : d->id == s->v->primary;
	/* The primary has no bytes to be brought: all of it is done. */
	if (primary)
		i.done_bytes = i.recorded_bytes = s->v->def.size_bytes;
	else if (!live)
		i.dirty_bytes = s->v->def.size_bytes;
	const char *state = live ? iod_leg_state_name(i.state) : primary ? "primary" : leg->forgotten ? "detached" : "degraded";
	json_t *o = json_pack("{s:i s:s s:o s:s s:s s:s s:b s:b s:b}", "id", (int)d->id, "tag", d->tag, "resource",
		resource_json(d), "identity", d->identity, "role", iod_role_name(d->role), "state", state, "synced", i.synced,
		"paused", i.paused || (!live && d->paused), "held", i.held && !hopeful(s, d->id));
	json_object_set_new(o, "set_aside", json_boolean(d->set_aside));
	json_object_set_new(o, "path", leg->path[0] ? json_string(leg->path) : json_null());
	json_object_set_new(o, "stable", json_boolean(d->stable));
	put(o, "size_bytes", d->size_bytes);
	json_object_set_new(o, "can_discard", json_boolean(leg->storage && leg->info.can_discard));
	put(o, "dirty_bytes", i.dirty_bytes);
	put(o, "doubt_bytes", i.doubt_bytes);
	put(o, "done_bytes", i.done_bytes);
	put(o, "recorded_bytes", i.recorded_bytes);
	put(o, "copied_bytes", i.copied_bytes);
	put(o, "skipped_bytes", i.skipped_bytes);
	put(o, "zeroed_bytes", i.zeroed_bytes);
	put(o, "compared_bytes", i.compared_bytes);
	put(o, "recopied_bytes", i.recopied_bytes);
	put(o, "mirrored_bytes", i.mirrored_bytes);
	put(o, "unsettled", i.unsettled);
	json_object_set_new(o, "error", leg->error[0] ? json_string(leg->error) :
		i.last_error && i.state == DRAY_LEG_DEGRADED ? json_string(strerror(-i.last_error)) : json_null());
	put(o, "degraded_ms", i.state == DRAY_LEG_DEGRADED && s->now_ns > i.degraded_since_ns ?
		(s->now_ns - i.degraded_since_ns) / 1000000 : 0);
	json_object_set_new(o, "verify", verify_json(&i));
	return o;
}

static json_t *rate_json(uint64_t rate)
{
	return rate == DRAY_RATE_STOP ? json_integer(0) : rate ? json_integer((json_int_t)rate) : json_null();
}

static const char *bound_word(const struct snapshot *s)
{
	static const char *const words[] = { [DRAY_BOUND_STORAGE] = "storage", [DRAY_BOUND_RATE] = "rate", [DRAY_BOUND_IN_FLIGHT] = "in_flight",
		[DRAY_BOUND_STEPS] = "steps", [DRAY_BOUND_WINDOW] = "window", [DRAY_BOUND_NEIGHBOUR] = "neighbour" };
	return s->live ? words[s->vol.bound] : NULL;
}

json_t *iod_limits_json(const struct dray_copy_limits *l, uint64_t recorded_rate)
{
	json_t *o = json_object();
	put(o, "step_bytes", l->step_bytes);
	put(o, "steps", l->steps);
	json_object_set_new(o, "in_flight_bytes",
		l->in_flight_bytes ? json_integer((json_int_t)l->in_flight_bytes) : json_null());
	json_object_set_new(o, "rate", rate_json(recorded_rate));
	json_object_set_new(o, "rate_now", rate_json(l->rate));
	json_object_set_new(o, "app_latency_us", l->app_latency_ns ? json_integer((json_int_t)(l->app_latency_ns / 1000)) : json_null());
	json_object_set_new(o, "io_level", l->prio ? json_integer(l->prio - 1) : json_null());
	put(o, "leg_timeout_ms", l->leg_timeout_ns / 1000000);
	return o;
}

static json_t *bad_json(const struct snapshot *s)
{
	json_t *list = json_array();
	for (unsigned i = 0; s->live && i < s->vol.bad_ranges; i++)
		json_array_append_new(list, json_pack("{s:I s:I s:b}", "offset", (json_int_t)s->bad[i].offset, "length",
			(json_int_t)s->bad[i].length, "lost", s->bad[i].lost));
	return list;
}

static json_t *uri_json(const struct iod_volume *v)
{
	if (v->def.hidden)
		return json_null();
	char uri[1024];
	int n = snprintf(uri, sizeof uri, "nbd+unix:///%s?socket=", v->def.name);
	for (const char *p = v->iod->nbd_socket; *p && n + 4 < (int)sizeof uri; p++) {
		/* What may stand in a query (RFC 3986) without being coded. */
		if (strchr("/-._~:@", *p) || (*p >= '0' && *p <= '9') || (*p >= 'A' && *p <= 'Z') || (*p >= 'a' && *p <= 'z'))
			uri[n++] = *p;
		else
			n += sprintf(uri + n, "%%%02X", (unsigned char)*p);
	}
	uri[n] = '\0';
	return json_string(uri);
}

json_t *iod_volume_json(struct iod_volume *v)
{
	struct snapshot *s = calloc(1, sizeof *s);
	if (!s)
		return NULL;
	s->v = v;
	take_hopeful(s);
	iod_thread_call(v->thread, take, s);
	uint64_t record_ns = iod_epochs_ewma_ns(v->iod->epochs);
	char uuid[37];
	iod_uuid_format(v->def.uuid, uuid);

	json_t *devices = iod_peers_devices(v);

	pthread_mutex_lock(&v->iod->lock);
	json_t *legs = json_array(), *resource = json_null();
	for (unsigned i = 0; i < v->n_legs; i++) {
		json_array_append_new(legs, leg_json(s, v->legs[i]));
		if (v->legs[i]->def->id == v->primary) {
			json_decref(resource);
			resource = resource_json(v->legs[i]->def);
		}
	}
	json_t *o = json_pack("{s:s s:s s:b s:b s:o s:I s:I s:I s:o s:I s:i s:i s:b s:s? s:b s:b s:o}", "name", v->def.name,
		"uuid", uuid, "hidden", v->def.hidden, "read_only", v->def.read_only, "resource", resource, "size_bytes",
		(json_int_t)v->def.size_bytes, "block_bytes", (json_int_t)v->def.block_bytes, "region_bytes",
		(json_int_t)v->def.region_bytes, "uri", uri_json(v), "epoch", (json_int_t)v->epoch, "primary", (int)v->primary,
		"clients", (int)atomic_load(&v->clients), "served", v->served, "reason", v->served ? NULL : v->reason,
		"suspended", s->live && s->vol.suspended, "in_doubt", s->live && s->vol.in_doubt, "legs", legs);
	json_object_set_new(o, "limits", iod_limits_json(s->live ? &s->limits : &v->def.limits, v->def.limits.rate));
	const char *bound = bound_word(s);
	json_object_set_new(o, "copy_bound", bound ? json_string(bound) : json_null());
	put(o, "paced_bytes", s->vol.paced_bytes);
	json_object_set_new(o, "nbd_devices", devices);
	put(o, "bad_bytes", s->vol.bad_bytes);
	put(o, "bad_behind_bytes", s->vol.bad_behind_bytes);
	json_object_set_new(o, "bad_ranges", bad_json(s));
	put(o, "trouble_bytes", s->vol.trouble_bytes);
	json_object_set_new(o, "source_error", s->vol.trouble_bytes ? json_string(strerror(-s->vol.source_error)) : json_null());
	put(o, "predicted_blackout_us", (s->vol.flush_ns + s->vol.write_ewma_ns + record_ns) / 1000);
	json_object_set_new(o, "latency_us", json_pack("{s:I s:I s:I s:I}", "read_p50", percentile(s->vol.latency_read, 0.5),
		"read_p99", percentile(s->vol.latency_read, 0.99), "write_p50", percentile(s->vol.latency_write, 0.5),
		"write_p99", percentile(s->vol.latency_write, 0.99)));
	json_object_set_new(o, "copy_window", json_pack("{s:f s:I s:I s:I}", "steps", (double)s->vol.window / 16, "app_us",
		(json_int_t)(s->vol.app_ns / 1000), "base_us", (json_int_t)(s->vol.app_base_ns / 1000), "allowed_us",
		(json_int_t)(s->vol.app_allowed_ns / 1000)));
	json_t *counters = json_object();
	put(counters, "reads", s->vol.reads);
	put(counters, "writes", s->vol.writes);
	put(counters, "read_bytes", s->vol.read_bytes);
	put(counters, "write_bytes", s->vol.write_bytes);
	put(counters, "flushes", s->vol.flushes);
	put(counters, "errors", s->vol.errors);
	json_object_set_new(o, "counters", counters);
	json_object_set_new(o, "last_switch", !v->token[0] ? json_null() :
		json_pack("{s:s s:o s:o}", "token", v->token,
			"blackout_us", v->blackout_us < 0 ? json_null() : json_integer(v->blackout_us),
			"suspended_us", v->suspended_us < 0 ? json_null() : json_integer(v->suspended_us)));
	pthread_mutex_unlock(&v->iod->lock);
	free(s);
	return o;
}
