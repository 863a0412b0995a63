/* SPDX-License-Identifier: BSD-3-Clause */
/* For tests of storage drivers: one operation at a time, waited for; a folder that goes away. Include after cmocka.h. */
#ifndef TESTS_STORAGE_HELP_H
#define TESTS_STORAGE_HELP_H

#include "storage/storage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct dray_loop *loop;

struct help_op {
	struct dray_sio sio;
	int error, calls;
	bool late;
};

static inline void help_done(struct dray_sio *sio, int error, bool late)
{
	struct help_op *op = dray_container(sio, struct help_op, sio);
	op->error = error;
	op->late = late;
	op->calls++;
}

static inline void help_start(struct dray_storage *st, struct help_op *op, enum dray_op what, uint32_t flags,
	uint64_t offset, uint64_t length, void *data)
{
	*op = (struct help_op){ .sio = { .done = help_done, .op = what, .flags = flags, .offset = offset,
					.length = length, .data = data } };
	dray_storage_submit(st, &op->sio);
	assert_int_equal(op->calls, 0); /* never inside the call */
}

static inline void help_wait(struct help_op *op)
{
	uint64_t end = dray_loop_now(loop) + UINT64_C(20000000000);
	while (!op->calls && dray_loop_now(loop) < end)
		dray_loop_once(loop, 100000000);
	assert_int_equal(op->calls, 1);
}

/* Returns the operation's error. */
static inline int help_do(struct dray_storage *st, enum dray_op what, uint32_t flags, uint64_t offset, uint64_t length,
	void *data)
{
	struct help_op op;
	help_start(st, &op, what, flags, offset, length, data);
	help_wait(&op);
	return op.error;
}

static inline int help_extents(struct dray_storage *st, uint64_t offset, uint64_t length, struct dray_extent *extents,
	unsigned most, unsigned *n)
{
	struct help_op op = { .sio = { .done = help_done, .op = DRAY_OP_EXTENTS, .offset = offset, .length = length,
				      .extents = extents, .max_extents = most } };
	dray_storage_submit(st, &op.sio);
	help_wait(&op);
	*n = op.sio.n_extents;
	return op.error;
}

static inline struct dray_storage *help_open(const char *resource, const struct dray_storage_options *options)
{
	struct dray_storage *st = NULL;
	struct dray_error err = DRAY_ERROR_INIT;
	if (dray_storage_open(&st, resource, options, &err))
		fail_msg("%s", err.text);
	dray_storage_attach(st, loop);
	return st;
}

static inline void help_left(void *arg)
{
	*(int *)arg = 1;
}

static inline void help_close(struct dray_storage *st)
{
	int left = 0;
	uint64_t end = dray_loop_now(loop) + UINT64_C(20000000000);
	dray_storage_detach(st, help_left, &left);
	while (!left && dray_loop_now(loop) < end)
		dray_loop_once(loop, 100000000);
	assert_int_equal(left, 1);
	dray_storage_close(st);
}

/* Memory aligned for any device, filled with a pattern of `seed`. */
static inline unsigned char *help_buffer(size_t size, unsigned seed)
{
	void *buf = NULL;
	assert_int_equal(posix_memalign(&buf, 4096, size), 0);
	unsigned char *p = buf;
	for (size_t i = 0; i < size; i++)
		p[i] = (unsigned char)(seed + i * 7 + i / 251);
	return p;
}

static inline bool help_zero(const unsigned char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i])
			return false;
	return true;
}

static inline char *help_folder(const char *parent)
{
	static char path[128];
	snprintf(path, sizeof path, "%s/dray-test-XXXXXX", parent);
	assert_non_null(mkdtemp(path));
	return path;
}

static inline void help_loop(enum dray_loop_want want)
{
	assert_int_equal(dray_loop_new(&loop, want, 0, NULL), 0);
}

#endif
