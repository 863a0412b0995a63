/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Volumes as NBD exports.
 *
 * The export's contract is fixed at volume.add and honoured on every leg (H14): size and block size do not change while the
 * volume lives, and what a leg can't do in its own way (extents, unmapping, FUA) the storage layer does in a plain one. The
 * one ability that can't be made up is speed: fast zeroes are answered "not supported" while any leg lacks them, which
 * the protocol allows at any time.
 */
#include "iod/peers.h"
#include "iod/volume.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static bool exported(const struct iod_volume *v)
{
	return v->served && !v->def.hidden && !v->removed;
}

static void *export_get(void *ctx, const char *name, struct dray_nbd_export_info *info, struct dray_loop **loop)
{
	struct iod *iod = ctx;

	pthread_mutex_lock(&iod->lock);
	struct iod_volume *found = dray_table_get(&iod->by_name, name);
	if (found && !exported(found))
		found = NULL;
	if (found) {
		found->refs++;
		found->exports++;
		memset(info, 0, sizeof *info);
		snprintf(info->name, sizeof info->name, "%s", found->def.name);
		snprintf(info->description, sizeof info->description, "dray volume");
		info->size_bytes = found->def.size_bytes;
		info->block_min = found->def.block_bytes;
		info->block_preferred = found->def.block_bytes > 4096 ? found->def.block_bytes : 4096;
		info->block_max = 32u << 20;
		info->read_only = found->def.read_only;
		info->can_multi_conn = info->can_trim = info->can_fua = info->can_cache = info->can_extents = true;
		info->can_fast_zero = true;
		for (unsigned i = 0; i < found->n_legs; i++)
			if (found->legs[i]->def->id == found->primary && found->legs[i]->storage) {
				info->rotational = found->legs[i]->info.rotational;
				info->can_fast_zero = found->legs[i]->info.can_fast_zero;
			}
		*loop = found->thread->loop;
	}
	pthread_mutex_unlock(&iod->lock);
	return found;
}

/* Its storage is being opened, or is not to be had: `volume show` tells which. */
static bool export_soon(void *ctx, const char *name)
{
	struct iod *iod = ctx;
	pthread_mutex_lock(&iod->lock);
	const struct iod_volume *v = dray_table_get(&iod->by_name, name);
	bool soon = v && !v->served && !v->def.hidden && !v->removed;
	pthread_mutex_unlock(&iod->lock);
	return soon;
}

static void export_put(void *ctx, void *handle)
{
	struct iod *iod = ctx;
	struct iod_volume *v = handle;
	pthread_mutex_lock(&iod->lock);
	v->exports--;
	pthread_mutex_unlock(&iod->lock);
	iod_volume_put(v);
}

static void export_list(void *ctx, void (*each)(void *arg, const char *name, const char *description), void *arg)
{
	struct iod *iod = ctx;
	pthread_mutex_lock(&iod->lock);
	dray_list_for_each(n, &iod->volumes)
	{
		struct iod_volume *v = dray_container(n, struct iod_volume, node);
		if (exported(v))
			each(arg, v->def.name, "dray volume");
	}
	pthread_mutex_unlock(&iod->lock);
}

static void export_submit(void *ctx, void *handle, struct dray_request *req)
{
	struct iod_volume *v = handle;
	int refuse = 0;

	if (!v->vio.vol) /* being removed, with force */
		refuse = -ESHUTDOWN;
	else if (v->def.read_only && (req->op == DRAY_OP_WRITE || req->op == DRAY_OP_ZERO || req->op == DRAY_OP_DISCARD))
		refuse = -EPERM;
	else if (req->op == DRAY_OP_ZERO && (req->flags & DRAY_F_FAST) && !v->vio.fast_zero)
		refuse = -ENOTSUP;
	if (refuse) {
		dray_nbd_reply(req, refuse);
		dray_nbd_release(req);
		return;
	}
	iod_vio_enter(v);
	dray_vol_submit(v->vio.vol, req);
}

static void *export_buf_get(void *ctx, void *handle, uint64_t bytes)
{
	struct iod_volume *v = handle;
	return iod_slab_get(&v->thread->payload, bytes);
}

static void export_buf_put(void *ctx, void *handle, void *buf, uint64_t bytes)
{
	struct iod_volume *v = handle;
	iod_slab_put(&v->thread->payload, buf, bytes);
}

static void export_client(void *ctx, void *handle, bool connected, const char *peer)
{
	struct iod *iod = ctx;
	struct iod_volume *v = handle;
	if (connected) {
		atomic_fetch_add(&v->clients, 1);
		atomic_fetch_add(&iod->clients, 1);
	} else {
		atomic_fetch_sub(&v->clients, 1);
		atomic_fetch_sub(&iod->clients, 1);
	}
	iod_peers_note(v, connected, peer);
	pthread_mutex_lock(&iod->lock);
	iod_news_changed(v);
	pthread_mutex_unlock(&iod->lock);
	iod_notify(iod, connected ? "client-connected" : "client-gone", v->def.name, 0, peer, NULL);
}

const struct dray_nbd_backend_ops iod_export_ops = {
	.get = export_get,
	.soon = export_soon,
	.put = export_put,
	.list = export_list,
	.submit = export_submit,
	.buf_get = export_buf_get,
	.buf_put = export_buf_put,
	.client = export_client,
};
