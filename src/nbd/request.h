/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reading a request's header, and deciding what to do with it. Pure.
 *
 * What a request may be is a table of commands; the checks are made in one order for all of them, so that the
 * same mistake has the same error everywhere: magic (the stream is lost: close), command, flags, read-only,
 * size, range, alignment.
 */
#ifndef DRAY_NBD_REQUEST_H
#define DRAY_NBD_REQUEST_H

#include "nbd/session.h"

struct dray_nbd_header {
	uint16_t flags, type;
	uint64_t cookie, offset;
	uint32_t length;
};

/* Decodes NBD_REQUEST_BYTES. False: not a request, nothing behind it can be understood. */
bool dray_nbd_header_decode(struct dray_nbd_header *h, const uint8_t *bytes);

enum dray_nbd_verdict {
	DRAY_NBD_SUBMIT, /* `op` and `flags` for the backend */
	DRAY_NBD_REFUSE, /* answer `error` (negative errno) and `why`, after `payload_bytes` were thrown away
			  */
	DRAY_NBD_LEAVE,  /* the client disconnects: no answer */
};

struct dray_nbd_plan {
	enum dray_nbd_verdict verdict;
	enum dray_op op;
	uint32_t flags;
	uint32_t payload_bytes; /* that follow the header, refused or not */
	int error;
	const char *why; /* static */
};

void dray_nbd_plan(
	struct dray_nbd_plan *plan, const struct dray_nbd_header *h, const struct dray_nbd_session *s);

#endif
