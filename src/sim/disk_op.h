/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One operation on a simulated disk: shared by the data side (disk.c) and the map side (disk_map.c).
 */
#ifndef DRAY_SIM_DISK_OP_H
#define DRAY_SIM_DISK_OP_H

#include "sim/disk.h"

struct dop {
	struct dray_list node;   /* on the disk's list from submission until it can have no effect any more */
	struct dop *next_free, *next_all;
	struct sim_disk *d;
	struct sim_map *map;     /* of a map operation */
	struct dray_io *io;      /* NULL: the engine does not wait (any more) */
	enum dray_op op;
	uint32_t flags, gen;     /* gen: events of an older one are void */
	unsigned first, n;       /* blocks; MAP_WRITE: first is the page */
	uint64_t *snap;          /* WRITE: the stamps */
	uint8_t *page;           /* MAP_WRITE: the page */
	unsigned room;           /* of snap */
	unsigned cut;            /* the two parts that take effect apart are [0, cut) and [cut, n) */
	bool low_first, early_done;
	int error;
	unsigned keep;           /* with an error: 0 nothing, 1 the early part, 2 all takes effect */
	bool lost, late, lands, orphan, never, refused;
	bool dropped;            /* FLUSH: it fails, and has dropped something already */
	uint64_t submitted_ns, clock, lands_at;
};

static inline bool op_changes(enum dray_op op)
{
	return op == DRAY_OP_WRITE || op == DRAY_OP_ZERO || op == DRAY_OP_DISCARD;
}

static inline bool op_is_map(enum dray_op op)
{
	return op == DRAY_OP_MAP_WRITE || op == DRAY_OP_MAP_SYNC || op == DRAY_OP_BAD_WRITE || op == DRAY_OP_BAD_SYNC;
}

static inline bool op_is_page(enum dray_op op)
{
	return op == DRAY_OP_MAP_WRITE || op == DRAY_OP_BAD_WRITE;
}

/* The list of bad ranges is the volume's: it names whichever leg is the primary, and outlives that. */
static inline unsigned of_leg(const struct dop *o)
{
	return o->op != DRAY_OP_BAD_WRITE && o->op != DRAY_OP_BAD_SYNC;
}

/* The map operation ends, well or with o->error. */
void map_effect(struct dop *o);
void dop_free(struct dop *o);

#endif
