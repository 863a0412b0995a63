/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The inside of a volume's engine, shared by the files of this folder and by nobody else.
 *
 *   volume.c   the border: new, free, tick, submit, complete, info; the pump
 *   lock.c     the queue for ranges
 *   request.c  the application's reads, writes, zeroes, discards, flushes
 *   read.c     whose data a read brings
 *   leg.c      legs: attach, detach, failure, stall, retry; what a failed flush means
 *   link.c     what is known of a leg against the primary: clean, dirty, in doubt; parts of a region under way
 *   map.c      the durable trace of that: the region map
 *   record.c   when a region may be recorded clean and an intent be cleared
 *   bad.c      what can't be read any more: the durable list of bad ranges
 *   probe.c    finding out what of the primary can't be read
 *   step.c     one step of a copy, a recheck or a verification
 *   copy.c     which step comes next, and when
 *   bound.c    what it waits for, as it is told
 *   takeover.c a volume's part in a switch: prepare, suspend, drain, seal, apply, abort
 *   switch.c   the switch of a group
 *   check.c    the invariants, for tests
 *
 * The pump: entry points change state and put things on queues; dray_pump then runs the queues until nothing moves. No function
 * calls "up" (a completion never starts another request directly), so there is no recursion and every queue is looked at
 * in one order.
 */
#ifndef DRAY_ENGINE_INTERNAL_H
#define DRAY_ENGINE_INTERNAL_H

#include "base/bitmap.h"
#include "base/min.h"
#include "engine/engine.h"
#include "engine/lock.h"
#include "engine/pacer.h"
#include "engine/plant.h"

#include <assert.h>
#include <errno.h>

#define MAX_STEPS     64 /* of one volume in flight */
#define MAX_OPEN      64 /* regions of one link partly walked */
#define PARTS         64 /* of a region, most */
#define MAX_MAP_PAGES_IN_COMMIT 16
#define MAX_TROUBLE   64 /* ranges of the primary being looked at because a read failed */
#define MAX_UNREAD    64 /* ranges found unreadable and not yet listed as bad */

enum request_state {
	RQ_NONE,
	RQ_HELD,    /* came during a suspend: on vol->held */
	RQ_LOCKING, /* waits for its range */
	RQ_INTENT,  /* waits for durable intents: on vol->intent_wait */
	RQ_READY,   /* to be sent (or waits for io structs): on vol->ready */
	RQ_RUNNING, /* all sent, operations under way */
	RQ_CLEAR,   /* written to a bad range: on vol->clearing (bad.c) */
	RQ_VOUCH,   /* read of another leg, a flush is under way there: on vol->vouching */
};

/* req->clear: a chunk that was written over a bad range */
enum { CLEAR_NONE, CLEAR_WANTED, CLEAR_FLUSH, CLEAR_LIST };

/* What an io belongs to: io->role. */
enum io_role {
	ROLE_REQUEST, /* owner: the request */
	ROLE_STEP,    /* owner: the step */
	ROLE_MAP,     /* owner: the link */
	ROLE_RECORD,  /* owner: the link */
	ROLE_TAKEOVER, /* owner: the volume */
	ROLE_BAD,      /* owner: the volume; of no leg */
	ROLE_PROBE,    /* owner: the volume */
};

/* A region's code in the map. */
enum map_code {
	MAP_DIRTY = 0,  /* differs or may differ */
	MAP_CLEAN = 1,  /* equal, and durably so on both legs */
	MAP_INTENT = 2, /* was clean; writes under way or not yet flushed: probably equal */
	MAP_NONE = 3,   /* (memory only) no image under way */
};

struct map {
	bool durable;              /* there is a map on disk */
	uint8_t id[16];
	uint64_t n_pages, per_page;
	uint8_t *code;             /* per region: want | disk << 2 | flight << 4 */
	struct dray_bitmap stale;  /* pages whose want differs from disk */
	uint64_t n_intent;         /* regions whose want is MAP_INTENT */
	bool busy, failed;         /* a commit is under way; the last one failed */
	uint64_t retry_at_ns;
	uint64_t commit_pages[MAX_MAP_PAGES_IN_COMMIT];
	unsigned n_commit, pending;
	int commit_error;
	uint64_t seq;
	struct dray_io ios[MAX_MAP_PAGES_IN_COMMIT];
	uint8_t (*images)[DRAY_MAP_PAGE_BYTES];
	uint64_t started_ns;
};

enum walk { WALK_COPY, WALK_RECHECK, WALK_VERIFY };

/* A region partly walked: its parts (H4). */
struct open_region {
	bool used, closing; /* closing: no further steps; freed when the last one ends */
	enum walk walk;
	uint64_t region;
	uint64_t done, in_flight; /* a bit per part */
	uint64_t spoiled;         /* of those in flight: turned dirty under the step, which has to be repeated */
};

/* What is known of a secondary leg against the primary. After a switch the same link describes the old primary against the
 * new one: equality has no direction. */
struct link {
	struct dray_bitmap clean;   /* equal now, in memory; its writes are mirrored */
	struct dray_bitmap fresh;   /* clean, but recorded dirty: to be recorded */
	struct dray_bitmap hot;     /* written since the last sweep of intents */
	struct dray_bitmap touched; /* changed since the record batch under way began */
	struct dray_bitmap cand;    /* the batch */
	struct dray_bitmap doubt;   /* a late write may have spoiled it: recheck before recording clean or a switch */
	struct dray_bitmap suspect; /* dirty because of an intent found after a crash: compare, write what differs */
	struct dray_bitmap seen;    /* copied before: a further copy counts as recopied */
	struct open_region open[MAX_OPEN];
	unsigned n_open;
	uint64_t open_done_bytes;   /* parts done in open copies */
	uint64_t cursor, recheck_cursor;
	uint64_t doubt_until_ns;
	struct map map;

	/* record batch */
	bool batch;
	unsigned batch_pending;
	int batch_error;
	unsigned batch_failures;
	uint64_t next_record_ns, next_sweep_ns;
	struct dray_io batch_io[2];

	/* verification */
	bool verifying, verify_repair;
	unsigned verify_sample;
	uint64_t verify_next, verify_in_flight; /* byte offset of the next step; steps under way */
	int verify_error;

	bool was_synced;
};

/* Ranges, ascending, not overlapping; neighbours of one origin are one. */
struct bad_range {
	uint64_t offset, length;
	uint32_t origin; /* config.id of the leg that alone may hold it */
	uint64_t gen;    /* of the list when it was added */
};
struct bad_set {
	struct bad_range *r;
	unsigned n, add_most, most; /* ranges; a new one is taken below add_most; the rest of the room is for those that split */
};

struct bad_list {
	struct bad_set set;
	uint64_t gen, durable_gen; /* of the contents: one more at each change */
	uint64_t slot_gen[2], flight_gen, seq;
	unsigned current;          /* the slot that holds what is durable */
	bool busy, failed;
	uint64_t again_gen;        /* the primary's, up to this, are to be looked at once more, when all legs are dirty there; 0: none */
	bool dropping, flight_drops; /* they are left out of the next images; of the one under way */
	uint64_t retry_at_ns, accepted;
	struct dray_io io;
	uint8_t *image;
};

/* A range of the primary that the copy could not read. */
struct trouble {
	uint64_t offset, length;
	unsigned attempts, failures; /* attempts: that count; failures: for the back-off */
	uint64_t at_ns;
	int error;
	bool reading; /* a read that a step gave up on is still under way */
	bool witnessed;         /* a witness had just been read when its last read was sent */
	uint64_t failed_ns;     /* when that failed */
	bool flushing, flushed; /* the primary was flushed after the last write there */
};

struct probe {
	bool busy, stale;          /* stale: what comes back does not matter any more */
	enum { PROBE_RANGE, PROBE_WITNESS, PROBE_FLUSH } what;
	uint64_t offset, length;   /* of the trouble it is about */
	void *buf;
	uint64_t buf_bytes;
	struct dray_io io;
};

struct leg {
	enum dray_leg_state state;
	struct dray_leg_config config;
	struct link *link; /* secondaries; NULL for the primary */
	struct dray_list outstanding; /* ios that a stall is judged by, oldest first */
	unsigned in_flight;           /* all ios on it, map apart */
	unsigned unsettled;           /* writes given up on */
	unsigned n_steps;             /* steps under way for it, without abandoned ones */
	int image_error;              /* detached by a switch or split: whether it is an image of that instant */
	bool attached, paused, pausing, held, set_aside, settled_told, reported_map;
	uint64_t retry_at_ns, backoff_ns, failing_since_ns, degraded_since_ns, copy_after_ns;
	uint64_t pause_until_ns; /* its next step, where the window is less than a step */
	int last_error;
	struct dray_bitmap dirty_cache, dirty_cache_old; /* written since (before) the tracked flush began: H13 */
	unsigned flush_turn, flushes[2]; /* under way: of this turn and of the one before, by its number's last bit (dray_leg_flushes_over) */
	bool tracked_flush, flush_poisoned; /* poisoned: one failed, judged when the switch has ended */
	struct dray_bitmap known_zero; /* per region: proved to read as zeroes; void before a write (H5) */
	struct dray_io takeover_io;
	uint64_t flush_gen;
	/* figures */
	uint64_t copied, skipped, zeroed, compared, recopied, mirrored;
	uint64_t verify_compared, verify_differing, verify_repaired, verify_skipped;
	unsigned verify_ranges;
	struct {
		uint64_t offset, length;
	} verify_range[64];
};

enum step_phase { ST_FREE, ST_LOCK, ST_EXTENTS, ST_READ, ST_BAD, ST_TARGET_EXTENTS, ST_WRITE, ST_END };

struct step {
	enum step_phase phase;
	struct dray_lock lock;
	int leg;
	struct link *link;
	enum walk walk;
	int open;            /* index into link->open; -1: verification */
	uint64_t offset, length;
	int source;          /* the leg it reads: the primary, or another that has it where the primary can't be read */
	bool compare, fix, abandoned, is_zero, differed;
	bool target_unread;  /* the target can't be read: it is written, without comparing */
	bool gaps;           /* something in it is not to be read: runs in between are, one after the other */
	uint64_t rd[2], rd_run[2]; /* ST_READ: how far each side has come; the run under way */
	unsigned ios;
	unsigned sent;       /* a bit per io under way */
	int error;           /* first error; error_leg: whose (the source's goes before the target's) */
	int error_leg;
	uint64_t since_ns;   /* when granted */
	uint64_t began_ns;   /* when it was begun */
	void *buf[2];
	uint64_t at, run;    /* ST_WRITE: the run under way */
	uint64_t wrote, zeroed, skipped;
	struct dray_io io[2];
	struct dray_extent extents[DRAY_STEP_EXTENTS];
};

struct bound {
	enum dray_bound now;         /* what the next step waits for */
	enum dray_bound lately;      /* what most steps of the last period waited for */
	bool any;                    /* there was such a period, and it is not long ago */
	uint64_t began_ns;
	unsigned n[DRAY_BOUND_COUNT]; /* of this one */
};

enum takeover_phase { TK_NONE, TK_PREPARING, TK_PREPARED, TK_DRAINING, TK_FLUSHING, TK_DRAINED, TK_SEALED, TK_DOUBT };

struct takeover {
	enum takeover_phase phase;
	int leg;
	uint64_t token, void_token, deadline_ns;
	int void_leg;
	unsigned pending;         /* flushes under way, of legs */
	unsigned waiting;         /* a bit per leg whose flush is waited for */
	uint64_t prepare_since_ns;
	int error;
	int owed_before;          /* v->flush_owed when it began */
	bool owed_stays;          /* what the primary dropped meanwhile may have come to the leg, too */
};

struct dray_vol {
	struct dray_vol_config config;
	struct dray_copy_limits limits;
	const struct dray_host_ops *ops;
	void *host;
	uint64_t now_ns, n_regions, part_bytes;

	struct leg legs[DRAY_MAX_LEGS];
	int primary;
	unsigned links; /* a bit per leg that has a link */
	uint64_t switches;

	struct dray_lock_queue locks;
	struct dray_list held, intent_wait, ready, parked;
	struct dray_list settling; /* failed writes that may land late on the primary; since_ns: when that is over */
	unsigned running, waiting; /* requests started, of them not sent */
	struct dray_io *io_pool;
	struct dray_list io_free;
	unsigned ios_in_use;

	struct bad_list bad;
	uint32_t flush_failures;     /* of the primary; in doubt, of any leg */
	struct dray_list clearing;   /* requests that have written to bad ranges */
	struct dray_list vouching;   /* reads that wait for a flush of the leg they were served by */
	struct trouble trouble[MAX_TROUBLE];
	unsigned n_trouble;
	struct bad_set unread;       /* origin and gen mean nothing there */
	struct bad_range unread_ranges[MAX_UNREAD];
	struct probe probe;
	uint64_t witness, witness_ok_ns; /* a block of the primary that could be read; when it was, last */
	uint64_t next_source_event_ns, next_elsewhere_event_ns;

	struct step steps[MAX_STEPS];
	uint64_t step_bytes_in_flight, next_step_ns, paced_bytes;
	struct bound bound;
	unsigned turn;               /* the leg that is to have the next step */
	bool out_of_buffers, pumping;
	struct dray_pacer pacer;
	uint64_t step_over_ns;       /* when the last step ended: a request that came before has met it */
	bool copied_lately;          /* a step ended since it was asked about */
	bool others_copy;            /* dray_vol_neighbours */
	unsigned others_window;

	bool suspended;
	uint64_t suspended_ns;
	int flush_owed; /* a flush of the primary failed and no application was told: the next answer to a flush says so (takeover.c) */
	struct takeover takeover;
	bool let_go_old; /* dray_vol_switch_keep(false) */
	bool split_keep; /* dray_vol_split_keep(true) */
	bool force;      /* dray_vol_switch_force(true) */

	/* figures */
	uint64_t n_reads, n_writes, read_bytes, write_bytes, n_flushes, n_errors;
	struct latency {
		uint64_t read[DRAY_LATENCY_BUCKETS], write[DRAY_LATENCY_BUCKETS];
	} latency, latency_before; /* since latency_ns; of the time before that */
	uint64_t latency_ns;
	uint64_t longest_ns, write_ewma_ns, flush_ns[8];
	unsigned n_flush_ns;
};

/* ---- takeover.c ---- */
/* A request that failed now is kept, to begin again when requests flow. */
bool dray_takeover_keeps_failed(const struct dray_vol *v);

/* ---- volume.c ---- */
/* Returns whether anything moved. */
bool dray_pump(struct dray_vol *v);
void dray_emit(struct dray_vol *v, struct dray_event ev);
/* Fills and submits an io on a leg (ROLE_MAP and flushes are not judged for a stall). */
void dray_io_send(struct dray_vol *v, struct dray_io *io, enum io_role role, void *owner, int leg);
struct dray_io *dray_io_get(struct dray_vol *v);
void dray_io_put(struct dray_vol *v, struct dray_io *io);

/* The legs that have a link, lowest first. Most volumes have none or one: the data path pays for those it has. */
#define for_links(v, i)                                                                                        \
	for (unsigned i##_left = (v)->links, i = i##_left ? (unsigned)__builtin_ctz(i##_left) : 0; i##_left;          \
		i##_left &= i##_left - 1, i = i##_left ? (unsigned)__builtin_ctz(i##_left) : 0)

static inline struct leg *primary_leg(struct dray_vol *v)
{
	return &v->legs[v->primary];
}
static inline int leg_index(const struct dray_vol *v, const struct leg *leg)
{
	return (int)(leg - v->legs);
}
static inline bool is_write(enum dray_op op)
{
	return op == DRAY_OP_WRITE || op == DRAY_OP_ZERO || op == DRAY_OP_DISCARD;
}
static inline uint64_t region_of(const struct dray_vol *v, uint64_t offset)
{
	return offset / v->config.region_bytes;
}
static inline uint64_t region_end(const struct dray_vol *v, uint64_t region)
{
	uint64_t end = (region + 1) * v->config.region_bytes;
	return end < v->config.size_bytes ? end : v->config.size_bytes;
}
/* Regions that a range touches: for (r = first; r <= last; r++). */
#define for_regions(v, r, offset, length)                                                                      \
	for (uint64_t r = region_of(v, offset), r##_last = region_of(v, (offset) + (length)-1); r <= r##_last; r++)

static inline bool leg_active(const struct leg *leg)
{
	return leg->state == DRAY_LEG_COPYING || leg->state == DRAY_LEG_MIRROR;
}
/* A secondary that has to be told of, or remembered for, every write. */
static inline bool leg_tracked(const struct leg *leg)
{
	return leg_active(leg) || leg->state == DRAY_LEG_DEGRADED;
}

/* ---- request.c ---- */
void dray_request_start(struct dray_vol *v, struct dray_request *req);
void dray_request_granted(struct dray_vol *v, struct dray_request *req);
void dray_request_io_done(struct dray_vol *v, struct dray_io *io);
/* Sends what is ready and looks again at who waits; returns whether anything moved. */
bool dray_request_pump(struct dray_vol *v);
/* All operations of the chunk are done or given up on. */
void dray_request_chunk_done(struct dray_vol *v, struct dray_request *req);
/* The leg is given up on: answers no longer wait for its ios. */
void dray_request_abandon_leg(struct dray_vol *v, int leg);
/* A flush takes its time on a secondary: the answer no longer waits for it (the primary has flushed, or will). */
void dray_request_abandon_flush(struct dray_vol *v, struct dray_io *io);

/* ---- read.c ---- */
/* Whom to ask; DRAY_NO_LEG: nobody is left, the error stands. Adds to `flags`. */
int dray_read_leg(const struct dray_vol *v, struct dray_request *req, uint32_t *flags);
/* The leg answered, to what was sent at `since_ns`. */
void dray_read_answered(struct dray_vol *v, struct dray_request *req, int leg, int error, uint64_t since_ns);
/* Looks again at who waits for flushes; returns whether anything moved. */
bool dray_read_pump(struct dray_vol *v);
/* Gives up on who waited too long; when next, or DRAY_TIME_NEVER. */
uint64_t dray_read_tick(struct dray_vol *v);

/* ---- leg.c ---- */
/* An operation on a secondary failed: set it aside, to be retried. */
void dray_leg_failed(struct dray_vol *v, int leg, int error, const char *why);
/* ... and held at once, since trying again would not help. */
void dray_leg_give_up(struct dray_vol *v, int leg, int error, const char *why);
void dray_leg_stalled(struct dray_vol *v, int leg);
void dray_leg_progress(struct dray_vol *v, struct leg *leg);
void dray_leg_io_settled(struct dray_vol *v, int leg);
uint64_t dray_leg_tick(struct dray_vol *v);
/* Whether the whole range can be read of a secondary in the place of the primary (bad ranges apart). It is asked before it is read, and once more
 * afterwards: a flush that failed may have cost it that, before the read or in the middle of it (H13), and one that is under way may be about to fail. */
enum leg_has { LEG_HAS_NOT, LEG_MAY_LOSE, LEG_HAS };
enum leg_has dray_leg_has(const struct dray_vol *v, int leg, uint64_t offset, uint64_t length);
/* The first that has it, or may be about to lose it, without those in `but` (a bit each); DRAY_NO_LEG. */
int dray_leg_other(const struct dray_vol *v, unsigned but, uint64_t offset, uint64_t length);
/* Bookkeeping of what a flush covers (H13). */
void dray_leg_wrote(struct dray_vol *v, struct leg *leg, uint64_t offset, uint64_t length);
uint64_t dray_leg_flush_begin(struct dray_vol *v, struct leg *leg);
void dray_leg_flush_end(struct dray_vol *v, int leg, uint64_t gen, uint64_t since_ns, int error);
/* Every flush is of a turn: whether all of that turn and of those before are answered, however many are under way since. */
bool dray_leg_flushes_over(struct leg *leg, unsigned turn);
/* A switch has ended: what failed flushes meant is judged by the roles that legs have now. */
void dray_leg_judge_flushes(struct dray_vol *v);
/* State events after the links changed: copying <-> mirror, synced <-> unsynced. */
void dray_leg_review(struct dray_vol *v, int leg, int error, const char *why);
bool dray_leg_ready(const struct dray_vol *v, const struct leg *leg);

/* ---- link.c ---- */
int dray_link_new(struct link **link, const struct dray_vol *v, const struct dray_leg_config *config);
void dray_link_free(struct link *link);
/* Whether [offset, offset + *length) of the leg is to be mirrored; cuts *length to where the answer changes. */
bool dray_link_mirrored(const struct dray_vol *v, const struct leg *leg, uint64_t offset, uint64_t *length);
/* Every write of unknown outcome is dirty. `rewrite`: a comparison would not do (the cache may lie). */
void dray_link_dirty(struct dray_vol *v, struct leg *leg, uint64_t offset, uint64_t length, bool rewrite);
void dray_link_doubt(struct dray_vol *v, struct leg *leg, uint64_t offset, uint64_t length);
bool dray_link_range_clean(const struct dray_vol *v, const struct link *link, uint64_t offset, uint64_t length);
uint64_t dray_link_dirty_bytes(const struct dray_vol *v, const struct link *link);
uint64_t dray_parts_mask(const struct dray_vol *v, uint64_t region, uint64_t offset, uint64_t length);
uint64_t dray_region_mask(const struct dray_vol *v, uint64_t region);
struct open_region *dray_link_open(struct link *link, uint64_t region, enum walk walk);
struct open_region *dray_link_find_open(struct link *link, uint64_t region);
/* All parts of an open region are done, or it is closing and idle: settle it. */
void dray_link_close_if_done(struct dray_vol *v, struct leg *leg, struct open_region *o);

/* ---- map.c ---- */
int dray_map_new(struct map *map, const struct dray_vol *v, const struct dray_leg_config *config);
void dray_map_free(struct map *map);
enum map_code dray_map_want(const struct map *map, uint64_t region);
void dray_map_set(struct dray_vol *v, struct link *link, uint64_t region, enum map_code code);
/* The disk may say "clean" of the region: nothing may be sent that makes it untrue. */
bool dray_map_may_be_clean(const struct map *map, uint64_t region);
void dray_map_load(struct dray_vol *v, struct link *link, const struct dray_leg_config *config);
bool dray_map_pump(struct dray_vol *v, int leg);
void dray_map_io_done(struct dray_vol *v, struct dray_io *io);

/* ---- record.c ---- */
uint64_t dray_record_tick(struct dray_vol *v);
void dray_record_io_done(struct dray_vol *v, struct dray_io *io);
/* A write or step to the range is being sent: a batch under way may not record it clean (H12). */
void dray_record_touch(struct dray_vol *v, uint64_t offset, uint64_t length);
/* Asks for an intent for a region that the map is to call clean, and for its neighbours. */
void dray_record_intent(struct dray_vol *v, struct link *l, uint64_t region);

/* ---- bad.c ---- */
int dray_bad_new(struct dray_vol *v, const struct dray_vol_config *config);
void dray_bad_free(struct dray_vol *v);
bool dray_bad_pump(struct dray_vol *v);
uint64_t dray_bad_tick(struct dray_vol *v);
void dray_bad_io_done(struct dray_vol *v, struct dray_io *io);
/* Ranges that overlap: the first of them, or NULL. */
const struct bad_range *dray_set_find(const struct bad_set *set, uint64_t offset, uint64_t length);
/* 0 or -ENOSPC. Nothing of the range is in the set. */
int dray_set_add(struct bad_set *set, struct bad_range range, uint64_t longest);
/* Takes the range out of whatever overlaps it. 0 or -ENOSPC (one more would be needed: nothing is changed). */
int dray_set_remove(struct bad_set *set, uint64_t offset, uint64_t length);
static inline bool dray_bad_any(const struct dray_vol *v, uint64_t offset, uint64_t length)
{
	return v->bad.set.n && dray_set_find(&v->bad.set, offset, length);
}
/* Something of the range can't be served: the primary never had it. */
bool dray_bad_lost(const struct dray_vol *v, uint64_t offset, uint64_t length);
/* What was found unreadable in the range becomes bad. 0, or -ENOSPC: the list is full. The claim on the range is held. */
int dray_bad_list_unread(struct dray_vol *v, uint64_t offset, uint64_t length);
/* Whatever is bad in the range is durably listed. */
bool dray_bad_durable(const struct dray_vol *v, uint64_t offset, uint64_t length);
/* -ENOSPC, or 0 and the list without the range is on its way to the disk: as dray_bad_reached(v, *gen) says. */
int dray_bad_remove(struct dray_vol *v, uint64_t offset, uint64_t length, uint64_t *gen);
static inline bool dray_bad_reached(const struct dray_vol *v, uint64_t gen)
{
	return v->bad.durable_gen >= gen;
}
/* Bytes that a switch to another leg, or a split, would leave behind. */
uint64_t dray_bad_behind(const struct dray_vol *v, bool split);
/* The primary's are to be looked at once more. */
void dray_bad_again(struct dray_vol *v);
/* Another primary: that is off. */
void dray_bad_again_off(struct dray_vol *v);
/* Parts of the region that wait for that, or for the probe. */
uint64_t dray_bad_busy_parts(const struct dray_vol *v, uint64_t region);
/* A run at `at` of a step's range, in which all is to be read of that side (gap false) or nothing. Sides: 0 source, 1 target. */
uint64_t dray_bad_run(const struct dray_vol *v, const struct step *s, int side, uint64_t at, uint64_t end, bool *gap);

/* ---- probe.c ---- */
/* The error speaks of what is stored there, not of the way to it. */
bool dray_of_the_medium(int error);
/* A step could not read the range of the primary. `reading`: it gave up, the read is still under way. false: no room. */
bool dray_probe_note(struct dray_vol *v, uint64_t offset, uint64_t length, int error, bool reading);
/* The read that was given up on came back. */
void dray_probe_late(struct dray_vol *v, uint64_t offset, uint64_t length, int error);
/* The primary could be read there. */
void dray_probe_good(struct dray_vol *v, uint64_t offset);
/* The primary is written there: whatever was found out is void. */
void dray_probe_wrote(struct dray_vol *v, uint64_t offset, uint64_t length);
/* Another primary, or nobody who wants to know. */
void dray_probe_reset(struct dray_vol *v);
bool dray_probe_pump(struct dray_vol *v);
uint64_t dray_probe_tick(struct dray_vol *v);
void dray_probe_io_done(struct dray_vol *v, struct dray_io *io);
/* So many reads that steps gave up on are under way that more steps would only join them. */
bool dray_probe_crowded(const struct dray_vol *v);
uint64_t dray_probe_busy_parts(const struct dray_vol *v, uint64_t region);

/* ---- step.c, copy.c ---- */
/* The list of bad ranges is durable: steps that waited for it go on. */
bool dray_step_pump(struct dray_vol *v);
void dray_step_begin(struct dray_vol *v, struct step *s);
void dray_step_granted(struct dray_vol *v, struct step *s);
void dray_step_io_done(struct dray_vol *v, struct dray_io *io);
void dray_step_abandon(struct dray_vol *v, struct step *s);
/* ... because it kept its claim for too long: if it waits for the primary, that is noted. */
void dray_step_give_up(struct dray_vol *v, struct step *s);
/* ---- bound.c ---- */
/* When it wants to be called again. */
uint64_t dray_bound_tick(struct dray_vol *v);
/* A step begins. */
void dray_bound_step(struct dray_vol *v);
/* No further one can begin, and why. */
void dray_bound_rests(struct dray_vol *v, enum dray_bound waits);

/* ---- copy.c ---- */
/* As it is in force. */
unsigned dray_copy_window(const struct dray_vol *v);
uint64_t dray_copy_tick(struct dray_vol *v);
bool dray_copy_pump(struct dray_vol *v);
void dray_copy_refund(struct dray_vol *v, uint64_t bytes);
/* A step of the leg ended, in whatever way. */
void dray_copy_step_over(struct dray_vol *v, struct leg *leg, uint64_t took_ns);

/* ---- takeover.c ---- */
uint64_t dray_takeover_tick(struct dray_vol *v);
void dray_takeover_io_done(struct dray_vol *v, struct dray_io *io);
bool dray_takeover_pump(struct dray_vol *v);
/* A flush of the primary failed: the application is owed an error, unless a switch makes it void. */
void dray_takeover_owes(struct dray_vol *v, const struct dray_io *io, int error);
/* A step writes to the leg what it read of the primary. */
void dray_takeover_step_writes(struct dray_vol *v, int leg_no);
static inline bool dray_in_doubt(const struct dray_vol *v)
{
	return v->takeover.phase == TK_DOUBT && !PLANT(H8_RESUME_WHILE_RECORDING);
}

#endif
