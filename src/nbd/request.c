/* SPDX-License-Identifier: BSD-3-Clause */
#include "nbd/request.h"
#include "nbd/proto.h"

#include <errno.h>

/* One command: what the export must have offered for it, which flags it takes (FUA, DF and FAST_ZERO only
 * where they were offered, too), and how its range is looked at. */
static const struct command {
	uint16_t type;
	enum dray_op op;
	uint16_t needs;     /* transmission flag */
	uint16_t cmd_flags; /* beside FUA, which any command may carry */
	bool range, payload, data_back, writes;
	int past_end; /* the error of a range that is not within the export */
} commands[] = {
	{.type = NBD_CMD_READ,
		.op = DRAY_OP_READ,
		.cmd_flags = NBD_CF_DF,
		.range = true,
		.data_back = true,
		.past_end = -EINVAL},
	{.type = NBD_CMD_WRITE,
		.op = DRAY_OP_WRITE,
		.range = true,
		.payload = true,
		.writes = true,
		.past_end = -ENOSPC},
	{.type = NBD_CMD_FLUSH, .op = DRAY_OP_FLUSH, .needs = NBD_TF_SEND_FLUSH},
	{.type = NBD_CMD_TRIM,
		.op = DRAY_OP_DISCARD,
		.needs = NBD_TF_SEND_TRIM,
		.range = true,
		.writes = true,
		.past_end = -EINVAL},
	{.type = NBD_CMD_CACHE,
		.op = DRAY_OP_CACHE,
		.needs = NBD_TF_SEND_CACHE,
		.range = true,
		.past_end = -EINVAL},
	{.type = NBD_CMD_WRITE_ZEROES,
		.op = DRAY_OP_ZERO,
		.needs = NBD_TF_SEND_WRITE_ZEROES,
		.cmd_flags = NBD_CF_NO_HOLE | NBD_CF_FAST_ZERO,
		.range = true,
		.writes = true,
		.past_end = -ENOSPC},
	{.type = NBD_CMD_BLOCK_STATUS,
		.op = DRAY_OP_EXTENTS,
		.cmd_flags = NBD_CF_REQ_ONE,
		.range = true,
		.past_end = -EINVAL},
};

bool dray_nbd_header_decode(struct dray_nbd_header *h, const uint8_t *p)
{
	if (nbd_get32(p) != NBD_MAGIC_REQUEST)
		return false;
	h->flags = nbd_get16(p + 4);
	h->type = nbd_get16(p + 6);
	h->cookie = nbd_get64(p + 8);
	h->offset = nbd_get64(p + 16);
	h->length = nbd_get32(p + 24);
	return true;
}

static const struct command *find(uint16_t type)
{
	for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
		if (commands[i].type == type)
			return &commands[i];
	return NULL;
}

/* The command flags that were negotiated at all. */
static unsigned offered_flags(const struct dray_nbd_session *s)
{
	unsigned f = NBD_CF_NO_HOLE | NBD_CF_REQ_ONE;
	f |= s->tflags & NBD_TF_SEND_FUA ? NBD_CF_FUA : 0;
	f |= s->tflags & NBD_TF_SEND_DF ? NBD_CF_DF : 0;
	f |= s->tflags & NBD_TF_SEND_FAST_ZERO ? NBD_CF_FAST_ZERO : 0;
	return f;
}

static void refuse(struct dray_nbd_plan *plan, int error, const char *why)
{
	plan->verdict = DRAY_NBD_REFUSE;
	plan->error = error;
	plan->why = why;
}

void dray_nbd_plan(
	struct dray_nbd_plan *plan, const struct dray_nbd_header *h, const struct dray_nbd_session *s)
{
	*plan = (struct dray_nbd_plan){.verdict = DRAY_NBD_SUBMIT};
	if (h->type == NBD_CMD_DISC) {
		plan->verdict = DRAY_NBD_LEAVE;
		return;
	}
	const struct command *c = find(h->type);
	if (!c) {
		refuse(plan, -EINVAL, "unknown command");
		return;
	}
	/* A write's payload follows whatever is wrong with the write. */
	plan->payload_bytes = c->payload ? h->length : 0;
	plan->op = c->op;

	const unsigned align = s->info.block_min ? s->info.block_min : 1;
	if (h->flags & ~(c->cmd_flags | NBD_CF_FUA) || h->flags & ~offered_flags(s))
		refuse(plan, -EINVAL, "a flag that this command does not take or that was not offered");
	else if (c->writes && s->info.read_only)
		refuse(plan, -EPERM, "the export is read-only");
	else if (c->needs && !(s->tflags & c->needs))
		refuse(plan, -EINVAL, "a command that was not offered");
	else if (c->type == NBD_CMD_BLOCK_STATUS && !s->allocation)
		refuse(plan, -EINVAL, "no metadata context was negotiated");
	else if (!c->range && (h->offset || h->length))
		refuse(plan, -EINVAL, "this command takes no range");
	else if (c->range && h->length == 0)
		refuse(plan, -EINVAL, "the length is zero");
	else if ((c->payload || c->data_back) && h->length > s->max_payload_bytes)
		refuse(plan, -EINVAL, "longer than one request may be");
	else if (c->range && (h->offset > s->info.size_bytes || h->length > s->info.size_bytes - h->offset))
		refuse(plan, c->past_end, "past the end of the export");
	else if (c->range && (h->offset % align || h->length % align))
		refuse(plan, -EINVAL, "not aligned to the export's block size");
	if (plan->verdict == DRAY_NBD_REFUSE)
		return;

	if (c->writes && h->flags & NBD_CF_FUA)
		plan->flags |= DRAY_F_FUA;
	if (c->op == DRAY_OP_ZERO && !(h->flags & NBD_CF_NO_HOLE))
		plan->flags |= DRAY_F_MAY_UNMAP;
	if (c->op == DRAY_OP_ZERO && h->flags & NBD_CF_FAST_ZERO)
		plan->flags |= DRAY_F_FAST;
}
