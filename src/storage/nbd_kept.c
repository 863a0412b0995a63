/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What an NBD server acknowledged and did not make durable yet, kept so that it can be given to it again.
 *
 * In the order in which it was acknowledged: what overlaps was, too, as a request is sent only after those that it depends on were answered. FUA
 * writes are kept like others: an older one to the same place would undo them. A flush that succeeded lets go what was kept before it
 * was sent. Beyond MOST_BYTES all is dropped, and known to be missing until a flush succeeds that began later: the host is to flush
 * before that (dray_nbd_kept_much).
 *
 * One that is being sent again is busy: it stays in memory until that is done, although it may be dropped meanwhile.
 */
#include "storage/nbd.h"

#include <stdlib.h>
#include <string.h>

#define MUCH_BYTES (UINT64_C(8) << 20)
#define MOST_BYTES (UINT64_C(64) << 20)

void dray_nbd_kept_init(struct dray_nbd_kept *k)
{
	*k = (struct dray_nbd_kept){ 0 };
	dray_list_init(&k->list);
}

static void let_go(struct dray_nbd_kept *k, struct dray_nbd_kept_one *one)
{
	dray_list_del(&one->node);
	k->bytes -= one->bytes;
	if (one->busy)
		one->dropped = true;
	else
		free(one);
}

void dray_nbd_kept_drop(struct dray_nbd_kept *k)
{
	while (!dray_list_empty(&k->list))
		let_go(k, dray_container(k->list.next, struct dray_nbd_kept_one, node));
	k->missing = false;
}

void dray_nbd_kept_add(struct dray_nbd_kept *k, const struct dray_sio *sio)
{
	k->seq++;
	if (k->missing) {
		k->missing_seq = k->seq;
		return;
	}
	uint64_t data = sio->op == DRAY_OP_WRITE ? sio->length : 0;
	struct dray_nbd_kept_one *one = k->bytes + data <= MOST_BYTES ? malloc(sizeof *one + data) : NULL;
	if (!one) {
		dray_nbd_kept_drop(k);
		k->missing = true;
		k->missing_seq = k->seq;
		return;
	}
	*one = (struct dray_nbd_kept_one){ .op = sio->op, .flags = sio->flags & DRAY_F_MAY_UNMAP, .seq = k->seq, .offset = sio->offset,
		.length = sio->length, .bytes = sizeof *one + data };
	if (data)
		memcpy(one->data, sio->data, data);
	k->bytes += one->bytes;
	dray_list_add_tail(&k->list, &one->node);
}

void dray_nbd_kept_flushed(struct dray_nbd_kept *k, uint64_t seq)
{
	while (!dray_list_empty(&k->list)) {
		struct dray_nbd_kept_one *one = dray_container(k->list.next, struct dray_nbd_kept_one, node);
		if (one->seq > seq)
			break;
		let_go(k, one);
	}
	if (k->missing && k->missing_seq <= seq)
		k->missing = false;
}

bool dray_nbd_kept_much(const struct dray_nbd_kept *k)
{
	return k->bytes > MUCH_BYTES || k->missing;
}

void dray_nbd_kept_done(struct dray_nbd_kept_one *one)
{
	one->busy = false;
	if (one->dropped)
		free(one);
}
