/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * dray-sim: the engine in a world that a seed decides.
 *
 * One run (one `struct sim`) is one host with one to three volumes, each with up to four disks, several applications, an
 * operator who gives verbs at random moments, and faults. Everything that happens is an event in virtual time (sched.h);
 * the engine is entered from one event at a time and everything it asks for becomes later events. Nothing else decides
 * anything: no clock, no thread, no address. So a seed replays exactly.
 *
 * Who is who
 *   sched.h    the event queue and virtual time
 *   disk.h     a leg's storage: volatile cache, late completion, faults, power loss
 *   meta.h     what the host keeps: region map pages (per disk), the two record slots
 *   oracle.h   what an application may read back, now and after a crash: knows nothing of the engine
 *   app.h      applications
 *   host.h     the engine's host: the ops table, entering the engine, its events
 *   group.h    the host's part of a group switch
 *   verbs.h    the operator, and the faults
 *   crash.h    kill, power loss, recovery, and "what if the power failed now"
 *   check.h    invariants that compare what the engine says with what the disks hold
 *   run.h      one run from seed to verdict
 *
 * A broken rule ends the run through sim_fail(), which does not return.
 */
#ifndef DRAY_SIM_SIM_H
#define DRAY_SIM_SIM_H

#include "base/list.h"
#include "engine/engine.h"
#include "engine/switch.h"
#include "sim/cover.h"
#include "sim/rng.h"

#include <setjmp.h>
#include <stdbool.h>
#include <stdint.h>

#define US UINT64_C(1000)
#define MS UINT64_C(1000000)

#define SIM_VOLS  3
#define SIM_DISKS 4
#define SIM_APPS  4

struct sim;
struct sim_vol;
struct sim_disk;
struct sim_map;
struct sim_group;
struct wrec;

/* Which kinds of trouble this seed has: each seed draws its own mixture, so that rare combinations get runs of their own
 * instead of drowning in the sum of everything. */
struct sim_mix {
	bool errors, latent, stalls, flush_errors, lost, no_space, map_errors, record_errors;
	bool kills, power, switches, splits, verifies, pauses, aside, detaches, limits, discards, slow_messages, no_buffers, unmapped;
	bool net_targets, net_source, forced, reopens;
};

/* A leg as the host knows it, indexed as the engine numbers it. */
struct sim_leg {
	bool used, detaching, held, paused, copy_role, durable;
	struct sim_disk *disk;
	enum dray_leg_state state;
	/* check.c: progress */
	uint64_t last_done, gone_back_ok; /* as of the last look; event number until which going back is explained */
	uint64_t copied_at_attach;
	int bad_image;               /* detached by a switch: the first block that is not of that instant, or -1 */
	bool excuse, is_image;
	bool kept;                   /* set aside by a split: nothing may be written to it until it is retried */
	/* A verify under way. */
	bool verifying, verify_repair, verify_all, verify_excused;
};

struct sim_req {
	struct dray_request req;
	struct dray_list node; /* on the volume's list from submit to release */
	struct sim_vol *v;
	unsigned app;
	uint64_t invoked;       /* oracle time */
	uint64_t at_ns, excused_ns;
	unsigned first, n;      /* blocks */
	struct wrec **recs;     /* changing requests: one a block */
	uint8_t *buf;
	struct dray_extent ext[8];
	bool replied, bad;
	struct sim_disk *primary;
	uint64_t primary_errors;
};

struct sim_app {
	unsigned depth, outstanding;
	unsigned pattern;       /* 0 random, 1 sequential, 2 hot spot, 3 mixed */
	unsigned hot, cursor, largest;
	unsigned w_write, w_zero, w_discard, w_flush, w_read;
	uint64_t think_ns;
	bool sleeping;
};

#define SIM_EVENTS 512

struct sim_vol {
	struct sim *s;
	unsigned no;
	struct dray_vol *eng;
	struct dray_vol_config config;
	uint32_t block_bytes;
	unsigned n_blocks, n_regions, region_blocks;
	struct sim_disk *disks[SIM_DISKS];
	unsigned n_disks;
	uint32_t members;            /* bit per disk: legs of this volume, as the host remembers durably */
	uint32_t copy_roles;
	uint32_t unmapped;           /* no map is kept for the leg on this disk (checkpoint: false) */
	struct sim_disk *primary;
	struct sim_map *maps[SIM_DISKS][SIM_DISKS]; /* [a][b] == [b][a] */
	struct sim_map *bad;         /* the list of bad ranges: two slots */
	uint32_t next_leg_id;
	bool accept_bad;             /* of the switch under way */
	/* By block: the primary could not read it, and no answered write came since: reads may fail. */
	uint8_t *lost_ok;
	uint64_t *lost_at;           /* oracle time of that */
	struct sim_disk *dropper;    /* a secondary that dropped something before it said so, the last one; dropped_block: some of it, or -1 */
	int dropped_block;
	struct sim_leg legs[DRAY_MAX_LEGS];
	uint64_t tick_at;
	uint32_t tick_gen;
	/* events of the engine, handled after it returned */
	struct dray_event evq[SIM_EVENTS];
	unsigned n_ev;
	bool inside;
	/* requests */
	struct dray_list reqs;
	unsigned outstanding;
	struct sim_app apps[SIM_APPS];
	unsigned n_apps;
	/* the oracle */
	struct wrec **hist;          /* by block, newest first */
	struct dray_list volatile_recs;
	uint64_t (*junk)[2];         /* by block: what a forced switch left there, which no application need have written */
	/* the switch, from the volume's side */
	struct sim_group *group;
	uint64_t token, old_token, deadline, suspended_at;
	bool token_void, suspended, sealed, doubt, drained;
	bool judgement_open;         /* a flush failed during the switch: what that means is judged when it is over (H18) */
	bool reopening;              /* the primary is to be */
	bool flush_owed;             /* the primary's flush failed and no application has heard of it */
	struct sim_disk *next_primary, *undo_to;
	bool force;                  /* of the switch under way: the primary is given up, whatever the next one lacks */
	/* A crash came in the middle of a forced switch to that disk: by region, whether it lacked something. */
	struct sim_disk *forced_to;
	uint8_t *lacked;
	uint64_t suspend_errors_new, suspend_errors_old;
	/* figures for the checks */
	uint64_t excused_ns, excuse_mark;
	uint64_t leg_timeout_ns;
	struct sim_disk *corrupt;    /* a block was changed behind the engine's back */
	struct sim_disk *was_corrupt; /* until a verify of it ended */
	unsigned corrupt_block;
	uint64_t corrupt_stamp;
};

struct sim {
	uint64_t seed;
	struct rng rng;
	uint64_t now, step, max_steps;
	struct sim_mix mix;
	struct sim_vol *vols[SIM_VOLS];
	unsigned n_vols;
	struct sim_queue *queue;
	unsigned incarnation;         /* of the process: messages and timers of an older one are dropped */
	bool down;                    /* between a crash and the end of recovery */
	bool last_crash_power;
	bool calm;                    /* the end phase: no new faults, verbs or requests */
	uint64_t oracle_time, next_gen;
	struct sim_group *group;
	uint64_t next_token;
	struct sim_record *record;
	/* memory of the run, freed at its end whatever happened */
	struct sim_block *blocks;
	struct dop *free_ops, *all_ops;
	struct sim_req *free_reqs;
	struct wrec *free_recs;
	struct sim_buffer *buffers;
	/* the verdict */
	jmp_buf out;
	bool failed, trace;
	char rule[64], why[600];
	uint64_t cover[COVER_COUNT];
};

/* Memory that lives until the end of the run, zeroed. */
void *sim_alloc(struct sim *s, size_t bytes);
/* The run ends here: `rule` is a stable word, the text says what happened in plain words. */
void sim_fail(struct sim *s, const char *rule, const char *fmt, ...)
	__attribute__((format(printf, 3, 4), noreturn));
/* A line of the readable trace (--seed, --trace). */
#define sim_trace(s, ...)                                                                                     \
	do {                                                                                                  \
		if ((s)->trace)                                                                               \
			sim_trace_line((s), __VA_ARGS__);                                                     \
	} while (0)
void sim_trace_line(struct sim *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static inline void sim_cover(struct sim *s, enum sim_cover c)
{
	s->cover[c]++;
}

static inline struct sim_leg *vol_leg_of(struct sim_vol *v, const struct sim_disk *d)
{
	for (int i = 0; i < DRAY_MAX_LEGS; i++)
		if (v->legs[i].used && v->legs[i].disk == d)
			return &v->legs[i];
	return NULL;
}

#endif
