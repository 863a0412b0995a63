/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The oracle: what an application may read back, now, and after a crash. It sees requests and replies only, and knows nothing
 * of legs, regions or the engine.
 */
#ifndef DRAY_SIM_ORACLE_H
#define DRAY_SIM_ORACLE_H

#include "sim/sim.h"

/* A stamp names the write that put it there: volume, block, and a number that no other write of the run has. 0 is zeroes. */
static inline uint64_t stamp_make(unsigned vol, unsigned block, uint64_t gen)
{
	return (uint64_t)(vol + 1) << 56 | (uint64_t)block << 36 | gen;
}
static inline unsigned stamp_vol(uint64_t stamp)
{
	return (unsigned)(stamp >> 56) - 1;
}
static inline unsigned stamp_block(uint64_t stamp)
{
	return (unsigned)(stamp >> 36 & 0xfffff);
}
static inline uint64_t stamp_gen(uint64_t stamp)
{
	return stamp & UINT64_C(0xfffffffff);
}

/* Makes the history of a new volume: every block holds initial[block], durably. */
void oracle_init(struct sim_vol *v, const uint64_t *initial);

/* The application hands in a request; for WRITE the stamps are in req->buf already. */
void oracle_invoke(struct sim_vol *v, struct sim_req *r);
/* It got its answer; contents of a READ are checked here. */
void oracle_reply(struct sim_vol *v, struct sim_req *r, int error);
/* The process died with it: its outcome is open, but it is over. */
void oracle_orphan(struct sim_vol *v, struct sim_req *r);

/* May a read of the block that ran from `from` to `to` (oracle time) return this? */
bool oracle_readable(const struct sim_vol *v, unsigned block, uint64_t val, uint64_t from, uint64_t to);
/* May the block hold this after a power loss now? */
bool oracle_survives(const struct sim_vol *v, unsigned block, uint64_t val);
/* The storage said that it threw unflushed data of this block away: a failed flush of the primary, or (`elsewhere`) of one of the two
 * sides of a switch, the other of which may have it still. */
void oracle_dropped(struct sim_vol *v, unsigned block, bool elsewhere);
/* A side of the switch under way said so, and nothing was settled since. */
bool oracle_dropped_elsewhere(const struct sim_vol *v, unsigned block);
/* From now on the block holds exactly this: after recovery. */
void oracle_settle(struct sim_vol *v, unsigned block, uint64_t val, bool durable);
/* What it held was given up, and somebody was told: from now on it holds `val`, and `platter` if the power fails. */
void oracle_given_up(struct sim_vol *v, unsigned block, uint64_t val, uint64_t platter);

/* "3.17 gen 42": for messages; a few buffers in turn. */
const char *stamp_text(uint64_t stamp);
/* The block's history, newest first, for messages; a static buffer. */
const char *oracle_history(const struct sim_vol *v, unsigned block);

/* Stamps in memory: one at each 512 bytes of a block, all alike, so that a block put together from two shows. */
void stamp_put(uint8_t *block, uint32_t block_bytes, uint64_t stamp);
/* Returns false if the block is not whole. */
bool stamp_get(const uint8_t *block, uint32_t block_bytes, uint64_t *stamp);

#endif
