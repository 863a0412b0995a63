/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which of a thread's engines are looked after in a turn of its loop: those that were entered, those that have something to complete, and those
 * whose time has come. Thousands of volumes that stand idle cost a turn nothing. All on the I/O thread, but for init and free.
 */
#ifndef DRAY_IOD_TICKS_H
#define DRAY_IOD_TICKS_H

#include "base/list.h"
#include "loop/loop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct iod_ticks;

/* One engine's part in it; all zero and `node` initialized: none. */
struct iod_tick {
	struct dray_list node; /* in iod_ticks.entered */
	size_t place;          /* in the heap, from 1; 0: it has no time */
	uint64_t at_ns;
	/* Looks after it. Returns when it wants to be looked after again, by the loop's clock; UINT64_MAX: not before it is entered. */
	uint64_t (*run)(struct iod_tick *tick, uint64_t now_ns);
};

struct iod_ticks {
	struct dray_loop *loop;
	struct dray_loop_hook hook;
	bool running;
	struct dray_list entered;
	struct iod_tick **heap; /* [1] is the first */
	size_t n, room;
};

/* Before the loop runs. */
void iod_ticks_init(struct iod_ticks *t, struct dray_loop *loop);
/* After it ran. */
void iod_ticks_free(struct iod_ticks *t);
/* It is looked after before the loop sleeps next. */
void iod_tick_enter(struct iod_ticks *t, struct iod_tick *tick);
/* ... or at that time; UINT64_MAX: it has none. */
void iod_tick_at(struct iod_ticks *t, struct iod_tick *tick, uint64_t at_ns);
void iod_tick_leave(struct iod_ticks *t, struct iod_tick *tick);

#endif
