/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The negotiation of one connection: bytes of the client in, bytes for the client out. Pure: no socket, no
 * clock; what it needs of the exports it asks the backend for. So it can be tested and fuzzed alone.
 *
 * Bounds: the client's bytes are never copied, so an option takes no memory of ours beyond the receive
 * buffer; options longer than DRAY_NBD_OPTION_BYTES are thrown away and refused; answers are produced one
 * option at a time and only while the last answers were taken; after DRAY_NBD_MAX_OPTIONS options the
 * connection is closed.
 */
#ifndef DRAY_NBD_NEGOTIATE_H
#define DRAY_NBD_NEGOTIATE_H

#include "nbd/backend.h"
#include "nbd/session.h"

#define DRAY_NBD_OPTION_BYTES 32768 /* the longest option that is looked at */
#define DRAY_NBD_OPTION_SKIP                                                                                 \
	1048576 /* the longest that is thrown away and refused; longer: the connection is closed */
#define DRAY_NBD_MAX_OPTIONS 4096

enum dray_nego_result {
	DRAY_NEGO_MORE,     /* wants more bytes */
	DRAY_NEGO_AGAIN,    /* made progress: send the output, then call again */
	DRAY_NEGO_TRANSMIT, /* send the output, then the transmission phase begins; `session` is filled, a
			       reference is held */
	DRAY_NEGO_CLOSE,    /* send the output, then close */
	DRAY_NEGO_WAIT,     /* the export is not there yet: send the output, call again in a moment with the same bytes */
};

enum dray_nego_state { DRAY_NEGO_CLIENT_FLAGS, DRAY_NEGO_OPTION, DRAY_NEGO_SKIP, DRAY_NEGO_DONE };

struct dray_nego {
	const struct dray_nbd_backend_ops *ops;
	void *ctx;
	uint32_t max_payload_bytes;

	enum dray_nego_state state;
	bool may_wait; /* true at first; the owner's: when it is false, there is no WAIT */
	uint32_t client_flags;
	unsigned n_options;
	uint32_t skip_option; /* SKIP: of which option, and how much is left */
	uint64_t skip_bytes;
	bool structured;
	/* A successful SET_META_CONTEXT holds for the export of this name only. */
	bool meta, meta_allocation;
	char meta_name[256];

	/* Output: the owner takes bytes from the front by raising out_sent, and resets both to 0 when all is
	 * sent. */
	uint8_t *out;
	size_t out_len, out_sent, out_cap;
	bool out_failed; /* no memory: the connection is closed */

	/* The outcome, after TRANSMIT: the caller puts the handle. */
	void *handle;
	struct dray_loop *loop;
	char name[256]; /* as the client asked for it */
	struct dray_nbd_session session;
};

/* Puts the greeting into the output. `max_payload_bytes` is the server's limit for one request. */
void dray_nego_init(
	struct dray_nego *n, const struct dray_nbd_backend_ops *ops, void *ctx, uint32_t max_payload_bytes);
/* Gives the output's memory back, and the export's reference if there is one. */
void dray_nego_free(struct dray_nego *n);

/* Looks at `len` bytes, sets *used to how many are done with (the rest must be given again, with more behind
 * it). A buffer of DRAY_NBD_OPTION_BYTES + NBD_OPTION_HEADER_BYTES is always enough for progress. */
enum dray_nego_result dray_nego_feed(struct dray_nego *n, const uint8_t *in, size_t len, size_t *used);

#endif
