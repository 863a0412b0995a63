/* SPDX-License-Identifier: BSD-3-Clause */
/* What of an NBD server's answers is kept until it is durable: in order, let go by the flush that covers it, given up where it is too much. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "storage/nbd.h"

#define MIB (UINT64_C(1) << 20)

static unsigned char bytes[MIB];

static void add(struct dray_nbd_kept *k, enum dray_op op, uint64_t offset, uint64_t length)
{
	dray_nbd_kept_add(k, &(struct dray_sio){ .op = op, .offset = offset, .length = length, .data = bytes });
}

static struct dray_nbd_kept_one *first(struct dray_nbd_kept *k)
{
	return dray_list_empty(&k->list) ? NULL : dray_container(k->list.next, struct dray_nbd_kept_one, node);
}

static void in_order(void **state)
{
	struct dray_nbd_kept k;
	dray_nbd_kept_init(&k);
	memset(bytes, 7, 4096);
	add(&k, DRAY_OP_WRITE, 4096, 4096);
	memset(bytes, 8, 4096); /* the data is copied */
	uint64_t mark = k.seq;
	add(&k, DRAY_OP_ZERO, 4096, 8192);
	add(&k, DRAY_OP_DISCARD, 0, 4096);
	assert_int_equal(first(&k)->op, DRAY_OP_WRITE);
	assert_int_equal(first(&k)->data[4095], 7);
	/* A flush covers what was acknowledged before it was sent. */
	dray_nbd_kept_flushed(&k, mark);
	assert_int_equal(first(&k)->op, DRAY_OP_ZERO);
	assert_int_equal(first(&k)->length, 8192);
	dray_nbd_kept_flushed(&k, mark); /* an older one that is answered late */
	assert_int_equal(first(&k)->op, DRAY_OP_ZERO);
	dray_nbd_kept_flushed(&k, k.seq);
	assert_null(first(&k));
	assert_int_equal(k.bytes, 0);
}

static void busy(void **state)
{
	struct dray_nbd_kept k;
	dray_nbd_kept_init(&k);
	memset(bytes, 7, 4096);
	add(&k, DRAY_OP_WRITE, 0, 4096);
	struct dray_nbd_kept_one *one = first(&k);
	one->busy = true;
	dray_nbd_kept_drop(&k);
	assert_null(first(&k));
	assert_int_equal(one->data[0], 7); /* it is still being sent */
	dray_nbd_kept_done(one);
}

static void too_much(void **state)
{
	struct dray_nbd_kept k;
	dray_nbd_kept_init(&k);
	assert_false(dray_nbd_kept_much(&k));
	for (int i = 0; i < 10; i++)
		add(&k, DRAY_OP_WRITE, 0, MIB);
	assert_true(dray_nbd_kept_much(&k));
	uint64_t early = k.seq;
	for (int i = 0; i < 100; i++)
		add(&k, DRAY_OP_WRITE, 0, MIB);
	assert_true(k.missing);
	assert_true(k.bytes < 65 * MIB);
	/* A flush that began before the last that is missing says nothing of that. */
	dray_nbd_kept_flushed(&k, early);
	assert_true(k.missing);
	add(&k, DRAY_OP_WRITE, 0, 4096);
	assert_null(first(&k)); /* a part would do harm: it may be older than what is missing */
	dray_nbd_kept_flushed(&k, k.seq);
	assert_false(k.missing);
	assert_false(dray_nbd_kept_much(&k));
	add(&k, DRAY_OP_WRITE, 0, 4096);
	assert_non_null(first(&k));
	dray_nbd_kept_drop(&k);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(in_order), cmocka_unit_test(busy), cmocka_unit_test(too_much) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
