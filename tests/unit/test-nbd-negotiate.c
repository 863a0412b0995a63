/* SPDX-License-Identifier: BSD-3-Clause */
/* Each option of the negotiation gets the answers it should, well-formed or not, in whatever pieces it
 * arrives. */
#include "nbd/negotiate.h"
#include "nbd/proto.h"
#include "../nbd-ram.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static struct ram_export exports[3];
static struct ram ram = {exports, 3};

/* The client's bytes, built up by the functions below. */
static uint8_t in[200000];
static size_t in_len;

/* What the server answered: option and type of each, and the place of its content. */
static struct answer {
	uint32_t option, type, len;
	const uint8_t *data;
} answers[10000];
static unsigned n_answers;
static uint8_t out[2000000];
static size_t out_len;
static enum dray_nego_result result;
static struct dray_nego nego;

static void begin(uint32_t flags)
{
	nbd_put32(in, flags);
	in_len = 4;
}

static void raw(const void *p, size_t n)
{
	memcpy(in + in_len, p, n);
	in_len += n;
}

static void u32(uint32_t v)
{
	nbd_put32(in + in_len, v);
	in_len += 4;
}

static void u16(uint16_t v)
{
	nbd_put16(in + in_len, v);
	in_len += 2;
}

static void string(const char *s)
{
	u32((uint32_t)strlen(s));
	raw(s, strlen(s));
}

static size_t option(uint32_t code)
{
	nbd_put64(in + in_len, NBD_MAGIC_OPTION);
	in_len += 8;
	u32(code);
	u32(0);
	return in_len;
}

/* Corrects the length of the option whose data began at `start`. */
static void end_option(size_t start)
{
	nbd_put32(in + start - 4, (uint32_t)(in_len - start));
}

static void plain(uint32_t code)
{
	end_option(option(code));
}

static void info_go(uint32_t code, const char *name)
{
	size_t o = option(code);
	string(name);
	u16(3);
	u16(NBD_INFO_BLOCK_SIZE);
	u16(NBD_INFO_NAME);
	u16(NBD_INFO_DESCRIPTION);
	end_option(o);
}

static void meta(uint32_t code, const char *name, const char *q1, const char *q2)
{
	size_t o = option(code);
	string(name);
	u32((q1 != NULL) + (q2 != NULL));
	if (q1)
		string(q1);
	if (q2)
		string(q2);
	end_option(o);
}

/* Feeds `in` to a new negotiation, `piece` bytes at a time, and takes the answers apart. */
static void talk(size_t piece)
{
	size_t seen = 0, at = 0, used;
	dray_nego_free(&nego);
	dray_nego_init(&nego, &ram_ops, &ram, 32 << 20);
	assert_int_equal(nego.out_len, NBD_GREETING_BYTES);
	assert_memory_equal(nego.out, "NBDMAGICIHAVEOPT\0\3", NBD_GREETING_BYTES);
	nego.out_len = 0;
	out_len = 0;
	for (;;) {
		result = dray_nego_feed(&nego, in + at, seen - at, &used);
		at += used;
		assert_true(out_len + nego.out_len <= sizeof out);
		memcpy(out + out_len, nego.out, nego.out_len);
		out_len += nego.out_len;
		nego.out_len = 0;
		if (result == DRAY_NEGO_CLOSE || result == DRAY_NEGO_TRANSMIT)
			break;
		if (result == DRAY_NEGO_AGAIN)
			continue;
		if (seen == in_len)
			break;
		seen = in_len - seen < piece ? in_len : seen + piece;
	}
	n_answers = 0;
	for (size_t p = 0;
		out_len - p >= NBD_ANSWER_HEADER_BYTES && nbd_get64(out + p) == NBD_MAGIC_ANSWER;) {
		answers[n_answers] = (struct answer){nbd_get32(out + p + 8), nbd_get32(out + p + 12),
			nbd_get32(out + p + 16), out + p + NBD_ANSWER_HEADER_BYTES};
		p += NBD_ANSWER_HEADER_BYTES + answers[n_answers++].len;
	}
}

static void expect(unsigned i, uint32_t opt, uint32_t type)
{
	assert_true(i < n_answers);
	assert_int_equal(answers[i].option, opt);
	assert_int_equal(answers[i].type, type);
}

/* One option alone (structured replies first, if asked for) ends in one error, and the client may go on. */
static void expect_error(uint32_t opt, uint32_t type)
{
	expect(n_answers - 1, opt, type);
	assert_int_equal(result, DRAY_NEGO_MORE);
	assert_true(answers[n_answers - 1].len > 0);
}

static void go(void **state)
{
	begin(3);
	plain(NBD_OPT_STRUCTURED_REPLY);
	meta(NBD_OPT_SET_META_CONTEXT, "disk", "x:y", NBD_CONTEXT_ALLOCATION);
	info_go(NBD_OPT_GO, "disk");
	static const size_t pieces[] = {SIZE_MAX, 1, 7, 20};
	for (size_t i = 0; i < 4; i++) {
		talk(pieces[i]);
		assert_int_equal(result, DRAY_NEGO_TRANSMIT);
		assert_int_equal(n_answers, 8);
		expect(0, NBD_OPT_STRUCTURED_REPLY, NBD_REP_ACK);
		expect(1, NBD_OPT_SET_META_CONTEXT, NBD_REP_META_CONTEXT);
		assert_int_equal(answers[1].len, 4 + 15);
		assert_int_equal(nbd_get32(answers[1].data), NBD_CONTEXT_ALLOCATION_ID);
		assert_memory_equal(answers[1].data + 4, "base:allocation", 15);
		expect(2, NBD_OPT_SET_META_CONTEXT, NBD_REP_ACK);
		expect(3, NBD_OPT_GO, NBD_REP_INFO);
		assert_int_equal(nbd_get16(answers[3].data), NBD_INFO_EXPORT);
		assert_true(nbd_get64(answers[3].data + 2) == 1 << 20);
		assert_int_equal(nbd_get16(answers[3].data + 10), nego.session.tflags);
		expect(4, NBD_OPT_GO, NBD_REP_INFO);
		assert_memory_equal(answers[4].data, "\0\3\0\0\0\1\0\0\x10\0\2\0\0\0", 14);
		expect(5, NBD_OPT_GO, NBD_REP_INFO);
		assert_memory_equal(answers[5].data, "\0\1disk", answers[5].len);
		expect(6, NBD_OPT_GO, NBD_REP_INFO);
		assert_memory_equal(answers[6].data, "\0\2disk in memory", answers[6].len);
		expect(7, NBD_OPT_GO, NBD_REP_ACK);
		assert_true(nego.session.structured && nego.session.allocation);
		assert_int_equal(nego.session.max_payload_bytes, 32 << 20);
		assert_ptr_equal(nego.handle, &exports[0]);
		assert_string_equal(nego.name, "disk");
	}
}

static void transmission_flags(void **state)
{
	const unsigned all = NBD_TF_HAS_FLAGS | NBD_TF_SEND_FLUSH | NBD_TF_SEND_FUA | NBD_TF_SEND_TRIM |
			     NBD_TF_SEND_WRITE_ZEROES | NBD_TF_CAN_MULTI_CONN | NBD_TF_SEND_CACHE |
			     NBD_TF_SEND_FAST_ZERO;
	assert_int_equal(dray_nbd_transmission_flags(&exports[0].info, false), all);
	assert_int_equal(dray_nbd_transmission_flags(&exports[0].info, true), all | NBD_TF_SEND_DF);
	assert_int_equal(dray_nbd_transmission_flags(&exports[1].info, false),
		NBD_TF_HAS_FLAGS | NBD_TF_READ_ONLY | NBD_TF_SEND_FLUSH | NBD_TF_SEND_FUA |
			NBD_TF_CAN_MULTI_CONN | NBD_TF_SEND_CACHE);
	assert_int_equal(dray_nbd_transmission_flags(&exports[2].info, false),
		NBD_TF_HAS_FLAGS | NBD_TF_SEND_FLUSH | NBD_TF_SEND_WRITE_ZEROES | NBD_TF_ROTATIONAL);
}

static void export_name(void **state)
{
	for (uint32_t flags = 0; flags < 4; flags++) {
		begin(flags);
		size_t o = option(NBD_OPT_EXPORT_NAME);
		raw("plain", 5);
		end_option(o);
		talk(3);
		assert_int_equal(result, DRAY_NEGO_TRANSMIT);
		assert_int_equal(out_len, flags & NBD_HS_NO_ZEROES ? 10 : 134);
		assert_true(nbd_get64(out) == 1 << 20);
		assert_int_equal(nbd_get16(out + 8), nego.session.tflags);
		assert_false(nego.session.structured || nego.session.allocation);
	}
	/* An unknown name can only be hung up on. */
	begin(3);
	size_t o = option(NBD_OPT_EXPORT_NAME);
	raw("nothing", 7);
	end_option(o);
	talk(SIZE_MAX);
	assert_int_equal(result, DRAY_NEGO_CLOSE);
	assert_int_equal(out_len, 0);
}

static void info_keeps_nothing(void **state)
{
	begin(3);
	info_go(NBD_OPT_INFO, "");
	talk(SIZE_MAX);
	assert_int_equal(result, DRAY_NEGO_MORE);
	expect(n_answers - 1, NBD_OPT_INFO, NBD_REP_ACK);
	/* The name of the default export is told. */
	assert_memory_equal(answers[2].data, "\0\1disk", answers[2].len);
	assert_int_equal(exports[0].refs, 0);
}

static void no_description_is_not_told(void **state)
{
	begin(3);
	info_go(NBD_OPT_INFO, "plain");
	talk(SIZE_MAX);
	assert_int_equal(n_answers, 4);
	assert_int_equal(nbd_get16(answers[2].data), NBD_INFO_NAME);
	expect(3, NBD_OPT_INFO, NBD_REP_ACK);
}

static void list(void **state)
{
	begin(3);
	plain(NBD_OPT_LIST);
	talk(SIZE_MAX);
	assert_int_equal(n_answers, 4);
	for (unsigned i = 0; i < 3; i++) {
		expect(i, NBD_OPT_LIST, NBD_REP_SERVER);
		uint32_t len = nbd_get32(answers[i].data);
		assert_int_equal(len, strlen(exports[i].info.name));
		assert_memory_equal(answers[i].data + 4, exports[i].info.name, len);
		assert_int_equal(answers[i].len, 4 + len + strlen(exports[i].info.description));
	}
	expect(3, NBD_OPT_LIST, NBD_REP_ACK);
}

static void abort_is_acknowledged(void **state)
{
	begin(3);
	plain(NBD_OPT_ABORT);
	talk(SIZE_MAX);
	expect(0, NBD_OPT_ABORT, NBD_REP_ACK);
	assert_int_equal(result, DRAY_NEGO_CLOSE);
}

static void refused_options(void **state)
{
	begin(3);
	plain(NBD_OPT_STARTTLS);
	talk(SIZE_MAX);
	expect_error(NBD_OPT_STARTTLS, NBD_REP_ERR_UNSUP);

	static const uint32_t unknown[] = {0, 4, 11, 12345, UINT32_MAX};
	for (size_t i = 0; i < 5; i++) {
		begin(3);
		size_t o = option(unknown[i]);
		raw("some data", 9);
		end_option(o);
		plain(NBD_OPT_LIST);
		talk(5);
		expect(0, unknown[i], NBD_REP_ERR_UNSUP);
		expect(1, NBD_OPT_LIST, NBD_REP_SERVER);
	}
	/* Options that take no data. */
	static const uint32_t bare[] = {NBD_OPT_LIST, NBD_OPT_STARTTLS, NBD_OPT_STRUCTURED_REPLY};
	for (size_t i = 0; i < 3; i++) {
		begin(3);
		size_t o = option(bare[i]);
		u32(0);
		end_option(o);
		talk(SIZE_MAX);
		expect_error(bare[i], NBD_REP_ERR_INVALID);
		assert_false(nego.structured);
	}
}

static void malformed_info(void **state)
{
	static const uint32_t both[] = {NBD_OPT_INFO, NBD_OPT_GO};
	for (size_t i = 0; i < 2; i++) {
		begin(3);
		plain(both[i]);
		talk(SIZE_MAX);
		expect_error(both[i], NBD_REP_ERR_INVALID);

		begin(3); /* a name longer than the option */
		size_t o = option(both[i]);
		u32(UINT32_MAX);
		raw("disk\0\0", 6);
		end_option(o);
		talk(SIZE_MAX);
		expect_error(both[i], NBD_REP_ERR_INVALID);

		begin(3); /* fewer requests than it says */
		o = option(both[i]);
		string("disk");
		u16(2);
		u16(0);
		end_option(o);
		talk(SIZE_MAX);
		expect_error(both[i], NBD_REP_ERR_INVALID);

		begin(3); /* something behind them */
		o = option(both[i]);
		string("disk");
		u16(0);
		raw("x", 1);
		end_option(o);
		talk(SIZE_MAX);
		expect_error(both[i], NBD_REP_ERR_INVALID);
		assert_null(nego.handle);
	}
}

static void names(void **state)
{
	static char name[4098];
	memset(name, 'n', sizeof name - 1);
	name[4096] = '\0';
	begin(3);
	info_go(NBD_OPT_GO, name);
	talk(SIZE_MAX);
	expect_error(NBD_OPT_GO, NBD_REP_ERR_UNKNOWN);

	name[4096] = 'n';
	begin(3);
	info_go(NBD_OPT_GO, name);
	talk(SIZE_MAX);
	expect_error(NBD_OPT_GO, NBD_REP_ERR_TOO_BIG);

	begin(3);
	info_go(NBD_OPT_GO, "Disk");
	talk(SIZE_MAX);
	expect_error(NBD_OPT_GO, NBD_REP_ERR_UNKNOWN);

	begin(3); /* a zero byte does not end a name */
	size_t o = option(NBD_OPT_GO);
	u32(6);
	raw("disk\0x", 6);
	u16(0);
	end_option(o);
	talk(SIZE_MAX);
	expect_error(NBD_OPT_GO, NBD_REP_ERR_UNKNOWN);
}

static void long_options(void **state)
{
	begin(3); /* skipped and refused, then the client goes on */
	size_t o = option(NBD_OPT_GO);
	in_len += DRAY_NBD_OPTION_BYTES + 1;
	end_option(o);
	plain(NBD_OPT_ABORT);
	talk(1000);
	expect(0, NBD_OPT_GO, NBD_REP_ERR_TOO_BIG);
	expect(1, NBD_OPT_ABORT, NBD_REP_ACK);

	begin(3);
	o = option(NBD_OPT_GO);
	nbd_put32(in + o - 4, UINT32_MAX);
	talk(SIZE_MAX);
	assert_int_equal(result, DRAY_NEGO_CLOSE);
	assert_int_equal(out_len, 0);
}

static void meta_contexts(void **state)
{
	static const struct {
		uint32_t option;
		const char *name, *q1, *q2;
		bool found;
	} cases[] = {
		{NBD_OPT_LIST_META_CONTEXT, "disk", NULL, NULL, true},
		{NBD_OPT_LIST_META_CONTEXT, "disk", "base:", NULL, true},
		{NBD_OPT_LIST_META_CONTEXT, "disk", NBD_CONTEXT_ALLOCATION, "base:", true},
		{NBD_OPT_LIST_META_CONTEXT, "disk", "qemu:", NULL, false},
		{NBD_OPT_LIST_META_CONTEXT, "plain", NULL, NULL, false},
		{NBD_OPT_SET_META_CONTEXT, "disk", NBD_CONTEXT_ALLOCATION, NULL, true},
		{NBD_OPT_SET_META_CONTEXT, "disk", "", NBD_CONTEXT_ALLOCATION, true},
		{NBD_OPT_SET_META_CONTEXT, "disk", NULL, NULL, false},
		{NBD_OPT_SET_META_CONTEXT, "disk", "base:", NULL, false},
		{NBD_OPT_SET_META_CONTEXT, "disk", "base:allocatio", "base:allocation2", false},
		{NBD_OPT_SET_META_CONTEXT, "plain", NBD_CONTEXT_ALLOCATION, NULL, false},
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		begin(3);
		plain(NBD_OPT_STRUCTURED_REPLY);
		meta(cases[i].option, cases[i].name, cases[i].q1, cases[i].q2);
		talk(SIZE_MAX);
		assert_int_equal(n_answers, cases[i].found ? 3 : 2);
		expect(n_answers - 1, cases[i].option, NBD_REP_ACK);
		if (cases[i].found)
			expect(1, cases[i].option, NBD_REP_META_CONTEXT);
	}
}

static void meta_context_errors(void **state)
{
	static const uint32_t both[] = {NBD_OPT_LIST_META_CONTEXT, NBD_OPT_SET_META_CONTEXT};
	for (size_t i = 0; i < 2; i++) {
		begin(3); /* without structured replies */
		meta(both[i], "disk", NBD_CONTEXT_ALLOCATION, NULL);
		talk(SIZE_MAX);
		expect_error(both[i], NBD_REP_ERR_INVALID);

		begin(3);
		plain(NBD_OPT_STRUCTURED_REPLY);
		meta(both[i], "nothing", NBD_CONTEXT_ALLOCATION, NULL);
		talk(SIZE_MAX);
		expect_error(both[i], NBD_REP_ERR_UNKNOWN);

		begin(3); /* more queries than there are */
		plain(NBD_OPT_STRUCTURED_REPLY);
		size_t o = option(both[i]);
		string("disk");
		u32(UINT32_MAX);
		string(NBD_CONTEXT_ALLOCATION);
		end_option(o);
		talk(SIZE_MAX);
		expect_error(both[i], NBD_REP_ERR_INVALID);

		begin(3); /* fewer */
		plain(NBD_OPT_STRUCTURED_REPLY);
		o = option(both[i]);
		string("disk");
		u32(0);
		string(NBD_CONTEXT_ALLOCATION);
		end_option(o);
		talk(SIZE_MAX);
		expect_error(both[i], NBD_REP_ERR_INVALID);
	}
}

/* What was selected holds for that export, until the next SET, failed or not. */
static void meta_context_holds_for(void **state)
{
	static const struct {
		const char *set, *again, *go;
		bool allocation;
	} cases[] = {
		{"disk", NULL, "disk", true},
		{"disk", NULL, "ro", false},
		{"ro", "disk", "disk", true},
		{"disk", "ro", "disk", false},
		{"disk", "nothing", "disk", false},
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		begin(3);
		plain(NBD_OPT_STRUCTURED_REPLY);
		meta(NBD_OPT_SET_META_CONTEXT, cases[i].set, NBD_CONTEXT_ALLOCATION, NULL);
		if (cases[i].again)
			meta(NBD_OPT_SET_META_CONTEXT, cases[i].again, NBD_CONTEXT_ALLOCATION, NULL);
		info_go(NBD_OPT_GO, cases[i].go);
		talk(SIZE_MAX);
		assert_int_equal(result, DRAY_NEGO_TRANSMIT);
		assert_int_equal(nego.session.allocation, cases[i].allocation);
	}
}

static void lost_streams_are_closed(void **state)
{
	begin(4); /* client flags that nobody offered */
	talk(SIZE_MAX);
	assert_int_equal(result, DRAY_NEGO_CLOSE);

	begin(3);
	plain(NBD_OPT_LIST);
	in[4] ^= 1; /* the magic */
	talk(SIZE_MAX);
	assert_int_equal(result, DRAY_NEGO_CLOSE);

	begin(0); /* who knows no fixed newstyle knows no answers either */
	plain(NBD_OPT_LIST);
	talk(SIZE_MAX);
	assert_int_equal(result, DRAY_NEGO_CLOSE);
	assert_int_equal(out_len, 0);
}

static void a_flood_of_options_ends(void **state)
{
	begin(3);
	for (unsigned i = 0; i < 10000; i++)
		plain(77);
	talk(SIZE_MAX);
	assert_int_equal(result, DRAY_NEGO_CLOSE);
	assert_int_equal(n_answers, DRAY_NBD_MAX_OPTIONS);
}

/* ---- an export that is not there yet ---- */

static unsigned until_there;

static void *late_get(void *ctx, const char *name, struct dray_nbd_export_info *info, struct dray_loop **loop)
{
	return until_there ? NULL : ram_get(ctx, name, info, loop);
}

static bool late_soon(void *ctx, const char *name)
{
	if (until_there && !strcmp(name, "disk")) {
		until_there--;
		return true;
	}
	return false;
}

static enum dray_nego_result feed_late(size_t *at)
{
	size_t used;
	enum dray_nego_result r = dray_nego_feed(&nego, in + *at, in_len - *at, &used);
	*at += used;
	return r;
}

static void waits_for_an_export(void **state)
{
	struct dray_nbd_backend_ops late_ops = ram_ops;
	late_ops.get = late_get;
	late_ops.soon = late_soon;
	static const uint32_t ways[] = { NBD_OPT_GO, NBD_OPT_EXPORT_NAME };
	for (unsigned i = 0; i < 2; i++) {
		size_t at = 0, o;
		dray_nego_free(&nego);
		dray_nego_init(&nego, &late_ops, &ram, 32 << 20);
		nego.out_len = 0;
		begin(3);
		if (ways[i] == NBD_OPT_GO) {
			info_go(NBD_OPT_GO, "disk");
		} else {
			o = option(NBD_OPT_EXPORT_NAME);
			raw("disk", 4);
			end_option(o);
		}
		until_there = 3;
		assert_int_equal(feed_late(&at), DRAY_NEGO_AGAIN);
		for (unsigned n = 0; n < 3; n++) {
			assert_int_equal(feed_late(&at), DRAY_NEGO_WAIT);
			assert_int_equal(at, 4);
			assert_int_equal(nego.out_len, 0);
		}
		assert_int_equal(feed_late(&at), DRAY_NEGO_TRANSMIT);
		assert_int_equal(at, in_len);
		assert_int_equal(nego.n_options, 1);
		dray_nego_free(&nego);
	}
	/* The owner has waited long enough; and one that is not known at all. */
	for (unsigned i = 0; i < 2; i++) {
		size_t at = 0;
		dray_nego_init(&nego, &late_ops, &ram, 32 << 20);
		nego.out_len = 0;
		begin(3);
		info_go(NBD_OPT_GO, i ? "nowhere" : "disk");
		until_there = 3;
		nego.may_wait = i;
		assert_int_equal(feed_late(&at), DRAY_NEGO_AGAIN);
		assert_int_equal(feed_late(&at), DRAY_NEGO_AGAIN);
		assert_int_equal(nbd_get32(nego.out + 12), NBD_REP_ERR_UNKNOWN);
		dray_nego_free(&nego);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(go),
		cmocka_unit_test(transmission_flags),
		cmocka_unit_test(export_name),
		cmocka_unit_test(info_keeps_nothing),
		cmocka_unit_test(no_description_is_not_told),
		cmocka_unit_test(list),
		cmocka_unit_test(abort_is_acknowledged),
		cmocka_unit_test(refused_options),
		cmocka_unit_test(malformed_info),
		cmocka_unit_test(names),
		cmocka_unit_test(long_options),
		cmocka_unit_test(meta_contexts),
		cmocka_unit_test(meta_context_errors),
		cmocka_unit_test(meta_context_holds_for),
		cmocka_unit_test(lost_streams_are_closed),
		cmocka_unit_test(a_flood_of_options_ends),
		cmocka_unit_test(waits_for_an_export),
	};
	ram_export_init(&exports[0], "disk", 1 << 20);
	ram_export_init(&exports[1], "ro", 1 << 20);
	ram_export_init(&exports[2], "plain", 1 << 20);
	exports[1].info.read_only = true;
	struct dray_nbd_export_info *p = &exports[2].info;
	p->can_multi_conn = p->can_fast_zero = p->can_trim = p->can_fua = p->can_cache = p->can_extents =
		false;
	p->rotational = true;
	p->description[0] = '\0';
	int rc = cmocka_run_group_tests(tests, NULL, NULL);
	dray_nego_free(&nego);
	for (unsigned i = 0; i < 3; i++)
		ram_export_free(&exports[i]);
	return rc;
}
