/* SPDX-License-Identifier: BSD-3-Clause */
#include "nbd/reply.h"
#include "nbd/proto.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>

uint32_t dray_nbd_error(int error, bool fast)
{
	switch (-error) {
	case 0: return 0;
	case EPERM:
	case EACCES:
	case EROFS: return NBD_EPERM;
	case ENOMEM: return NBD_ENOMEM;
	case EINVAL: return NBD_EINVAL;
	case ENOSPC:
	case EDQUOT:
	case EFBIG: return NBD_ENOSPC;
	case ENOTSUP: return fast ? NBD_ENOTSUP : NBD_EINVAL;
	case ESHUTDOWN: return NBD_ESHUTDOWN;
	/* EOVERFLOW belongs to DF alone, which we never fail: a read is always one chunk. */
	default: return NBD_EIO;
	}
}

static uint8_t *chunk(uint8_t *head, uint16_t type, uint64_t cookie, uint32_t length)
{
	uint8_t *p = nbd_put32(head, NBD_MAGIC_STRUCTURED);
	p = nbd_put16(p, NBD_CHUNK_DONE);
	p = nbd_put16(p, type);
	p = nbd_put64(p, cookie);
	return nbd_put32(p, length);
}

static size_t simple(uint8_t *head, uint64_t cookie, uint32_t error)
{
	uint8_t *p = nbd_put32(head, NBD_MAGIC_SIMPLE);
	p = nbd_put32(p, error);
	nbd_put64(p, cookie);
	return NBD_SIMPLE_REPLY_BYTES;
}

size_t dray_nbd_reply_ok(uint8_t *head, uint64_t cookie)
{
	return simple(head, cookie, 0);
}

size_t dray_nbd_reply_read(
	uint8_t *head, const struct dray_nbd_session *s, uint64_t cookie, uint64_t offset, uint32_t length)
{
	if (!s->structured)
		return simple(head, cookie, 0);
	uint8_t *p = chunk(head, NBD_CHUNK_OFFSET_DATA, cookie, 8 + length);
	return (size_t)(nbd_put64(p, offset) - head);
}

size_t dray_nbd_reply_status(uint8_t *head, uint64_t cookie, unsigned n_extents)
{
	uint8_t *p = chunk(head, NBD_CHUNK_BLOCK_STATUS, cookie, 4 + 8 * n_extents);
	return (size_t)(nbd_put32(p, NBD_CONTEXT_ALLOCATION_ID) - head);
}

size_t dray_nbd_reply_error(
	uint8_t *head, const struct dray_nbd_session *s, uint64_t cookie, uint32_t error, const char *why)
{
	assert(error != 0);
	if (!s->structured)
		return simple(head, cookie, error);
	size_t len = strnlen(why, DRAY_NBD_REPLY_TEXT);
	uint8_t *p = chunk(head, NBD_CHUNK_ERROR, cookie, (uint32_t)(6 + len));
	p = nbd_put32(p, error);
	p = nbd_put16(p, (uint16_t)len);
	memcpy(p, why, len);
	return (size_t)(p + len - head);
}

unsigned dray_nbd_encode_extents(struct dray_extent *extents, unsigned n, uint64_t length, bool one)
{
	/* A descriptor is half as long as what it is made of: the bytes written never reach the extent read
	 * next. */
	static_assert(sizeof(struct dray_extent) >= 8, "encoded in place");
	uint8_t *out = (uint8_t *)extents;
	unsigned made = 0;
	uint32_t flags = 0, run = 0;

	for (unsigned i = 0; i < n && length; i++) {
		struct dray_extent e = extents[i];
		uint64_t take = e.length < length ? e.length : length;
		if (take == 0)
			continue;
		/* A request's length has 32 bits, so a run has, too. */
		e.flags &= DRAY_EXTENT_HOLE | DRAY_EXTENT_ZERO;
		if (made && e.flags == flags) {
			run += (uint32_t)take;
		} else {
			if (made && one)
				break;
			made++;
			flags = e.flags;
			run = (uint32_t)take;
		}
		nbd_put32(nbd_put32(out + 8 * (size_t)(made - 1), run), flags);
		length -= take;
	}
	return made;
}
