/* SPDX-License-Identifier: BSD-3-Clause */
/* Every kind of request is submitted or refused as it should be, and replies have the bytes that the protocol
 * says. */
#include "nbd/proto.h"
#include "nbd/reply.h"
#include "nbd/request.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define MIB (UINT64_C(1) << 20)

static struct dray_nbd_session session(bool read_only, bool able, uint32_t block)
{
	struct dray_nbd_session s = {.structured = able, .allocation = able, .max_payload_bytes = 65536};
	s.info = (struct dray_nbd_export_info){.size_bytes = MIB,
		.block_min = block,
		.read_only = read_only,
		.can_fua = able,
		.can_trim = able,
		.can_cache = able,
		.can_fast_zero = able,
		.can_extents = able};
	s.tflags = dray_nbd_transmission_flags(&s.info, able);
	return s;
}

enum who { FULL, RO, BARE, BLOCK512 };

static void plans(void **state)
{
	const struct dray_nbd_session who[] = {session(false, true, 1), session(true, true, 1),
		session(false, false, 1), session(false, true, 512)};
	static const struct {
		enum who who;
		uint16_t type, flags;
		uint64_t offset;
		uint32_t length;
		int error; /* 0: submitted as op with op_flags */
		enum dray_op op;
		uint32_t op_flags;
	} cases[] = {
		{FULL, NBD_CMD_READ, 0, 0, 1, 0, DRAY_OP_READ, 0},
		{FULL, NBD_CMD_READ, NBD_CF_DF, MIB - 65536, 65536, 0, DRAY_OP_READ, 0},
		/* FUA may come with any command once it was offered, and means something to writes only. */
		{FULL, NBD_CMD_READ, NBD_CF_FUA, 0, 512, 0, DRAY_OP_READ, 0},
		{FULL, NBD_CMD_FLUSH, NBD_CF_FUA, 0, 0, 0, DRAY_OP_FLUSH, 0},
		{FULL, NBD_CMD_WRITE, 0, 100, 1000, 0, DRAY_OP_WRITE, 0},
		{FULL, NBD_CMD_WRITE, NBD_CF_FUA, 0, 65536, 0, DRAY_OP_WRITE, DRAY_F_FUA},
		{FULL, NBD_CMD_TRIM, NBD_CF_FUA, 0, MIB, 0, DRAY_OP_DISCARD, DRAY_F_FUA},
		{FULL, NBD_CMD_CACHE, 0, 0, MIB, 0, DRAY_OP_CACHE, 0},
		{FULL, NBD_CMD_WRITE_ZEROES, 0, 0, MIB, 0, DRAY_OP_ZERO, DRAY_F_MAY_UNMAP},
		{FULL, NBD_CMD_WRITE_ZEROES, NBD_CF_NO_HOLE, 0, 5, 0, DRAY_OP_ZERO, 0},
		{FULL, NBD_CMD_WRITE_ZEROES, NBD_CF_FAST_ZERO | NBD_CF_FUA, 0, 5, 0, DRAY_OP_ZERO,
			DRAY_F_FAST | DRAY_F_FUA | DRAY_F_MAY_UNMAP},
		{FULL, NBD_CMD_BLOCK_STATUS, NBD_CF_REQ_ONE, 0, MIB, 0, DRAY_OP_EXTENTS, 0},
		{RO, NBD_CMD_READ, 0, 0, 512, 0, DRAY_OP_READ, 0},
		{RO, NBD_CMD_FLUSH, 0, 0, 0, 0, DRAY_OP_FLUSH, 0},
		{RO, NBD_CMD_BLOCK_STATUS, 0, 0, 512, 0, DRAY_OP_EXTENTS, 0},
		{BARE, NBD_CMD_WRITE_ZEROES, 0, 0, 512, 0, DRAY_OP_ZERO, DRAY_F_MAY_UNMAP},
		{BLOCK512, NBD_CMD_READ, 0, 512, 1024, 0, DRAY_OP_READ, 0},
		/* unknown */
		{FULL, 8, 0, 0, 512, -EINVAL, 0, 0},
		{FULL, 0xffff, 0, 0, 0, -EINVAL, 0, 0},
		/* flags */
		{FULL, NBD_CMD_READ, 0x20, 0, 512, -EINVAL, 0, 0},
		{FULL, NBD_CMD_READ, NBD_CF_NO_HOLE, 0, 512, -EINVAL, 0, 0},
		{FULL, NBD_CMD_WRITE, NBD_CF_DF, 0, 512, -EINVAL, 0, 0},
		{FULL, NBD_CMD_WRITE, NBD_CF_FAST_ZERO, 0, 512, -EINVAL, 0, 0},
		{FULL, NBD_CMD_TRIM, NBD_CF_REQ_ONE, 0, 512, -EINVAL, 0, 0},
		{FULL, NBD_CMD_WRITE_ZEROES, NBD_CF_REQ_ONE, 0, 512, -EINVAL, 0, 0},
		{BARE, NBD_CMD_READ, NBD_CF_DF, 0, 512, -EINVAL, 0, 0},
		{BARE, NBD_CMD_WRITE, NBD_CF_FUA, 0, 512, -EINVAL, 0, 0},
		{BARE, NBD_CMD_WRITE_ZEROES, NBD_CF_FAST_ZERO, 0, 512, -EINVAL, 0, 0},
		/* not offered */
		{BARE, NBD_CMD_TRIM, 0, 0, 512, -EINVAL, 0, 0},
		{BARE, NBD_CMD_CACHE, 0, 0, 512, -EINVAL, 0, 0},
		{BARE, NBD_CMD_BLOCK_STATUS, 0, 0, 512, -EINVAL, 0, 0},
		/* read-only */
		{RO, NBD_CMD_WRITE, 0, 0, 512, -EPERM, 0, 0},
		{RO, NBD_CMD_TRIM, 0, 0, 512, -EPERM, 0, 0},
		{RO, NBD_CMD_WRITE_ZEROES, 0, 0, 512, -EPERM, 0, 0},
		/* sizes and ranges */
		{FULL, NBD_CMD_READ, 0, 0, 0, -EINVAL, 0, 0},
		{FULL, NBD_CMD_WRITE, 0, 0, 0, -EINVAL, 0, 0},
		{FULL, NBD_CMD_READ, 0, 0, 65537, -EINVAL, 0, 0},
		{FULL, NBD_CMD_WRITE, 0, 0, 65537, -EINVAL, 0, 0},
		{FULL, NBD_CMD_READ, 0, MIB, 1, -EINVAL, 0, 0},
		{FULL, NBD_CMD_READ, 0, MIB - 1, 2, -EINVAL, 0, 0},
		{FULL, NBD_CMD_READ, 0, UINT64_MAX, 2, -EINVAL, 0, 0},
		{FULL, NBD_CMD_WRITE, 0, MIB - 1, 2, -ENOSPC, 0, 0},
		{FULL, NBD_CMD_WRITE, 0, UINT64_MAX - 1, 2, -ENOSPC, 0, 0},
		{FULL, NBD_CMD_WRITE_ZEROES, 0, 0, UINT32_MAX, -ENOSPC, 0, 0},
		{FULL, NBD_CMD_TRIM, 0, 1, MIB, -EINVAL, 0, 0},
		{FULL, NBD_CMD_CACHE, 0, 1, MIB, -EINVAL, 0, 0},
		{FULL, NBD_CMD_BLOCK_STATUS, 0, 1, MIB, -EINVAL, 0, 0},
		{FULL, NBD_CMD_FLUSH, 0, 0, 1, -EINVAL, 0, 0},
		{FULL, NBD_CMD_FLUSH, 0, 1, 0, -EINVAL, 0, 0},
		{BLOCK512, NBD_CMD_READ, 0, 1, 512, -EINVAL, 0, 0},
		{BLOCK512, NBD_CMD_WRITE, 0, 512, 100, -EINVAL, 0, 0},
		{BLOCK512, NBD_CMD_WRITE_ZEROES, 0, 256, 512, -EINVAL, 0, 0},
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		uint8_t bytes[NBD_REQUEST_BYTES], *p = nbd_put32(bytes, NBD_MAGIC_REQUEST);
		struct dray_nbd_header h;
		struct dray_nbd_plan plan;
		p = nbd_put16(nbd_put16(p, cases[i].flags), cases[i].type);
		nbd_put32(nbd_put64(nbd_put64(p, 77), cases[i].offset), cases[i].length);
		assert_true(dray_nbd_header_decode(&h, bytes));
		assert_true(h.cookie == 77 && h.offset == cases[i].offset && h.length == cases[i].length);
		dray_nbd_plan(&plan, &h, &who[cases[i].who]);
		if (plan.error != cases[i].error)
			print_message("case %zu:\n", i);
		assert_int_equal(plan.error, cases[i].error);
		assert_int_equal(plan.verdict, cases[i].error ? DRAY_NBD_REFUSE : DRAY_NBD_SUBMIT);
		assert_int_equal(plan.payload_bytes, cases[i].type == NBD_CMD_WRITE ? cases[i].length : 0);
		if (plan.error) {
			assert_non_null(plan.why);
			assert_true(strlen(plan.why) <= DRAY_NBD_REPLY_TEXT);
		} else {
			assert_int_equal(plan.op, cases[i].op);
			assert_int_equal(plan.flags, cases[i].op_flags);
		}
	}
}

static void leaving_and_garbage(void **state)
{
	const struct dray_nbd_session s = session(false, true, 1);
	struct dray_nbd_header h = {.type = NBD_CMD_DISC, .flags = 0xffff};
	struct dray_nbd_plan plan;
	dray_nbd_plan(&plan, &h, &s);
	assert_int_equal(plan.verdict, DRAY_NBD_LEAVE);
	uint8_t bytes[NBD_REQUEST_BYTES] = {0x25, 0x60, 0x95, 0x12};
	assert_false(dray_nbd_header_decode(&h, bytes));
}

static void errors(void **state)
{
	static const struct {
		int error;
		uint32_t wire;
	} cases[] = {
		{0, 0},
		{EPERM, 1},
		{EACCES, 1},
		{EROFS, 1},
		{EIO, 5},
		{ENOMEM, 12},
		{EINVAL, 22},
		{ENOSPC, 28},
		{EDQUOT, 28},
		{EFBIG, 28},
		{ESHUTDOWN, 108},
		{EOVERFLOW, 5},
		{ETIMEDOUT, 5},
		{ENOTSUP, 22},
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		assert_int_equal(dray_nbd_error(-cases[i].error, false), cases[i].wire);
	assert_int_equal(dray_nbd_error(-ENOTSUP, true), 95);
}

static void replies(void **state)
{
	const struct dray_nbd_session full = session(false, true, 1), bare = session(false, false, 1);
	uint8_t b[DRAY_NBD_REPLY_HEAD];

	assert_int_equal(dray_nbd_reply_ok(b, 0x0102030405060708), 16);
	assert_memory_equal(b, "\x67\x44\x66\x98\0\0\0\0\1\2\3\4\5\6\7\x8", 16);
	assert_int_equal(dray_nbd_reply_read(b, &bare, 5, 4096, 512), 16);
	assert_memory_equal(b, "\x67\x44\x66\x98\0\0\0\0\0\0\0\0\0\0\0\5", 16);
	assert_int_equal(dray_nbd_reply_read(b, &full, 5, 4096, 512), 28);
	assert_memory_equal(b, "\x66\x8e\x33\xef\0\1\0\1\0\0\0\0\0\0\0\5\0\0\2\x8\0\0\0\0\0\0\x10\0", 28);
	assert_int_equal(dray_nbd_reply_status(b, 5, 2), 24);
	assert_memory_equal(b, "\x66\x8e\x33\xef\0\1\0\5\0\0\0\0\0\0\0\5\0\0\0\x14\0\0\0\1", 24);
	assert_int_equal(dray_nbd_reply_error(b, &bare, 5, NBD_EIO, "ignored"), 16);
	assert_memory_equal(b, "\x67\x44\x66\x98\0\0\0\5\0\0\0\0\0\0\0\5", 16);
	assert_int_equal(dray_nbd_reply_error(b, &full, 5, NBD_ENOSPC, "full"), 30);
	assert_memory_equal(b, "\x66\x8e\x33\xef\0\1\x80\1\0\0\0\0\0\0\0\5\0\0\0\xa\0\0\0\x1c\0\4full", 30);

	char text[200];
	memset(text, 'x', sizeof text - 1);
	text[sizeof text - 1] = '\0';
	assert_int_equal(dray_nbd_reply_error(b, &full, 5, NBD_EIO, text), 26 + DRAY_NBD_REPLY_TEXT);
	assert_true(26 + DRAY_NBD_REPLY_TEXT <= DRAY_NBD_REPLY_HEAD);
}

static void extents(void **state)
{
	struct dray_extent e[4] = {{4096, 0}, {4096, 0}, {0, 2}, {UINT64_C(1) << 40, 3}};
	const uint8_t *p = (uint8_t *)e;
	/* joined, and the last one cut to what was asked for */
	assert_int_equal(dray_nbd_encode_extents(e, 4, 65536, false), 2);
	assert_memory_equal(p, "\0\0\x20\0\0\0\0\0\0\0\xe0\0\0\0\0\3", 16);

	struct dray_extent one[3] = {{10, 1}, {20, 1 | 64}, {30, 0}};
	assert_int_equal(dray_nbd_encode_extents(one, 3, 1000, true), 1);
	assert_memory_equal(one, "\0\0\0\x1e\0\0\0\1", 8);

	struct dray_extent none[1] = {{0, 0}};
	assert_int_equal(dray_nbd_encode_extents(none, 1, 1000, false), 0);
	assert_int_equal(dray_nbd_encode_extents(none, 0, 1000, false), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plans),
		cmocka_unit_test(leaving_and_garbage),
		cmocka_unit_test(errors),
		cmocka_unit_test(replies),
		cmocka_unit_test(extents),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
