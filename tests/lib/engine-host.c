/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/lib/engine-host.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static void submit(void *host, struct dray_io *io)
{
	struct engine_host *h = host;
	assert(h->n < HOST_OPS);
	h->ops[h->n].io = io;
	h->ops[h->n++].due = h->now + h->takes_ns;
	if (h->sent)
		h->sent(h, io);
}

static void reply(void *host, struct dray_request *req, int error)
{
	struct engine_host *h = host;
	h->replies++;
	h->answered = true;
	h->answer = error;
}

static void release(void *host, struct dray_request *req)
{
	((struct engine_host *)host)->releases++;
}

static void event(void *host, const struct dray_event *ev)
{
	struct engine_host *h = host;
	h->events[ev->kind]++;
	h->last[ev->kind] = *ev;
	if (h->heard)
		h->heard(h, ev);
}

static void *buf_get(void *host, uint64_t bytes)
{
	struct engine_host *h = host;
	for (unsigned i = 0; i < HOST_BUFS; i++)
		if (!h->bufs[i])
			return h->bufs[i] = malloc(bytes);
	return NULL;
}

static void buf_put(void *host, void *buf, uint64_t bytes)
{
	struct engine_host *h = host;
	unsigned i = 0;
	while (h->bufs[i] != buf)
		assert(++i < HOST_BUFS);
	h->bufs[i] = NULL;
	free(buf);
}

static const struct dray_host_ops host_ops = { submit, reply, release, event, buf_get, buf_put };

void host_memory(struct engine_host *h, unsigned n, uint64_t bytes)
{
	for (unsigned i = 0; i < n; i++) {
		h->disk[i] = malloc(bytes);
		assert(h->disk[i]);
		memset(h->disk[i], 0x10 + (int)i, bytes);
	}
}

static void stop(struct engine_host *h)
{
	dray_vol_free(h->vol, true);
	h->vol = NULL;
	h->n = 0;
	for (unsigned i = 0; i < HOST_BUFS; i++) {
		free(h->bufs[i]);
		h->bufs[i] = NULL;
	}
}

int host_start(struct engine_host *h, const struct dray_vol_config *config)
{
	stop(h);
	h->now = h->now ? h->now : 1000 * HOST_MS;
	int rc = dray_vol_new(&h->vol, config, &host_ops, h);
	if (!rc)
		dray_vol_tick(h->vol, h->now);
	return rc;
}

void host_end(struct engine_host *h)
{
	stop(h);
	for (unsigned i = 0; i < DRAY_MAX_LEGS; i++)
		free(h->disk[i]);
}

static bool on_map(const struct dray_io *io)
{
	return io->op == DRAY_OP_MAP_WRITE || io->op == DRAY_OP_MAP_SYNC;
}

static int carry_out(struct engine_host *h, struct dray_io *io)
{
	int error = h->fails ? h->fails(h, io) : 0;
	if (error)
		return error;
	uint8_t *at = h->disk[io->leg] ? h->disk[io->leg] + io->offset : NULL;
	switch (io->op) {
	case DRAY_OP_READ:
		if (at)
			memcpy(io->data, at, io->length);
		else
			memset(io->data, 1, io->length);
		break;
	case DRAY_OP_WRITE:
		if (at)
			memcpy(at, io->data, io->length);
		break;
	case DRAY_OP_ZERO:
	case DRAY_OP_DISCARD:
		if (at)
			memset(at, io->op == DRAY_OP_ZERO ? 0 : 0xdd, io->length);
		break;
	case DRAY_OP_MAP_WRITE:
		assert(!io->offset);
		memcpy(h->map[io->leg], io->data, io->length);
		break;
	case DRAY_OP_BAD_WRITE: memcpy(h->slots[io->offset / DRAY_BAD_SLOT_BYTES], io->data, io->length); break;
	default: break;
	}
	return 0;
}

void host_complete(struct engine_host *h, int op, int error)
{
	assert(op >= 0 && (unsigned)op < h->n);
	struct dray_io *io = h->ops[op].io;
	h->n--;
	memmove(h->ops + op, h->ops + op + 1, (h->n - (unsigned)op) * sizeof h->ops[0]);
	error = error ? error : carry_out(h, io);
	dray_vol_complete(h->vol, io, error, error && h->may_land ? DRAY_C_MAY_LAND_LATE : 0);
}

void host_pass(struct engine_host *h, uint64_t ns)
{
	h->now += ns;
	dray_vol_tick(h->vol, h->now);
	unsigned n = h->n; /* what comes of it is for the next time */
	for (int i = 0; n--;) {
		const struct dray_io *io = h->ops[i].io;
		if (h->ops[i].due > h->now || (h->stuck[io->leg] && !on_map(io)))
			i++;
		else
			host_complete(h, i, 0);
	}
	dray_vol_tick(h->vol, h->now);
	if (!h->unchecked)
		dray_vol_check(h->vol);
}

void host_run(struct engine_host *h, unsigned ms)
{
	while (ms--)
		host_pass(h, HOST_MS);
}

int host_find(const struct engine_host *h, enum dray_op op, int leg)
{
	for (unsigned i = 0; i < h->n; i++)
		if (h->ops[i].io->op == op && h->ops[i].io->leg == leg)
			return (int)i;
	return -1;
}

int host_request(struct engine_host *h, enum dray_op op, uint64_t offset, uint64_t length, void *data)
{
	struct dray_request req = { .op = op, .offset = offset, .length = length, .data = data };
	unsigned replies = h->replies, releases = h->releases;
	dray_vol_submit(h->vol, &req);
	for (int i = 0; i < 5000 && h->releases == releases; i++)
		host_run(h, 1);
	assert(h->replies == replies + 1 && h->releases == releases + 1);
	return h->answer;
}

struct dray_leg_info host_leg(const struct engine_host *h, int leg)
{
	struct dray_leg_info info;
	int rc = dray_vol_leg_info(h->vol, leg, &info);
	assert(!rc);
	return info;
}

struct dray_vol_info host_vol(const struct engine_host *h)
{
	struct dray_vol_info info;
	dray_vol_info(h->vol, &info);
	return info;
}
