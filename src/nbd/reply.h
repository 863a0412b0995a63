/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Replies as bytes. Pure.
 *
 * Where structured replies were negotiated, every error and the answers to READ and BLOCK_STATUS are chunks;
 * a success without content stays a simple reply, which the protocol allows and which is shorter. Each reply
 * is one chunk.
 */
#ifndef DRAY_NBD_REPLY_H
#define DRAY_NBD_REPLY_H

#include "nbd/session.h"

#define DRAY_NBD_REPLY_TEXT 80  /* the longest error text */
#define DRAY_NBD_REPLY_HEAD 112 /* the longest head below */

/* A negative errno (or 0) as the protocol knows it. `fast`: the request asked for FAST_ZERO, whose ENOTSUP
 * has a meaning. */
uint32_t dray_nbd_error(int error, bool fast);

/* Each writes what goes in front of the data, if there is any, into DRAY_NBD_REPLY_HEAD bytes, and returns
 * its length. */
size_t dray_nbd_reply_ok(uint8_t *head, uint64_t cookie);
size_t dray_nbd_reply_read(
	uint8_t *head, const struct dray_nbd_session *s, uint64_t cookie, uint64_t offset, uint32_t length);
size_t dray_nbd_reply_status(uint8_t *head, uint64_t cookie, unsigned n_extents);
/* `error` is one of NBD_E*, not 0; `why` is cut to DRAY_NBD_REPLY_TEXT. */
size_t dray_nbd_reply_error(
	uint8_t *head, const struct dray_nbd_session *s, uint64_t cookie, uint32_t error, const char *why);

/* Rewrites extents in place as the protocol's 8-byte descriptors: neighbours of one kind joined, cut to
 * `length` and, with `one`, to the first. Returns how many there are; 0: the extents cover nothing. */
unsigned dray_nbd_encode_extents(struct dray_extent *extents, unsigned n, uint64_t length, bool one);

#endif
