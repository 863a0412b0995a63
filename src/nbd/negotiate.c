/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fixed newstyle negotiation.
 *
 * server: greeting, handshake flags (fixed newstyle, no zeroes)
 * client: its flags                                                  CLIENT_FLAGS
 * client: option header (16 bytes), data; server: answers            OPTION, as often as the client likes
 *         an option too long to be looked at is thrown away          SKIP
 * ends:   GO or EXPORT_NAME of an export that exists -> transmission DONE
 *         ABORT, a broken rule, too many options     -> closed       DONE
 *
 * Which options there are is a table; each handler gets the option's data whole and in place. A handler
 * checks every length against what is left before it reads. Anything malformed is answered with ERR_INVALID
 * and the client may go on; only what makes the stream itself unreadable (wrong magic, unknown client flags)
 * closes the connection.
 *
 * A client that did not set the fixed newstyle flag can't be answered with errors: all it may do is
 * EXPORT_NAME.
 *
 * An export is looked up by its name each time (get, look, put): between INFO and GO it may have gone or
 * changed. Only the reference of GO or EXPORT_NAME is kept.
 *
 * A client that comes back right after a restart may be faster than its export, and many take "no such export" for final. So one
 * that is known and not there yet is waited for (WAIT), with the option as if it had not come, for as long as the owner lets us.
 */
#include "nbd/negotiate.h"
#include "nbd/proto.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/* ---- output ---- */

/* Room for `len` more bytes at the end, which count as written; NULL: no memory. */
static uint8_t *out_more(struct dray_nego *n, size_t len)
{
	if (n->out_cap - n->out_len < len) {
		size_t cap = n->out_cap ? n->out_cap : 1024;
		while (cap - n->out_len < len)
			cap *= 2;
		uint8_t *p = n->out_failed ? NULL : realloc(n->out, cap);
		if (!p) {
			n->out_failed = true;
			return NULL;
		}
		n->out = p;
		n->out_cap = cap;
	}
	uint8_t *p = n->out + n->out_len;
	n->out_len += len;
	return p;
}

/* An answer's header; `len` bytes of content follow, whose place is returned (NULL: no memory). */
static uint8_t *answer(struct dray_nego *n, uint32_t option, uint32_t type, size_t len)
{
	uint8_t *p = out_more(n, NBD_ANSWER_HEADER_BYTES + len);
	if (!p)
		return NULL;
	p = nbd_put64(p, NBD_MAGIC_ANSWER);
	p = nbd_put32(p, option);
	p = nbd_put32(p, type);
	return nbd_put32(p, (uint32_t)len);
}

static void answer_ack(struct dray_nego *n, uint32_t option)
{
	answer(n, option, NBD_REP_ACK, 0);
}

/* An error's content is text for people. */
static void answer_error(struct dray_nego *n, uint32_t option, uint32_t type, const char *text)
{
	size_t len = strlen(text);
	uint8_t *p = answer(n, option, type, len);
	if (p)
		memcpy(p, text, len);
}

/* ---- reading an option's data ---- */

struct cursor {
	const uint8_t *p;
	size_t left;
};

static bool take(struct cursor *c, size_t len, const uint8_t **p)
{
	if (c->left < len)
		return false;
	*p = c->p;
	c->p += len;
	c->left -= len;
	return true;
}

static bool take32(struct cursor *c, uint32_t *v)
{
	const uint8_t *p;
	if (!take(c, 4, &p))
		return false;
	*v = nbd_get32(p);
	return true;
}

static bool take16(struct cursor *c, uint16_t *v)
{
	const uint8_t *p;
	if (!take(c, 2, &p))
		return false;
	*v = nbd_get16(p);
	return true;
}

/* An export's name as a string of ours. False: no export of ours can be called that. */
static bool name_fits(const uint8_t *p, uint32_t len, char name[256])
{
	if (len > 255 || memchr(p, '\0', len))
		return false;
	memcpy(name, p, len);
	name[len] = '\0';
	return true;
}

/* ---- exports ---- */

uint16_t dray_nbd_transmission_flags(const struct dray_nbd_export_info *info, bool structured)
{
	unsigned f = NBD_TF_HAS_FLAGS | NBD_TF_SEND_FLUSH;
	f |= info->read_only ? NBD_TF_READ_ONLY : NBD_TF_SEND_WRITE_ZEROES;
	f |= info->can_fua ? NBD_TF_SEND_FUA : 0;
	f |= info->rotational ? NBD_TF_ROTATIONAL : 0;
	f |= info->can_trim && !info->read_only ? NBD_TF_SEND_TRIM : 0;
	f |= info->can_fast_zero && !info->read_only ? NBD_TF_SEND_FAST_ZERO : 0;
	f |= structured ? NBD_TF_SEND_DF : 0;
	f |= info->can_multi_conn ? NBD_TF_CAN_MULTI_CONN : 0;
	f |= info->can_cache ? NBD_TF_SEND_CACHE : 0;
	return (uint16_t)f;
}

static void *export_get(
	struct dray_nego *n, const char *name, struct dray_nbd_export_info *info, struct dray_loop **loop)
{
	memset(info, 0, sizeof *info);
	*loop = NULL;
	return n->ops->get(n->ctx, name, info, loop);
}

/* There is no export of this name, or not yet. */
static bool worth_waiting(const struct dray_nego *n, const char *name)
{
	return n->may_wait && n->ops->soon && n->ops->soon(n->ctx, name);
}

/* The export of an option that can be answered, and its name. *handle NULL: there is none, and that is the option's result. */
static enum dray_nego_result find_export(struct dray_nego *n, uint32_t option, const uint8_t *bytes, uint32_t len,
	char name[256], void **handle, struct dray_nbd_export_info *info, struct dray_loop **loop)
{
	bool fits = name_fits(bytes, len, name);
	*handle = fits ? export_get(n, name, info, loop) : NULL;
	if (*handle)
		return DRAY_NEGO_AGAIN;
	if (fits && worth_waiting(n, name))
		return DRAY_NEGO_WAIT;
	answer_error(n, option, NBD_REP_ERR_UNKNOWN, "no export of this name");
	return DRAY_NEGO_AGAIN;
}

/* What one request may carry: the smaller of the export's and the server's limit, in whole blocks. */
static uint32_t payload_limit(const struct dray_nego *n, const struct dray_nbd_export_info *info)
{
	uint32_t max = n->max_payload_bytes;
	if (info->block_max && info->block_max < max)
		max = info->block_max;
	uint32_t min = info->block_min ? info->block_min : 1;
	return max - max % min;
}

static enum dray_nego_result enter(struct dray_nego *n, void *handle, struct dray_loop *loop,
	const struct dray_nbd_export_info *info, const char name[256])
{
	n->handle = handle;
	n->loop = loop;
	memcpy(n->name, name, sizeof n->name);
	n->session.info = *info;
	n->session.structured = n->structured;
	n->session.allocation = n->meta && n->meta_allocation && strcmp(n->meta_name, name) == 0;
	n->session.tflags = dray_nbd_transmission_flags(info, n->structured);
	n->session.max_payload_bytes = payload_limit(n, info);
	n->state = DRAY_NEGO_DONE;
	return DRAY_NEGO_TRANSMIT;
}

/* ---- the options ---- */

typedef enum dray_nego_result handler(struct dray_nego *n, uint32_t option, struct cursor c);

static enum dray_nego_result opt_export_name(struct dray_nego *n, uint32_t option, struct cursor c)
{
	char name[256];
	struct dray_nbd_export_info info;
	struct dray_loop *loop;

	/* This option has no way to say no but to hang up. */
	if (!name_fits(c.p, (uint32_t)c.left, name))
		return DRAY_NEGO_CLOSE;
	void *handle = export_get(n, name, &info, &loop);
	if (!handle)
		return worth_waiting(n, name) ? DRAY_NEGO_WAIT : DRAY_NEGO_CLOSE;
	size_t zeroes = n->client_flags & NBD_HS_NO_ZEROES ? 0 : NBD_EXPORT_NAME_ZEROES;
	uint8_t *p = out_more(n, 10 + zeroes);
	if (p) {
		p = nbd_put64(p, info.size_bytes);
		p = nbd_put16(p, dray_nbd_transmission_flags(&info, n->structured));
		memset(p, 0, zeroes);
	}
	return enter(n, handle, loop, &info, name);
}

static enum dray_nego_result opt_abort(struct dray_nego *n, uint32_t option, struct cursor c)
{
	answer_ack(n, option);
	return DRAY_NEGO_CLOSE;
}

static void list_one(void *arg, const char *name, const char *description)
{
	struct dray_nego *n = arg;
	size_t name_len = strlen(name), desc_len = description ? strlen(description) : 0;
	uint8_t *p = answer(n, NBD_OPT_LIST, NBD_REP_SERVER, 4 + name_len + desc_len);
	if (!p)
		return;
	p = nbd_put32(p, (uint32_t)name_len);
	memcpy(p, name, name_len);
	if (desc_len)
		memcpy(p + name_len, description, desc_len);
}

static enum dray_nego_result opt_list(struct dray_nego *n, uint32_t option, struct cursor c)
{
	n->ops->list(n->ctx, list_one, n);
	answer_ack(n, option);
	return DRAY_NEGO_AGAIN;
}

static enum dray_nego_result opt_starttls(struct dray_nego *n, uint32_t option, struct cursor c)
{
	answer_error(n, option, NBD_REP_ERR_UNSUP, "TLS is not offered here");
	return DRAY_NEGO_AGAIN;
}

static void info_text(struct dray_nego *n, uint32_t option, uint16_t type, const char *text)
{
	size_t len = strlen(text);
	uint8_t *p = answer(n, option, NBD_REP_INFO, 2 + len);
	if (p)
		memcpy(nbd_put16(p, type), text, len);
}

static void info_export(struct dray_nego *n, uint32_t option, const struct dray_nbd_export_info *info)
{
	uint8_t *p = answer(n, option, NBD_REP_INFO, 12);
	if (!p)
		return;
	p = nbd_put16(p, NBD_INFO_EXPORT);
	p = nbd_put64(p, info->size_bytes);
	nbd_put16(p, dray_nbd_transmission_flags(info, n->structured));
}

static void info_block_size(struct dray_nego *n, uint32_t option, const struct dray_nbd_export_info *info)
{
	uint32_t min = info->block_min ? info->block_min : 1, max = payload_limit(n, info);
	uint32_t preferred = info->block_preferred ? info->block_preferred : 4096;
	uint8_t *p = answer(n, option, NBD_REP_INFO, 14);
	if (!p)
		return;
	p = nbd_put16(p, NBD_INFO_BLOCK_SIZE);
	p = nbd_put32(p, min);
	p = nbd_put32(p, preferred < min ? min : preferred > max ? max : preferred);
	nbd_put32(p, max);
}

/* INFO and GO: name, number of information requests, the requests. */
static enum dray_nego_result opt_info_go(struct dray_nego *n, uint32_t option, struct cursor c)
{
	struct dray_nbd_export_info info;
	struct dray_loop *loop;
	uint32_t name_len;
	uint16_t count, type;
	const uint8_t *bytes;
	bool want_name = false, want_description = false;
	char name[256];

	if (!take32(&c, &name_len) || name_len > c.left) {
		answer_error(n, option, NBD_REP_ERR_INVALID, "the export name is longer than the option");
		return DRAY_NEGO_AGAIN;
	}
	if (name_len > NBD_STRING_MAX) {
		answer_error(n, option, NBD_REP_ERR_TOO_BIG, "the export name is longer than 4096 bytes");
		return DRAY_NEGO_AGAIN;
	}
	if (!take(&c, name_len, &bytes) || !take16(&c, &count) || c.left != (size_t)count * 2) {
		answer_error(
			n, option, NBD_REP_ERR_INVALID, "the option's length does not match its content");
		return DRAY_NEGO_AGAIN;
	}
	while (take16(&c, &type)) {
		want_name |= type == NBD_INFO_NAME;
		want_description |= type == NBD_INFO_DESCRIPTION;
	}
	void *handle;
	enum dray_nego_result r = find_export(n, option, bytes, name_len, name, &handle, &info, &loop);
	if (!handle)
		return r;
	info_export(n, option, &info);
	/* Block sizes are told unasked: a client that reads them is spared EINVAL later, others skip them. */
	info_block_size(n, option, &info);
	if (want_name)
		info_text(n, option, NBD_INFO_NAME, info.name);
	if (want_description && info.description[0])
		info_text(n, option, NBD_INFO_DESCRIPTION, info.description);
	answer_ack(n, option);
	if (option == NBD_OPT_GO)
		return enter(n, handle, loop, &info, name);
	n->ops->put(n->ctx, handle);
	return DRAY_NEGO_AGAIN;
}

static enum dray_nego_result opt_structured_reply(struct dray_nego *n, uint32_t option, struct cursor c)
{
	n->structured = true;
	answer_ack(n, option);
	return DRAY_NEGO_AGAIN;
}

static bool query_is(const uint8_t *p, uint32_t len, const char *s)
{
	return len == strlen(s) && memcmp(p, s, len) == 0;
}

/* Both kinds: export name, number of queries, the queries. An empty list means "all" to LIST and "none" to
 * SET, and the wildcard "base:" is for LIST only. */
static enum dray_nego_result opt_meta_context(struct dray_nego *n, uint32_t option, struct cursor c)
{
	const bool list = option == NBD_OPT_LIST_META_CONTEXT;
	struct dray_nbd_export_info info;
	struct dray_loop *loop;
	uint32_t name_len, count, len;
	const uint8_t *bytes, *query;
	char name[256];

	/* A SET that fails leaves nothing selected. */
	if (!list)
		n->meta = false;
	if (!n->structured) {
		answer_error(n, option, NBD_REP_ERR_INVALID, "structured replies must be negotiated first");
		return DRAY_NEGO_AGAIN;
	}
	if (!take32(&c, &name_len) || !take(&c, name_len, &bytes) || !take32(&c, &count)) {
		answer_error(
			n, option, NBD_REP_ERR_INVALID, "the option's length does not match its content");
		return DRAY_NEGO_AGAIN;
	}
	if (name_len > NBD_STRING_MAX) {
		answer_error(n, option, NBD_REP_ERR_TOO_BIG, "the export name is longer than 4096 bytes");
		return DRAY_NEGO_AGAIN;
	}
	bool allocation = list && count == 0;
	for (uint32_t i = 0; i < count; i++) {
		if (!take32(&c, &len) || !take(&c, len, &query)) {
			answer_error(n, option, NBD_REP_ERR_INVALID, "a query is longer than the option");
			return DRAY_NEGO_AGAIN;
		}
		if (len > NBD_STRING_MAX) {
			answer_error(n, option, NBD_REP_ERR_TOO_BIG, "a query is longer than 4096 bytes");
			return DRAY_NEGO_AGAIN;
		}
		if (query_is(query, len, NBD_CONTEXT_ALLOCATION) || (list && query_is(query, len, "base:")))
			allocation = true;
	}
	if (c.left) {
		answer_error(n, option, NBD_REP_ERR_INVALID, "the option is longer than its queries");
		return DRAY_NEGO_AGAIN;
	}
	void *handle;
	enum dray_nego_result r = find_export(n, option, bytes, name_len, name, &handle, &info, &loop);
	if (!handle)
		return r;
	n->ops->put(n->ctx, handle);
	allocation = allocation && info.can_extents;
	if (allocation) {
		const size_t text = strlen(NBD_CONTEXT_ALLOCATION);
		uint8_t *p = answer(n, option, NBD_REP_META_CONTEXT, 4 + text);
		if (p)
			memcpy(nbd_put32(p, list ? 0 : NBD_CONTEXT_ALLOCATION_ID), NBD_CONTEXT_ALLOCATION,
				text);
	}
	if (!list) {
		n->meta = true;
		n->meta_allocation = allocation;
		memcpy(n->meta_name, name, sizeof name);
	}
	answer_ack(n, option);
	return DRAY_NEGO_AGAIN;
}

static const struct option {
	uint32_t option;
	bool no_data; /* data is an error */
	handler *run;
} options[] = {
	{NBD_OPT_EXPORT_NAME, false, opt_export_name},
	{NBD_OPT_ABORT, false, opt_abort}, /* whatever comes with it: it wants to leave */
	{NBD_OPT_LIST, true, opt_list},
	{NBD_OPT_STARTTLS, true, opt_starttls},
	{NBD_OPT_INFO, false, opt_info_go},
	{NBD_OPT_GO, false, opt_info_go},
	{NBD_OPT_STRUCTURED_REPLY, true, opt_structured_reply},
	{NBD_OPT_LIST_META_CONTEXT, false, opt_meta_context},
	{NBD_OPT_SET_META_CONTEXT, false, opt_meta_context},
};

static enum dray_nego_result run_option(struct dray_nego *n, uint32_t code, struct cursor c)
{
	for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
		const struct option *o = &options[i];
		if (o->option != code)
			continue;
		if (o->no_data && c.left) {
			answer_error(n, code, NBD_REP_ERR_INVALID, "this option takes no data");
			return DRAY_NEGO_AGAIN;
		}
		return o->run(n, code, c);
	}
	answer_error(n, code, NBD_REP_ERR_UNSUP, "unknown option");
	return DRAY_NEGO_AGAIN;
}

/* ---- the machine ---- */

static enum dray_nego_result feed_client_flags(
	struct dray_nego *n, const uint8_t *in, size_t len, size_t *used)
{
	if (len < NBD_CLIENT_FLAGS_BYTES)
		return DRAY_NEGO_MORE;
	*used = NBD_CLIENT_FLAGS_BYTES;
	n->client_flags = nbd_get32(in);
	if (n->client_flags & ~(uint32_t)(NBD_HS_FIXED_NEWSTYLE | NBD_HS_NO_ZEROES))
		return DRAY_NEGO_CLOSE;
	n->state = DRAY_NEGO_OPTION;
	return DRAY_NEGO_AGAIN;
}

static enum dray_nego_result feed_option(struct dray_nego *n, const uint8_t *in, size_t len, size_t *used)
{
	if (len < NBD_OPTION_HEADER_BYTES)
		return DRAY_NEGO_MORE;
	uint32_t code = nbd_get32(in + 8), data = nbd_get32(in + 12);
	if (nbd_get64(in) != NBD_MAGIC_OPTION || data > DRAY_NBD_OPTION_SKIP)
		return DRAY_NEGO_CLOSE;
	bool fixed = n->client_flags & NBD_HS_FIXED_NEWSTYLE;
	if (code != NBD_OPT_EXPORT_NAME && !fixed)
		return DRAY_NEGO_CLOSE;
	if (data > DRAY_NBD_OPTION_BYTES) {
		if (code == NBD_OPT_EXPORT_NAME)
			return DRAY_NEGO_CLOSE;
		*used = NBD_OPTION_HEADER_BYTES;
		n->skip_option = code;
		n->skip_bytes = data;
		n->state = DRAY_NEGO_SKIP;
		return DRAY_NEGO_AGAIN;
	}
	if (len - NBD_OPTION_HEADER_BYTES < data)
		return DRAY_NEGO_MORE;
	*used = NBD_OPTION_HEADER_BYTES + data;
	if (++n->n_options > DRAY_NBD_MAX_OPTIONS)
		return DRAY_NEGO_CLOSE;
	enum dray_nego_result r = run_option(n, code, (struct cursor){in + NBD_OPTION_HEADER_BYTES, data});
	if (r == DRAY_NEGO_WAIT) {
		n->n_options--;
		*used = 0;
	}
	return r;
}

static enum dray_nego_result feed_skip(struct dray_nego *n, size_t len, size_t *used)
{
	*used = len < n->skip_bytes ? len : (size_t)n->skip_bytes;
	n->skip_bytes -= *used;
	if (n->skip_bytes)
		return DRAY_NEGO_MORE;
	n->state = DRAY_NEGO_OPTION;
	if (++n->n_options > DRAY_NBD_MAX_OPTIONS)
		return DRAY_NEGO_CLOSE;
	answer_error(n, n->skip_option, NBD_REP_ERR_TOO_BIG, "the option is too long");
	return DRAY_NEGO_AGAIN;
}

enum dray_nego_result dray_nego_feed(struct dray_nego *n, const uint8_t *in, size_t len, size_t *used)
{
	enum dray_nego_result r = DRAY_NEGO_CLOSE;
	*used = 0;
	switch (n->state) {
	case DRAY_NEGO_CLIENT_FLAGS: r = feed_client_flags(n, in, len, used); break;
	case DRAY_NEGO_OPTION: r = feed_option(n, in, len, used); break;
	case DRAY_NEGO_SKIP: r = feed_skip(n, len, used); break;
	case DRAY_NEGO_DONE: break;
	}
	/* Half an answer must not be sent. */
	if (n->out_failed) {
		n->out_len = n->out_sent;
		r = DRAY_NEGO_CLOSE;
	}
	if (r == DRAY_NEGO_CLOSE)
		n->state = DRAY_NEGO_DONE;
	return r;
}

void dray_nego_init(
	struct dray_nego *n, const struct dray_nbd_backend_ops *ops, void *ctx, uint32_t max_payload_bytes)
{
	memset(n, 0, sizeof *n);
	n->ops = ops;
	n->ctx = ctx;
	n->max_payload_bytes = max_payload_bytes;
	n->state = DRAY_NEGO_CLIENT_FLAGS;
	n->may_wait = true;
	uint8_t *p = out_more(n, NBD_GREETING_BYTES);
	if (!p)
		return;
	p = nbd_put64(p, NBD_MAGIC_GREETING);
	p = nbd_put64(p, NBD_MAGIC_OPTION);
	nbd_put16(p, NBD_HS_FIXED_NEWSTYLE | NBD_HS_NO_ZEROES);
}

void dray_nego_free(struct dray_nego *n)
{
	if (n->handle)
		n->ops->put(n->ctx, n->handle);
	free(n->out);
	memset(n, 0, sizeof *n);
	n->state = DRAY_NEGO_DONE;
}
