/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The engine's host, for unit tests: storages are plain memory, time goes on when the test says so, and what the engine sent is carried
 * out then, in that order. A test makes one all zero, sets what it wants otherwise, and reads what it likes. Mistakes of the test's, or
 * of the engine's at its border, abort.
 */
#ifndef DRAY_TESTS_ENGINE_HOST_H
#define DRAY_TESTS_ENGINE_HOST_H

#include "engine/engine.h"

#define HOST_MS   UINT64_C(1000000)
#define HOST_OPS  4096
#define HOST_BUFS 512

struct engine_host {
	struct dray_vol *vol;
	uint64_t now;
	/* By the engine's index of the leg. Without memory a storage reads as ones. */
	uint8_t *disk[DRAY_MAX_LEGS];
	uint8_t map[DRAY_MAX_LEGS][DRAY_MAP_PAGE_BYTES]; /* of one page */
	uint8_t slots[2][DRAY_BAD_SLOT_BYTES];

	/* the test's own: */
	uint64_t takes_ns;          /* what an operation takes, at least; 0: until the next step */
	bool stuck[DRAY_MAX_LEGS];  /* its operations are not carried out, apart from those on its map */
	bool unchecked;             /* dray_vol_check is not called after every step: a volume that is too large for it */
	bool may_land;              /* what fails may land late */
	/* Each Optional. What an operation fails with, before it has any effect; told of what is sent; of what happens. */
	int (*fails)(struct engine_host *h, const struct dray_io *io);
	void (*sent)(struct engine_host *h, const struct dray_io *io);
	void (*heard)(struct engine_host *h, const struct dray_event *ev);

	/* What came of it. Answers: how many, and the last one; `answered` is for the test to clear. */
	unsigned replies, releases;
	bool answered;
	int answer;
	unsigned events[DRAY_EV_BAD_RANGE + 1];        /* by kind: how many */
	struct dray_event last[DRAY_EV_BAD_RANGE + 1]; /* ... and the last one */

	/* Under way, oldest first. */
	struct {
		struct dray_io *io;
		uint64_t due;
	} ops[HOST_OPS];
	unsigned n;
	void *bufs[HOST_BUFS]; /* that the engine has */
};

/* The first `n` legs get a memory of so many bytes, each filled with its number and 0x10. */
void host_memory(struct engine_host *h, unsigned n, uint64_t bytes);
/* dray_vol_new. A volume that was there is gone as by a crash, and so is what was under way. The clock begins at a second, if it hasn't yet. */
int host_start(struct engine_host *h, const struct dray_vol_config *config);
/* All of it, apart from `h`. */
void host_end(struct engine_host *h);

/* So much time passes, then what was under way and is due is carried out. */
void host_pass(struct engine_host *h, uint64_t ns);
/* ... of so many milliseconds, one by one. */
void host_run(struct engine_host *h, unsigned ms);
/* An operation under way, or -1. */
int host_find(const struct engine_host *h, enum dray_op op, int leg);
/* It is completed; error 0: as it would have been. */
void host_complete(struct engine_host *h, int op, int error);
/* A request, from its begin to its release. Its answer. */
int host_request(struct engine_host *h, enum dray_op op, uint64_t offset, uint64_t length, void *data);

struct dray_leg_info host_leg(const struct engine_host *h, int leg);
struct dray_vol_info host_vol(const struct engine_host *h);

#endif
