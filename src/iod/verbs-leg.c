/* SPDX-License-Identifier: BSD-3-Clause */
#include "iod/verbs.h"

#include "base/log.h"
#include "base/crash.h"
#include "iod/files.h"
#include "iod/mapfile.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct iod_leg *primary_of(struct iod_volume *v)
{
	struct iod_leg *primary = NULL;
	pthread_mutex_lock(&v->iod->lock);
	for (unsigned i = 0; i < v->n_legs; i++)
		if (v->legs[i]->def->id == v->primary)
			primary = v->legs[i];
	pthread_mutex_unlock(&v->iod->lock);
	return primary;
}

static int create_target(struct iod_call *call, struct iod_volume *v, const char *resource, bool *created)
{
	const char *create = iod_arg_text(call, "create", "none");
	/* Only files can be made. Anything else is there, or opening it says that it is not. */
	if (strcmp(create, "none") == 0 || strstr(resource, "://") || strncmp(resource, "fault:", 6) == 0)
		return 0;
	int rc = dray_storage_create(resource, v->def.size_bytes, strcmp(create, "full") == 0, &call->err);
	*created = rc == 0;
	if (rc == -EEXIST) { /* "make a missing one": it is not missing */
		call->err = DRAY_ERROR_INIT;
		rc = 0;
	}
	return rc;
}

/* The leg is on the volume's list, its storage is not open yet. After failure the caller drops it. */
static int attach(struct iod_call *call, struct iod_leg *leg, bool known_zero)
{
	struct iod_volume *v = leg->volume;
	struct iod_leg *primary = primary_of(v);
	struct dray_storage *st;
	int map_fd = -1;

	int rc = iod_leg_open_new(leg, false, iod_arg_bool(call, "vouch", false), &st, &call->err);
	if (rc)
		return rc;
	rc = iod_volume_need_bad(v, &call->err);
	if (rc) {
		dray_storage_close(st);
		return rc;
	}
	iod_leg_record(leg, &st->info);
	iod_leg_install(leg, st);
	if (leg->def->durable) {
		map_fd = iod_map_create(&v->iod->state, &v->def, leg->def->peer, leg->def->id, &call->err);
		if (map_fd < 0) {
			iod_leg_close(leg, false);
			return map_fd;
		}
	}
	pthread_mutex_lock(&v->iod->lock);
	v->def.next_leg_id++;
	leg->forgotten = false;
	primary->def->role = IOD_ROLE_SOURCE; /* of this pair; it may have been the successor of one before */
	pthread_mutex_unlock(&v->iod->lock);
	rc = iod_volume_save(v, &call->err);
	if (!rc)
		rc = iod_leg_attach_new(leg, primary, known_zero, map_fd, &call->err);
	else if (map_fd >= 0)
		close(map_fd);
	if (rc) {
		pthread_mutex_lock(&v->iod->lock);
		leg->forgotten = true;
		pthread_mutex_unlock(&v->iod->lock);
		iod_volume_save(v, NULL);
		iod_map_remove(&v->iod->state, v->def.name, leg->def->peer, leg->def->id);
		iod_leg_close(leg, false);
	}
	return rc;
}

static json_t *attach_taken(struct iod_call *call, struct iod_volume *v, struct iod_leg_def *def)
{
	bool created = false;
	if (!v->served) {
		dray_error_kind(&call->err, -ENXIO, "not_served", "volume %s: it is not served: %.300s", v->def.name, v->reason);
		iod_leg_def_free(def);
		return NULL;
	}
	def->id = v->def.next_leg_id;
	def->peer = v->primary;
	int rc = create_target(call, v, def->resource, &created);
	struct iod_leg *leg = rc ? NULL : iod_volume_leg_add(v, def);
	if (!leg) {
		if (!rc)
			dray_error_kind(&call->err, -ENOSPC, "unsupported", "volume %s: a volume has at most %d legs", v->def.name,
				IOD_LEGS_MAX);
		iod_leg_def_free(def);
		return NULL;
	}
	unsigned id = def->id;
	/* Not in volume.json before its map is durable. */
	pthread_mutex_lock(&v->iod->lock);
	leg->forgotten = true;
	pthread_mutex_unlock(&v->iod->lock);
	rc = attach(call, leg, created);
	if (rc) {
		dray_error_prepend(&call->err, "volume %s", v->def.name);
		if (created && !strstr(def->resource, "://"))
			unlink(strncmp(def->resource, "file:", 5) == 0 ? def->resource + 5 : def->resource);
		iod_volume_leg_drop(leg);
		return NULL;
	}
	dray_log(DRAY_LOG_INFO, "leg-attached", "%s leg %u: %s", v->def.name, id, def->resource);
	return json_pack("{s:i s:o}", "leg", (int)id, "volume", iod_volume_json(v));
}

json_t *iod_do_leg_attach(struct iod_call *call)
{
	struct iod_volume *v = iod_volume_get(call->iod, iod_arg_text(call, "volume", ""), &call->err);
	if (!v)
		return NULL;
	json_t *result = NULL;
	struct iod_leg_def *def = iod_arg_leg(call);
	if (def) {
		def->role = iod_role_parse(iod_arg_text(call, "role", "successor"));
		def->durable = iod_arg_bool(call, "durable", true);
		def->paused = iod_arg_bool(call, "paused", false);
		if (iod_volume_take(v, IOD_TAKE_WAIT, &call->err) == 0) {
			if (iod_files_begin(&call->err) == 0) {
				result = attach_taken(call, v, def);
				iod_files_end();
			} else {
				dray_error_prepend(&call->err, "volume %s", v->def.name);
				iod_leg_def_free(def);
			}
			iod_volume_give(v);
		} else {
			iod_leg_def_free(def);
		}
	}
	iod_volume_put(v);
	return result;
}

/* Finds the volume and the secondary that a call names, and takes the verb right. NULL with call->err set. */
static struct iod_leg *take_leg(struct iod_call *call, bool need_engine)
{
	struct iod_volume *v = iod_volume_get(call->iod, iod_arg_text(call, "volume", ""), &call->err);
	if (!v)
		return NULL;
	struct iod_leg *leg = NULL;
	if (iod_volume_take(v, IOD_TAKE_WAIT, &call->err) == 0) {
		leg = iod_volume_leg(v, (unsigned)iod_arg_count(call, "leg", 0), &call->err);
		if (leg && leg->def->id == v->primary) {
			dray_error_kind(&call->err, -EINVAL, "unsupported", "%s: volume %s: leg %u is the primary", call->method,
				v->def.name, leg->def->id);
		} else if (leg && need_engine && !v->served) {
			dray_error_kind(&call->err, -ENXIO, "not_served", "volume %s: it is not served: %.300s", v->def.name,
				v->reason);
		} else if (leg) {
			return leg;
		}
		if (leg)
			iod_leg_put(leg);
		iod_volume_give(v);
	}
	iod_volume_put(v);
	return NULL;
}

/* `given`: the verb right was given back already. */
static void give_leg(struct iod_leg *leg, bool given)
{
	struct iod_volume *v = leg->volume;
	iod_leg_put(leg);
	if (!given)
		iod_volume_give(v);
	iod_volume_put(v);
}

json_t *iod_do_leg_detach(struct iod_call *call)
{
	struct iod_leg *leg = take_leg(call, false);
	if (!leg)
		return NULL;
	struct iod_volume *v = leg->volume;
	int rc = iod_leg_forget(leg, &call->err);
	/* The rest may take as long as a stuck leg likes: other verbs need not wait for it. */
	iod_volume_give(v);
	if (!rc) {
		unsigned id = leg->def->id;
		rc = iod_leg_bury(leg, true, &call->err);
		/* A cancelled target that can't flush is no failure of letting go; it was logged. */
		if (rc && strcmp(call->err.kind, "flush_failed") == 0)
			rc = 0;
		if (!rc)
			dray_log(DRAY_LOG_INFO, "leg-detached", "%s leg %u", v->def.name, id);
	}
	give_leg(leg, true);
	return rc ? NULL : json_object();
}

/* ---- calls to the engine about one leg ---- */

struct asking {
	struct iod_leg *leg;
	bool pause, aside, retry, verify, verify_stop, repair;
	unsigned sample;
	bool wait; /* found: PAUSED will come */
	int rc;
};

static void ask(void *arg)
{
	struct asking *a = arg;
	struct iod_volume *v = a->leg->volume;
	int index = a->leg->index;
	a->rc = -ENOENT;
	if (index == DRAY_NO_LEG)
		return;
	iod_vio_enter(v);
	struct dray_leg_info info;
	a->rc = dray_vol_leg_info(v->vio.vol, index, &info);
	if (a->rc)
		return;
	if (a->verify)
		a->rc = dray_vol_verify(v->vio.vol, index, a->sample, a->repair);
	else if (a->verify_stop)
		a->rc = dray_vol_verify_stop(v->vio.vol, index);
	else
		a->rc = dray_vol_leg_pause(v->vio.vol, index, a->pause);
	a->wait = a->pause && !info.paused && info.state != DRAY_LEG_DEGRADED;
	if (!a->rc && a->aside)
		a->rc = dray_vol_leg_set_aside(v->vio.vol, index);
	if (!a->rc && a->retry)
		a->rc = dray_vol_leg_retry(v->vio.vol, index);
}

static int leg_refused(struct iod_call *call, const struct iod_leg *leg, int rc)
{
	const char *kind = rc == -EBUSY ? "busy" : rc == -EAGAIN ? "dirty" : "unsupported";
	return dray_error_kind(&call->err, rc, kind, "%s: volume %s: leg %u: %s", call->method, leg->volume->def.name,
		leg->def->id,
		rc == -EAGAIN ? "it is degraded or has dirty regions" :
		rc == -EBUSY  ? "a switch, or another one of these, is under way" :
				strerror(-rc));
}

static int pause_leg(struct iod_call *call, struct iod_leg *leg, bool paused, bool aside, bool *wait)
{
	struct iod_volume *v = leg->volume;
	struct asking a = { .leg = leg, .pause = paused, .aside = paused && aside };
	pthread_mutex_lock(&v->iod->lock);
	bool was_paused = leg->def->paused, was_aside = leg->def->set_aside;
	leg->def->paused = paused;
	leg->def->set_aside = paused && aside;
	pthread_mutex_unlock(&v->iod->lock);
	a.retry = !paused && was_aside && leg->storage;
	int rc = was_paused == paused && was_aside == (paused && aside) ? 0 : iod_volume_save(v, &call->err);
	if (!rc) {
		pthread_mutex_lock(&v->wait_lock);
		leg->stopped = false;
		pthread_mutex_unlock(&v->wait_lock);
		iod_thread_call(v->thread, ask, &a);
		rc = a.rc;
		if (rc)
			leg_refused(call, leg, rc);
	}
	if (rc) {
		pthread_mutex_lock(&v->iod->lock);
		leg->def->paused = was_paused;
		leg->def->set_aside = was_aside;
		pthread_mutex_unlock(&v->iod->lock);
	}
	*wait = a.wait;
	return rc;
}

json_t *iod_do_leg_pause(struct iod_call *call)
{
	struct iod_leg *leg = take_leg(call, true);
	if (!leg)
		return NULL;
	bool wait = false;
	int rc = pause_leg(call, leg, iod_arg_bool(call, "paused", true), iod_arg_bool(call, "detach", false), &wait);
	iod_volume_give(leg->volume);
	if (!rc && wait)
		iod_volume_wait(leg->volume, &leg->stopped);
	give_leg(leg, true);
	return rc ? NULL : json_object();
}

static int retry_leg(struct iod_call *call, struct iod_leg *leg)
{
	struct iod_volume *v = leg->volume;
	bool unsure = !leg->def->stable && strcmp(leg->def->boot_id, v->iod->state.boot_id) != 0;
	bool vouch = unsure && iod_arg_bool(call, "vouch", true);
	if (unsure && !vouch)
		return dray_error_kind(&call->err, -ESTALE, "not_accessible",
			"volume %s: leg %u: %s: after a new boot its name may mean another disk, and nobody vouches for it", v->def.name,
			leg->def->id, leg->def->resource);
	/* A device that went and came back is another one to the kernel, and a storage whose flush failed may know no more than that it did:
	 * it is opened anew, by its identity, before it is tried again (H2, H13). */
	if (leg->storage)
		iod_leg_close_degraded(leg);
	if (!leg->storage) {
		struct dray_storage *st;
		int rc = iod_leg_open(leg, false, 0, !vouch, &st, &call->err);
		/* Somebody's word stands for a name that is good for one boot, never against an identity. */
		if (!rc && vouch && st->info.stable_identity && strcmp(st->info.identity, leg->def->identity)) {
			rc = dray_error_kind(&call->err, -ESTALE, "not_accessible", "%s: not the storage that was recorded: found %s, expected %s",
				leg->def->resource, st->info.identity, leg->def->identity);
			dray_storage_close(st);
		}
		/* The job that tries to open it may have it in its hand at this moment, and waits for the right that we hold. */
		pthread_mutex_lock(&v->iod->lock);
		bool ours = rc == -EBUSY && leg->opening;
		pthread_mutex_unlock(&v->iod->lock);
		if (ours)
			return dray_error_kind(&call->err, -EBUSY, "busy", "volume %s: leg %u: %s is being opened already", v->def.name, leg->def->id,
				leg->def->resource);
		if (rc) {
			iod_leg_error(leg, "%s", call->err.text);
			iod_leg_open_later(leg);
			return rc;
		}
		if (vouch)
			iod_leg_record(leg, &st->info);
		iod_leg_install(leg, st);
	}
	if (vouch || leg->def->set_aside) {
		pthread_mutex_lock(&v->iod->lock);
		memcpy(leg->def->boot_id, v->iod->state.boot_id, sizeof leg->def->boot_id);
		leg->def->set_aside = false;
		pthread_mutex_unlock(&v->iod->lock);
		int rc = iod_volume_save(v, &call->err);
		if (rc)
			return rc;
	}
	iod_leg_error(leg, "%s", "");
	int rc = iod_leg_retry(leg);
	return rc ? leg_refused(call, leg, rc) : 0;
}

json_t *iod_do_leg_retry(struct iod_call *call)
{
	struct iod_leg *leg = take_leg(call, true);
	if (!leg)
		return NULL;
	int rc = retry_leg(call, leg);
	give_leg(leg, false);
	return rc ? NULL : json_object();
}

static json_t *ask_verify(struct iod_call *call, bool start)
{
	struct iod_leg *leg = take_leg(call, true);
	if (!leg)
		return NULL;
	uint64_t sample = iod_arg_count(call, "sample", 1);
	struct asking a = { .leg = leg, .verify = start, .verify_stop = !start, .repair = iod_arg_bool(call, "repair", false) };
	a.sample = sample < 1 ? 1 : sample > 1000000 ? 1000000 : (unsigned)sample;
	iod_thread_call(leg->volume->thread, ask, &a);
	if (a.rc)
		leg_refused(call, leg, a.rc);
	give_leg(leg, false);
	return a.rc ? NULL : json_object();
}

json_t *iod_do_verify_start(struct iod_call *call)
{
	return ask_verify(call, true);
}

json_t *iod_do_verify_stop(struct iod_call *call)
{
	return ask_verify(call, false);
}
