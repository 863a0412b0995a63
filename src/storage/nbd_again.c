/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What may have been lost with a connection.
 *
 * That is what the server had acknowledged but not yet made durable, if it was the server that died. The next flush
 * could not tell: the new server has nothing to flush and says yes. So, without retry_primary, the next flush fails once if
 * there were unflushed writes, and the engine treats them as lost (H13). With retry_primary, which is for not showing the application an
 * outage, what was not flushed is kept (nbd_kept.c) and sent again first, when nothing is under way any more; all else waits for that. The driver
 * flushes by itself where a lot is kept. Where it was too much, or can't be written again, the next flush fails once.
 */
#include "storage/nbd_state.h"

#include <errno.h>
#include <string.h>

bool dray_nbd_is_own(const struct nbd *n, const struct dray_sio *sio)
{
	return sio == &n->own_flush.sio || ((const char *)sio >= (const char *)n->again && (const char *)sio < (const char *)(n->again + NBD_AGAIN_MOST));
}

void dray_nbd_lost(struct nbd *n)
{
	if (!n->retry) {
		n->flush_lost |= n->unflushed;
		return;
	}
	if (n->kept.missing) {
		n->flush_lost = true;
		dray_nbd_kept_drop(&n->kept);
	}
	if (!dray_list_empty(&n->kept.list)) {
		n->again_due = true;
		n->again_seq = 0;
	}
}

void dray_nbd_keep_no_more(struct nbd *n)
{
	n->flush_lost |= n->again_due || n->kept.missing;
	n->again_due = false;
	dray_nbd_kept_drop(&n->kept);
}

static void send_own(struct nbd *n, struct own *o, struct conn *c)
{
	o->busy = true;
	o->sio.storage = n->st;
	memset(o->sio.priv, 0, sizeof o->sio.priv);
	n->n_own++;
	dray_nbd_send_on(n, c, &o->sio);
}

void dray_nbd_flush_kept(struct nbd *n)
{
	struct conn *c = dray_nbd_choose(n);
	if (!n->retry || n->again_due || n->own_flush.busy || !n->can_flush || !c || !dray_nbd_kept_much(&n->kept))
		return;
	n->own_flush.sio.op = DRAY_OP_FLUSH;
	send_own(n, &n->own_flush, c);
}

static bool overlaps_one_sent(const struct nbd *n, const struct dray_nbd_kept_one *one)
{
	for (unsigned i = 0; i < NBD_AGAIN_MOST; i++) {
		const struct dray_sio *s = &n->again[i].sio;
		if (n->again[i].busy && s->offset < one->offset + one->length && one->offset < s->offset + s->length)
			return true;
	}
	return false;
}

bool dray_nbd_sent_again(struct nbd *n)
{
	if (!n->again_due)
		return true;
	unsigned others = 0;
	for (unsigned i = 0; i < n->n; i++)
		others += n->conns[i].under_way;
	/* Of what was under way when the connection was lost, something may be newer than what is kept. */
	if (!n->again_seq && others)
		return false;
	struct conn *c = dray_nbd_choose(n);
	dray_list_for_each_safe(node, &n->kept.list)
	{
		struct dray_nbd_kept_one *one = dray_container(node, struct dray_nbd_kept_one, node);
		unsigned i = 0;
		if (one->seq <= n->again_seq)
			continue;
		while (i < NBD_AGAIN_MOST && n->again[i].busy)
			i++;
		if (!c || i == NBD_AGAIN_MOST || overlaps_one_sent(n, one))
			return false;
		struct own *o = &n->again[i];
		o->one = one;
		one->busy = true;
		n->again_seq = one->seq;
		o->sio = (struct dray_sio){ .op = one->op, .flags = one->flags, .offset = one->offset, .length = one->length,
			.data = one->op == DRAY_OP_WRITE ? one->data : NULL };
		send_own(n, o, c);
		if (!n->again_due || !n->again_seq)
			return false; /* it was lost by that */
		c = dray_nbd_choose(n);
	}
	for (unsigned i = 0; i < NBD_AGAIN_MOST; i++)
		if (n->again[i].busy)
			return false;
	n->again_due = false;
	return true;
}

void dray_nbd_own_replied(struct nbd *n, struct dray_sio *sio, int res)
{
	struct own *o = dray_container(sio, struct own, sio);
	o->busy = false;
	n->n_own--;
	if (o->one) {
		dray_nbd_kept_done(o->one);
		o->one = NULL;
		if (res == -ENOTCONN)
			n->again_seq = 0;
		else if (res)
			n->flush_lost = true; /* it can't be had again: the application must not take it for durable */
	} else if (!res) {
		dray_nbd_kept_flushed(&n->kept, (uint64_t)(uintptr_t)sio->priv[MARK]);
	} else if (res != -ENOTCONN) {
		n->flush_lost = true; /* the server may say yes the next time (H13) */
	}
	dray_nbd_send_queue(n);
	dray_nbd_flush_kept(n);
	dray_nbd_maybe_left(n);
}
