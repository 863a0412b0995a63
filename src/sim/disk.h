/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A simulated disk: the storage of one leg. And the region map that the host keeps for a pair of disks.
 *
 * Contents are one stamp a block, twice: what a read sees (`cache`) and what a power loss cannot take (`durable`).
 */
#ifndef DRAY_SIM_DISK_H
#define DRAY_SIM_DISK_H

#include "sim/sim.h"

struct sim_disk {
	struct sim *s;
	struct sim_vol *v;
	unsigned no;
	uint32_t leg_id;     /* of the leg that it is, or was last */
	/* what it is */
	bool was_dark;       /* the last crash took its power */
	bool net;            /* its requests can outlive their connection, and the process */
	bool known_zero;     /* freshly made: reads as zeroes all over, until the first write */
	bool thin, has_zero, extents, discard_zeroes;
	/* contents */
	uint64_t *cache, *durable;
	uint8_t *dirty;      /* cache may differ from durable */
	uint64_t *done;      /* when the block's oldest unflushed write completed, by `clock`; 0: none has */
	uint64_t clock;
	/* under way */
	struct dray_list ops;
	unsigned in_flight;      /* the engine waits for these */
	unsigned orphans;        /* of a killed process */
	unsigned late;           /* answered with MAY_LAND_LATE, not settled yet */
	uint64_t attached_written;  /* bytes successfully written, zeroed, discarded since the leg was attached */
	/* faults */
	uint64_t stall_until, errors_until, no_space_until, flush_errors_until, dead_until;
	unsigned bad_first, bad_n;
	bool bad_reads, bad_writes;
	uint8_t *latent;         /* by block: can't be read until it is written (or, now and then, by itself) */
	uint64_t lost_until;     /* a write that failed with its connection may land until then */
	uint64_t errors;         /* operations failed, ever */
	uint64_t last_error_ns;
};

enum { DISK_SECTOR = 512 };

/* The region map of two disks: where they are equal, whichever of them is the primary. */
struct sim_map {
	struct sim_vol *v;
	unsigned n_pages;
	uint8_t *cache, *durable, *dirty;
	uint64_t *done, clock;
	struct dray_list ops;
	uint64_t errors_until, stall_until;
	uint8_t id[16];
};

struct sim_disk *disk_new(struct sim_vol *v, unsigned no, bool net);
/* The engine's operation; completes later through vol_complete(). */
void disk_submit(struct sim_disk *d, struct dray_io *io);
/* All connections are lost: what is under way fails, and lands within settle_ns or never. Network disks only. */
void disk_lose_connections(struct sim_disk *d);
/* Its host closed it, and opened what it had become meanwhile: what it had not flushed is there or not, and no flush tells. Nothing is under
 * way. */
void disk_reopened(struct sim_disk *d);
/* The process dies: what is under way may still land (local: soon; network: until settle_ns later) or not. */
void disk_process_died(struct sim_disk *d);
/* The power fails: what is under way lands in part or not; unflushed blocks and map pages keep old or new contents. */
void disk_power_lost(struct sim_disk *d);
/* No more trouble from here on. */
void disk_heal(struct sim_disk *d);
/* A changing operation is under way, or may land, in these blocks. */
bool disk_unsettled(const struct sim_disk *d, unsigned first, unsigned n);
/* Some operation of this kind that overlaps the blocks is under way for the engine. */
bool disk_busy_with(const struct sim_disk *d, enum dray_op op, unsigned first, unsigned n);
/* A flush under way has dropped something, and the engine has not heard of it. */
bool disk_dropped(const struct sim_disk *d);
/* When the oldest operation the engine waits for was submitted; UINT64_MAX: none. */
uint64_t disk_oldest(const struct sim_disk *d);

struct sim_map *map_new(struct sim_vol *v, unsigned no);
/* The volume's list of bad ranges is kept in the same way: its slots are two pages. */
struct sim_map *bad_list_new(struct sim_vol *v);
/* The map of the leg and the volume's primary. */
struct sim_map *map_of(const struct sim_vol *v, const struct sim_disk *leg);
uint64_t map_oldest(const struct sim_map *m);
/* An all-dirty map, durably: what the host does when it makes a leg. */
void map_format(struct sim_map *m);
/* The page as it may look after a power loss now: old, new, or torn; `page` has DRAY_MAP_PAGE_BYTES. */
void map_guess(struct sim_map *m, unsigned no, uint8_t *page);
/* The host syncs the map before it reads it at a start (see crash.c). */
void map_sync(struct sim_map *m);
/* The process, or the power, dies. */
void map_crash(struct sim_map *m, bool power);

/* Frees all operations of the run. */
void disk_free_ops(struct sim *s);

#endif
