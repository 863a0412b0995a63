/* SPDX-License-Identifier: BSD-3-Clause */
#include "iod/verbs.h"

#include "base/log.h"
#include "iod/files.h"

#include <errno.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

/* The export's contract, from the storage that is its first leg (H14). */
static int fix_contract(struct iod_volume_def *def, const struct dray_storage_info *info, struct dray_error *err)
{
	uint32_t asked = def->block_bytes; /* 0: the storage's own */
	def->size_bytes = info->size_bytes;
	def->region_bytes = 1 << 20;
	def->block_bytes = info->block_bytes;
	/* Storage that takes any byte is served in sectors, so that a target may be a device. */
	if (def->block_bytes < 512 && info->size_bytes % 512 == 0)
		def->block_bytes = 512;
	/* Larger blocks than need be: for targets that the volume is to be moved to some day. */
	if (asked && asked % def->block_bytes)
		return dray_error_kind(err, -EINVAL, "block_size", "its blocks have %u bytes, %u were asked for", def->block_bytes, asked);
	if (asked)
		def->block_bytes = asked;
	/* What nobody uses has a contract with nobody: the largest usual block, so that a target may have any. */
	for (uint32_t block = 4096; def->hidden && def->read_only && block > def->block_bytes && block >= 512; block /= 2)
		if (info->size_bytes % block == 0 && block % def->block_bytes == 0)
			def->block_bytes = block;
	if (!info->size_bytes)
		return dray_error_kind(err, -EINVAL, "too_small", "it has no bytes");
	if (info->size_bytes % def->block_bytes)
		return dray_error_kind(err, -EINVAL, "block_size", "its size, %llu, is not a multiple of its blocks of %u bytes",
			(unsigned long long)info->size_bytes, def->block_bytes);
	return 0;
}

/* Makes the volume durable: folder, definition, then the epoch record that has it exist. */
static int make_durable(struct iod_volume *v, struct dray_error *err)
{
	struct iod *iod = v->iod;
	int rc = iod_state_volume_create(&iod->state, v->def.name, err);
	if (rc)
		return rc;
	struct iod_epoch entry = { .epoch = 1, .primary = 1 };
	memcpy(entry.uuid, v->def.uuid, sizeof entry.uuid);
	rc = iod_volume_save(v, err);
	if (!rc)
		rc = iod_epochs_change(iod->epochs, &entry, 1, err);
	if (rc) {
		iod_state_volume_remove(&iod->state, v->def.name, NULL);
		return rc;
	}
	pthread_mutex_lock(&iod->lock);
	v->epoch = v->primary = 1;
	pthread_mutex_unlock(&iod->lock);
	return 0;
}

static int add(struct iod_call *call, struct iod_volume *v, struct iod_leg *leg)
{
	struct iod *iod = call->iod;
	struct dray_storage *st;
	int rc = iod_leg_open_new(leg, true, iod_arg_bool(call, "vouch", false), &st, &call->err);
	if (rc)
		return rc;
	rc = fix_contract(&v->def, &st->info, &call->err);
	if (rc)
		dray_error_prepend(&call->err, "%s", leg->def->resource);
	if (!rc)
		rc = iod_leg_check_other(iod, leg, st->info.identity, &call->err);
	if (rc) {
		dray_storage_close(st);
		return rc;
	}
	iod_leg_record(leg, &st->info);
	iod_leg_install(leg, st);
	rc = make_durable(v, &call->err);
	if (rc) {
		iod_leg_close(leg, false);
		return rc;
	}
	return iod_volume_start(v, true, &call->err);
}

json_t *iod_do_volume_add(struct iod_call *call)
{
	struct iod *iod = call->iod;
	const char *name = iod_arg_text(call, "name", "");
	if (!dray_volume_name_ok(name)) {
		dray_error_kind(&call->err, -EINVAL, "bad_name",
			"volume.add: \"%.140s\": a name is " DRAY_VOLUME_NAME_LEGAL, name);
		return NULL;
	}
	struct iod_volume_def def = { .next_leg_id = 2 };
	strcpy(def.name, name);
	def.hidden = iod_arg_bool(call, "hidden", false);
	def.read_only = iod_arg_bool(call, "read_only", false);
	uint64_t block_bytes = iod_arg_count(call, "block_bytes", 0);
	if (block_bytes && (block_bytes < 512 || block_bytes > 65536 || (block_bytes & (block_bytes - 1)))) {
		dray_error_kind(&call->err, -EINVAL, "block_size", "volume.add: block_bytes is a power of two from 512 to 65536");
		return NULL;
	}
	def.block_bytes = (uint32_t)block_bytes;
	struct iod_leg_def *leg_def = iod_arg_leg(call);
	if (!leg_def)
		return NULL;
	leg_def->id = 1;
	leg_def->role = IOD_ROLE_SOURCE;
	def.legs[0] = leg_def;
	def.n_legs = 1;
	if (getrandom(def.uuid, sizeof def.uuid, 0) != sizeof def.uuid) {
		iod_volume_def_clear(&def);
		dray_error_set(&call->err, -EIO, "volume %s: no random bytes for its uuid", name);
		return NULL;
	}
	struct iod_volume *v = iod_volume_new(iod, &def);
	if (!v) {
		dray_error_set(&call->err, -ENOMEM, "volume %s: no memory", name);
		return NULL;
	}
	/* Registered first, so that of two adds of one name or one storage only one goes on. */
	pthread_mutex_lock(&iod->lock);
	const struct iod_volume *other = dray_table_get(&iod->by_name, name);
	bool exists = other, adding = other && other->adding;
	if (!exists) {
		dray_list_add_tail(&iod->volumes, &v->node);
		dray_table_put(&iod->by_name, name, v);
		v->taken = v->adding = true;
		v->refs++;
		snprintf(v->reason, sizeof v->reason, "volume %s: it is being added", name);
	}
	pthread_mutex_unlock(&iod->lock);
	if (exists) {
		iod_volume_put(v);
		/* No list shows it yet, and it may come to nothing. */
		if (adding)
			dray_error_kind(&call->err, -EBUSY, "busy", "volume %s: one of this name is being added", name);
		else
			dray_error_kind(&call->err, -EEXIST, "exists", "volume %s: there is one of this name", name);
		return NULL;
	}
	int rc = iod_files_begin(&call->err);
	if (!rc) {
		rc = add(call, v, v->legs[0]);
		iod_files_end();
	}
	iod_volume_give(v);
	json_t *result = NULL;
	if (rc) {
		dray_error_prepend(&call->err, "volume %s", name);
		/* Not acknowledged: nothing of it stays. */
		if (v->epoch) {
			struct iod_epoch gone = { .epoch = 0 };
			memcpy(gone.uuid, v->def.uuid, sizeof gone.uuid);
			if (iod_epochs_change(iod->epochs, &gone, 1, NULL) == 0)
				iod_state_volume_remove(&iod->state, name, NULL);
		}
		iod_volume_unregister(v);
	} else {
		pthread_mutex_lock(&iod->lock);
		v->adding = false;
		iod_news_changed(v);
		pthread_mutex_unlock(&iod->lock);
		dray_log(DRAY_LOG_INFO, "volume-added", "%s", name);
		iod_notify(iod, "volume-added", name, 0, NULL, NULL);
		result = iod_volume_json(v);
	}
	iod_volume_put(v);
	return result;
}

static void post_sem(void *arg)
{
	sem_post(arg);
}

static int disconnect(struct iod_volume *v)
{
	sem_t gone;
	sem_init(&gone, 0, 0);
	int rc = dray_nbd_server_disconnect(v->iod->nbd, v->def.name, post_sem, &gone);
	while (!rc && sem_wait(&gone) < 0 && errno == EINTR)
		;
	sem_destroy(&gone);
	return rc;
}

static int check_removable(struct iod_volume *v, struct dray_error *err)
{
	unsigned legs = 0;
	pthread_mutex_lock(&v->iod->lock);
	/* More than v->clients for a moment: a client that got its answer is counted there on the volume's thread, later. */
	unsigned clients = v->exports;
	for (unsigned i = 0; i < v->n_legs; i++)
		legs += v->legs[i]->def->id != v->primary;
	pthread_mutex_unlock(&v->iod->lock);
	if (clients)
		return dray_error_kind(err, -EBUSY, "connected", "volume %s: %u clients are connected", v->def.name, clients);
	if (legs)
		return dray_error_kind(err, -EBUSY, "busy", "volume %s: it has %u further legs", v->def.name, legs);
	return 0;
}

static void set_served(struct iod_volume *v, bool served)
{
	pthread_mutex_lock(&v->iod->lock);
	v->served = served;
	pthread_mutex_unlock(&v->iod->lock);
}

static int remove_volume(struct iod_volume *v, bool force, struct dray_error *err)
{
	struct iod *iod = v->iod;
	bool served = v->served;
	/* New connections are refused from here; who came before is counted. */
	set_served(v, false);
	int rc = force ? 0 : check_removable(v, err);
	if (!rc && disconnect(v))
		rc = dray_error_set(err, -ENOMEM, "volume %s: no memory", v->def.name);
	struct iod_epoch gone = { .epoch = 0 };
	memcpy(gone.uuid, v->def.uuid, sizeof gone.uuid);
	if (!rc)
		rc = iod_epochs_change(iod->epochs, &gone, 1, err);
	if (rc) {
		set_served(v, served);
		return rc;
	}
	/* It does not exist any more; what follows is tidying up. A leg that is stuck is waited for: it must not be let go
	 * while a write to it may still land (H6). */
	while (!iod_volume_stop(v, false, UINT64_C(1000000000)) && iod_sleep(iod, UINT64_C(100000000)))
		;
	struct dray_error why = DRAY_ERROR_INIT;
	if (iod_state_volume_remove(&iod->state, v->def.name, &why))
		dray_log(DRAY_LOG_WARN, "volume-folder", "%s", why.text);
	return 0;
}

json_t *iod_do_volume_remove(struct iod_call *call)
{
	struct iod *iod = call->iod;
	struct iod_volume *v = iod_volume_get(iod, iod_arg_text(call, "name", ""), &call->err);
	if (!v)
		return NULL;
	int rc = iod_volume_take(v, IOD_TAKE_WAIT, &call->err);
	if (!rc) {
		rc = remove_volume(v, iod_arg_bool(call, "force", false), &call->err);
		if (!rc) {
			iod_volume_unregister(v);
			dray_log(DRAY_LOG_INFO, "volume-removed", "%s", v->def.name);
			iod_notify(iod, "volume-removed", v->def.name, 0, NULL, NULL);
		}
		iod_volume_give(v);
	}
	iod_volume_put(v);
	return rc ? NULL : json_object();
}

/* Somebody takes a volume as it is: one that is behind what the agent saw, or whose primary has no identity that outlives a boot. */
json_t *iod_do_volume_accept(struct iod_call *call)
{
	struct iod_volume *v = iod_volume_get(call->iod, iod_arg_text(call, "name", ""), &call->err);
	if (!v)
		return NULL;
	pthread_mutex_lock(&v->iod->lock);
	bool start = v->refused;
	v->refused = false;
	v->accepted = true;
	pthread_mutex_unlock(&v->iod->lock);
	dray_log(DRAY_LOG_WARN, "volume-accepted", "%s, at epoch %llu", v->def.name, (unsigned long long)v->epoch);
	if (start)
		iod_volume_start_later(v);
	json_t *result = iod_volume_json(v);
	iod_volume_put(v);
	return result;
}

json_t *iod_do_volume_list(struct iod_call *call)
{
	struct iod *iod = call->iod;
	const char *since = iod_arg_text(call, "since", NULL);
	if (since) {
		json_t *answer = iod_news_since(iod, since);
		if (!answer)
			dray_error_set(&call->err, -ENOMEM, "volume.list: no memory");
		return answer;
	}
	unsigned n = 0, i = 0;
	pthread_mutex_lock(&iod->lock);
	dray_list_for_each(at, &iod->volumes) n++;
	struct iod_volume **list = calloc(n + 1, sizeof *list);
	if (list)
		dray_list_for_each(at, &iod->volumes)
		{
			struct iod_volume *v = dray_container(at, struct iod_volume, node);
			if (v->adding)
				continue;
			list[i++] = v;
			v->refs++;
		}
	n = i;
	pthread_mutex_unlock(&iod->lock);
	if (!list) {
		dray_error_set(&call->err, -ENOMEM, "volume.list: no memory");
		return NULL;
	}
	json_t *array = json_array();
	for (i = 0; i < n; i++) {
		json_array_append_new(array, iod_volume_json(list[i]));
		iod_volume_put(list[i]);
	}
	free(list);
	return array;
}

json_t *iod_do_volume_get(struct iod_call *call)
{
	struct iod_volume *v = iod_volume_get(call->iod, iod_arg_text(call, "name", ""), &call->err);
	if (!v)
		return NULL;
	json_t *result = iod_volume_json(v);
	if (!result)
		dray_error_set(&call->err, -ENOMEM, "volume %s: no memory", v->def.name);
	iod_volume_put(v);
	return result;
}

/* ---- copy.set ---- */

struct limiting {
	struct iod_volume *v;
	struct dray_copy_limits limits;
	uint64_t rate_now; /* in the place of limits.rate, and not recorded */
	bool same;         /* found: they were in force already, the rate apart */
	int rc;
};

static void set_limits(void *arg)
{
	struct limiting *l = arg;
	struct dray_vol *vol = l->v->vio.vol;
	if (!vol)
		return;
	iod_vio_enter(l->v);
	struct dray_copy_limits before;
	dray_vol_get_limits(vol, &before);
	l->limits.rate = l->rate_now;
	l->rc = dray_vol_set_limits(vol, &l->limits);
	dray_vol_get_limits(vol, &l->limits);
	l->same = before.step_bytes == l->limits.step_bytes && before.steps == l->limits.steps && before.in_flight_bytes == l->limits.in_flight_bytes && before.prio == l->limits.prio &&
		before.app_latency_ns == l->limits.app_latency_ns && before.leg_timeout_ns == l->limits.leg_timeout_ns && before.give_up_ns == l->limits.give_up_ns;
}

/* Null lifts: the engine's 0, which is "no limit" or the default. */
static void change(const struct iod_call *call, const char *name, uint64_t *value)
{
	json_t *v = json_object_get(call->params, name);
	if (v)
		*value = json_is_null(v) ? 0 : (uint64_t)json_integer_value(v);
}

static void change_rate(const struct iod_call *call, const char *name, uint64_t *rate)
{
	json_t *r = json_object_get(call->params, name);
	change(call, name, rate);
	if (json_is_integer(r) && json_integer_value(r) == 0)
		*rate = DRAY_RATE_STOP;
}

static int change_limits(struct iod_call *call, struct iod_volume *v, struct limiting *l)
{
	uint64_t steps = l->limits.steps, timeout_ms = 0;

	change(call, "step_bytes", &l->limits.step_bytes);
	change(call, "steps", &steps);
	change(call, "in_flight_bytes", &l->limits.in_flight_bytes);
	change_rate(call, "rate", &l->limits.rate);
	l->rate_now = l->limits.rate;
	change_rate(call, "rate_now", &l->rate_now);
	if (json_object_get(call->params, "app_latency_us")) {
		uint64_t us = 0;
		change(call, "app_latency_us", &us);
		if (us > UINT64_C(3600000000))
			return dray_error_kind(&call->err, -EINVAL, "syntax", "copy.set: app_latency_us is more than an hour");
		l->limits.app_latency_ns = us * 1000;
	}
	json_t *level = json_object_get(call->params, "io_level");
	if (level) {
		if (json_integer_value(level) > 7)
			return dray_error_kind(&call->err, -EINVAL, "syntax", "copy.set: io_level is more than 7");
		l->limits.prio = json_is_null(level) ? 0 : (unsigned)json_integer_value(level) + 1;
	}
	if (json_object_get(call->params, "leg_timeout_ms")) {
		change(call, "leg_timeout_ms", &timeout_ms);
		if (timeout_ms > UINT64_C(86400000))
			return dray_error_kind(&call->err, -EINVAL, "syntax", "copy.set: leg_timeout_ms is more than a day");
		l->limits.leg_timeout_ns = timeout_ms * 1000000;
	}
	if (steps > 100000)
		return dray_error_kind(&call->err, -EINVAL, "syntax", "copy.set: too many steps");
	l->limits.steps = (unsigned)steps;
	struct dray_copy_limits asked = l->limits;
	iod_thread_call(v->thread, set_limits, l);
	if (l->rc)
		return dray_error_kind(&call->err, l->rc, "syntax",
			"copy.set: the engine does not take these (step_bytes: a power of two from 16384 on)");
	/* The defaults, said in numbers: what is recorded has the same effect. A rate that is lent is changed often, and costs no record. */
	if (l->same && asked.rate == v->def.limits.rate && !v->limits_unsaved)
		return 0;
	pthread_mutex_lock(&v->iod->lock);
	v->def.limits = asked;
	pthread_mutex_unlock(&v->iod->lock);
	int rc = iod_volume_save(v, &call->err);
	pthread_mutex_lock(&v->iod->lock); /* its neighbours in memory are read under it */
	v->limits_unsaved = rc;
	pthread_mutex_unlock(&v->iod->lock);
	return rc;
}

json_t *iod_do_copy_set(struct iod_call *call)
{
	struct iod_volume *v = iod_volume_get(call->iod, iod_arg_text(call, "volume", ""), &call->err);
	if (!v)
		return NULL;
	struct limiting l = { .v = v };
	uint64_t recorded_rate = 0;
	int rc = iod_volume_take(v, IOD_TAKE_WAIT, &call->err);
	if (!rc) {
		l.limits = v->def.limits;
		rc = change_limits(call, v, &l);
		recorded_rate = v->def.limits.rate;
		iod_volume_give(v);
	}
	iod_volume_put(v);
	return rc ? NULL : iod_limits_json(&l.limits, recorded_rate);
}
