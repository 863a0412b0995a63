/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the NBD server needs of the thing it serves. dray-iod implements it with volumes; the tests and the
 * fuzz targets with plain memory.
 *
 * An export lives on one loop. A connection negotiates on the loop that accepted it and is then handed to the
 * loop of its export; all its requests and replies happen there.
 */
#ifndef DRAY_NBD_BACKEND_H
#define DRAY_NBD_BACKEND_H

#include "engine/engine.h" /* struct dray_request */
#include "loop/loop.h"

struct dray_nbd_export_info {
	char name[256];
	char description[256];
	uint64_t size_bytes;
	uint32_t block_min, block_preferred, block_max; /* NBD_INFO_BLOCK_SIZE */
	bool read_only, rotational, can_multi_conn, can_fast_zero, can_trim, can_fua, can_cache, can_extents;
};

struct dray_nbd_backend_ops {
	/* Any loop's thread. Finds an export by name and takes a reference, so that it cannot go away:
	 * returns an opaque handle and fills info and the loop it lives on; NULL: none. */
	void *(*get)(void *ctx, const char *name, struct dray_nbd_export_info *info, struct dray_loop **loop);
	/* Any loop's thread; may be NULL. Whether one that get did not find is known and only not there yet, as
	 * after a restart: the client is made to wait a moment before it is told that there is none. */
	bool (*soon)(void *ctx, const char *name);
	/* Any loop's thread. */
	void (*put)(void *ctx, void *handle);
	/* Any loop's thread. Calls `each` for every export's name and description, for NBD_OPT_LIST. */
	void (*list)(
		void *ctx, void (*each)(void *arg, const char *name, const char *description), void *arg);
	/* The export's thread. As dray_vol_submit: answered through dray_nbd_reply and dray_nbd_release,
	 * which the backend calls with the request it was given. */
	void (*submit)(void *ctx, void *handle, struct dray_request *req);
	/* The export's thread; a buffer for one request's payload, and its return. NULL: over the limit, the
	 * connection waits (one that holds nothing gets one buffer of the server's own, of up to 1 MiB and
	 * aligned to 4096 bytes, so that no client can starve another). */
	void *(*buf_get)(void *ctx, void *handle, uint64_t bytes);
	void (*buf_put)(void *ctx, void *handle, void *buf, uint64_t bytes);
	/* The export's thread: a client is there (connected = true) or has gone; for `volume show` and
	 * shutdown. */
	void (*client)(void *ctx, void *handle, bool connected, const char *peer);
};

/* Called by the backend on the export's thread; the request is one it got through submit. */
void dray_nbd_reply(struct dray_request *req, int error);
void dray_nbd_release(struct dray_request *req);

#endif
