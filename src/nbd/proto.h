/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The numbers of the NBD protocol that this server speaks, and big-endian access to unaligned bytes.
 * All integers on the wire are big-endian.
 */
#ifndef DRAY_NBD_PROTO_H
#define DRAY_NBD_PROTO_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

/* ---- negotiation ---- */
#define NBD_MAGIC_GREETING UINT64_C(0x4e42444d41474943) /* "NBDMAGIC" */
#define NBD_MAGIC_OPTION   UINT64_C(0x49484156454f5054) /* "IHAVEOPT" */
#define NBD_MAGIC_ANSWER   UINT64_C(0x0003e889045565a9) /* in front of each answer to an option */

#define NBD_GREETING_BYTES      18 /* two magics, handshake flags */
#define NBD_CLIENT_FLAGS_BYTES  4
#define NBD_OPTION_HEADER_BYTES 16 /* magic, option, length */
#define NBD_ANSWER_HEADER_BYTES 20 /* magic, option, type, length */
#define NBD_EXPORT_NAME_ZEROES  124
#define NBD_STRING_MAX          4096 /* the longest string the protocol allows */

enum { /* handshake flags, of the server and of the client */
	NBD_HS_FIXED_NEWSTYLE = 1,
	NBD_HS_NO_ZEROES = 2,
};

enum {
	NBD_OPT_EXPORT_NAME = 1,
	NBD_OPT_ABORT = 2,
	NBD_OPT_LIST = 3,
	NBD_OPT_STARTTLS = 5,
	NBD_OPT_INFO = 6,
	NBD_OPT_GO = 7,
	NBD_OPT_STRUCTURED_REPLY = 8,
	NBD_OPT_LIST_META_CONTEXT = 9,
	NBD_OPT_SET_META_CONTEXT = 10,
};

#define NBD_REP_ERR(n)       (UINT32_C(0x80000000) | (n))
#define NBD_REP_ACK          UINT32_C(1)
#define NBD_REP_SERVER       UINT32_C(2)
#define NBD_REP_INFO         UINT32_C(3)
#define NBD_REP_META_CONTEXT UINT32_C(4)
#define NBD_REP_ERR_UNSUP    NBD_REP_ERR(1)
#define NBD_REP_ERR_POLICY   NBD_REP_ERR(2)
#define NBD_REP_ERR_INVALID  NBD_REP_ERR(3)
#define NBD_REP_ERR_UNKNOWN  NBD_REP_ERR(6)
#define NBD_REP_ERR_SHUTDOWN NBD_REP_ERR(7)
#define NBD_REP_ERR_TOO_BIG  NBD_REP_ERR(9)

enum {
	NBD_INFO_EXPORT = 0,
	NBD_INFO_NAME = 1,
	NBD_INFO_DESCRIPTION = 2,
	NBD_INFO_BLOCK_SIZE = 3,
};

#define NBD_CONTEXT_ALLOCATION    "base:allocation"
#define NBD_CONTEXT_ALLOCATION_ID 1

/* ---- transmission ---- */
enum { /* transmission flags of an export */
	NBD_TF_HAS_FLAGS = 1 << 0,
	NBD_TF_READ_ONLY = 1 << 1,
	NBD_TF_SEND_FLUSH = 1 << 2,
	NBD_TF_SEND_FUA = 1 << 3,
	NBD_TF_ROTATIONAL = 1 << 4,
	NBD_TF_SEND_TRIM = 1 << 5,
	NBD_TF_SEND_WRITE_ZEROES = 1 << 6,
	NBD_TF_SEND_DF = 1 << 7,
	NBD_TF_CAN_MULTI_CONN = 1 << 8,
	NBD_TF_SEND_CACHE = 1 << 10,
	NBD_TF_SEND_FAST_ZERO = 1 << 11,
};

enum {
	NBD_CMD_READ = 0,
	NBD_CMD_WRITE = 1,
	NBD_CMD_DISC = 2,
	NBD_CMD_FLUSH = 3,
	NBD_CMD_TRIM = 4,
	NBD_CMD_CACHE = 5,
	NBD_CMD_WRITE_ZEROES = 6,
	NBD_CMD_BLOCK_STATUS = 7,
};

enum { /* command flags */
	NBD_CF_FUA = 1 << 0,
	NBD_CF_NO_HOLE = 1 << 1,
	NBD_CF_DF = 1 << 2,
	NBD_CF_REQ_ONE = 1 << 3,
	NBD_CF_FAST_ZERO = 1 << 4,
};

#define NBD_MAGIC_REQUEST    UINT32_C(0x25609513)
#define NBD_MAGIC_SIMPLE     UINT32_C(0x67446698)
#define NBD_MAGIC_STRUCTURED UINT32_C(0x668e33ef)

#define NBD_REQUEST_BYTES      28 /* magic, flags, type, cookie, offset, length */
#define NBD_SIMPLE_REPLY_BYTES 16 /* magic, error, cookie */
#define NBD_CHUNK_HEADER_BYTES 20 /* magic, flags, type, cookie, length */

#define NBD_CHUNK_DONE 1 /* flag: the last chunk of this reply */
enum {
	NBD_CHUNK_NONE = 0,
	NBD_CHUNK_OFFSET_DATA = 1,
	NBD_CHUNK_BLOCK_STATUS = 5,
	NBD_CHUNK_ERROR = 0x8001,
};

enum { /* errors on the wire */
	NBD_EPERM = 1,
	NBD_EIO = 5,
	NBD_ENOMEM = 12,
	NBD_EINVAL = 22,
	NBD_ENOSPC = 28,
	NBD_EOVERFLOW = 75,
	NBD_ENOTSUP = 95,
	NBD_ESHUTDOWN = 108,
};

/* ---- bytes ---- */
static inline uint16_t nbd_get16(const uint8_t *p)
{
	uint16_t v;
	memcpy(&v, p, sizeof v);
	return be16toh(v);
}

static inline uint32_t nbd_get32(const uint8_t *p)
{
	uint32_t v;
	memcpy(&v, p, sizeof v);
	return be32toh(v);
}

static inline uint64_t nbd_get64(const uint8_t *p)
{
	uint64_t v;
	memcpy(&v, p, sizeof v);
	return be64toh(v);
}

/* The put functions return the place behind what they wrote. */
static inline uint8_t *nbd_put16(uint8_t *p, uint16_t v)
{
	v = htobe16(v);
	memcpy(p, &v, sizeof v);
	return p + sizeof v;
}

static inline uint8_t *nbd_put32(uint8_t *p, uint32_t v)
{
	v = htobe32(v);
	memcpy(p, &v, sizeof v);
	return p + sizeof v;
}

static inline uint8_t *nbd_put64(uint8_t *p, uint64_t v)
{
	v = htobe64(v);
	memcpy(p, &v, sizeof v);
	return p + sizeof v;
}

#endif
