/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The engine of one volume: what happens to a request, a copy, a switch.
 *
 * Pure and steppable: requests, completions, control verbs and clock ticks go in; storage operations, replies
 * and events come out through `struct dray_host_ops`. It never reads a clock, calls the kernel, starts a thread or
 * (after dray_vol_new and leg_attach) allocates. One volume is touched by one thread only.
 *
 * Rules of the border
 *  - A host function never calls back into the engine before it returns. A completion that is known at once is delivered
 *    later (from the loop). This holds for submit, reply, release, event and buf_get.
 *  - Every operation submitted is completed exactly once, however late; its memory stays valid until then.
 *  - Every request submitted gets exactly one reply() and, at that moment or later, exactly one release(). Between the
 *    two the engine still refers to the request and its payload: a leg may still be writing it (H6).
 *  - Time is monotonic nanoseconds. The host calls dray_vol_tick with the current time before it delivers a batch of
 *    requests, completions or verbs, once more after the batch (what it returns then counts), and no later than that time.
 *  - Ranges are half-open (offset, length) in bytes.
 *
 * Errors in `int error` are 0 or a negative errno of the storage.
 */
#ifndef DRAY_ENGINE_ENGINE_H
#define DRAY_ENGINE_ENGINE_H

#include "base/list.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DRAY_MAX_LEGS   8
#define DRAY_NO_LEG     (-1)
#define DRAY_TIME_NEVER UINT64_MAX

struct dray_vol;

/* ---- storage operations: engine -> host ---- */

enum dray_op {
	DRAY_OP_READ,
	DRAY_OP_WRITE,
	DRAY_OP_ZERO,      /* make the range read as zeroes */
	DRAY_OP_DISCARD,   /* the contents are not needed any more; what it reads as afterwards is unknown */
	DRAY_OP_FLUSH,     /* all writes completed before this was submitted become durable */
	DRAY_OP_EXTENTS,   /* fill `extents` from `offset`, at least one entry, until `length` or the array is covered */
	DRAY_OP_CACHE,     /* a hint: the range will be read soon */
	DRAY_OP_MAP_WRITE, /* write one page of the leg's region map (`data`, DRAY_MAP_PAGE_BYTES, at `offset` of the map) */
	DRAY_OP_MAP_SYNC,  /* all completed MAP_WRITEs of this leg become durable */
	DRAY_OP_BAD_WRITE, /* write one slot of the volume's list of bad ranges (`data`, DRAY_BAD_SLOT_BYTES, at `offset`: 0 or that) */
	DRAY_OP_BAD_SYNC,  /* all completed BAD_WRITEs of this volume become durable */
};

enum dray_op_flags {
	DRAY_F_FUA = 1,       /* durable before it completes */
	DRAY_F_MAY_UNMAP = 2, /* ZERO: may deallocate */
	DRAY_F_FAST = 4,      /* ZERO: fail with -ENOTSUP rather than be slower than a plain write */
	DRAY_F_NO_WAIT = 8,   /* READ: another leg has the range too: fail rather than wait for a connection that is lost */
};

enum dray_extent_flags {
	DRAY_EXTENT_HOLE = 1, /* not allocated */
	DRAY_EXTENT_ZERO = 2, /* reads as zeroes: only where the storage promises it */
};

struct dray_extent {
	uint64_t length;
	uint32_t flags;
};

#define DRAY_STEP_EXTENTS 16

/* Beside the flags of an operation of the copy stands its place among what the kernel has to do for the storage, where somebody set one (struct
 * dray_copy_limits): 1 (first) to 8 (last) are the levels 0 to 7 of ioprio_set(2), class best effort. 0: as all else, which is the application's. */
#define DRAY_F_PRIO_SHIFT 16
static inline unsigned dray_flags_prio(uint32_t flags)
{
	return flags >> DRAY_F_PRIO_SHIFT;
}

/* Owned by the engine. From submit() to dray_vol_complete() the host may use `host`; all else is read-only to it. */
struct dray_io {
	enum dray_op op;
	int leg;
	uint32_t flags;
	uint64_t offset, length;
	void *data;                  /* READ: filled; WRITE, MAP_WRITE, BAD_WRITE: the bytes, unchanged until completion */
	struct dray_extent *extents; /* EXTENTS: array of `max_extents`; the host sets n_extents */
	unsigned max_extents, n_extents;
	void *host[6];               /* the host's own */

	/* the engine's own */
	struct dray_list node;
	void *owner;
	uint64_t since_ns;
	uint8_t role;
	bool abandoned;
	int error;        /* kept while the outcome is in doubt */
	uint64_t gen;     /* FLUSH: which writes it covers */
	unsigned turn;    /* ... and its turn */
};

enum dray_completion_flags {
	/* The connection was lost with the request under way: it may still be carried out later (H6). Only with an error. */
	DRAY_C_MAY_LAND_LATE = 1,
};

/* ---- requests: frontend -> engine ---- */

/* A place in the queue for a range (engine/lock.h). */
struct dray_lock {
	struct dray_list node, granted_node;
	uint64_t start, end;
	bool queued, granted, is_step;
};

/* Filled by the frontend up to `host`, which stays its own; it lives until release(). READ needs `data` of `length`
 * bytes; EXTENTS needs the array. FLUSH has no range. */
struct dray_request {
	enum dray_op op; /* READ WRITE ZERO DISCARD FLUSH EXTENTS CACHE */
	uint32_t flags;
	uint64_t offset, length;
	void *data;
	struct dray_extent *extents;
	unsigned max_extents, n_extents;
	void *host[2];

	/* the engine's own */
	struct dray_list node;         /* on the queue that its state names */
	struct dray_lock lock;         /* writes: the chunk under way */
	uint64_t sent;                 /* up to this offset the chunk was sent */
	uint64_t arrived_ns;
	unsigned ios;                  /* operations the answer waits for */
	unsigned unsettled;            /* operations given up on, not completed: they hold the payload (H6) */
	unsigned tried_legs;           /* reads: a bit per leg that failed */
	int read_leg;                  /* reads: RQ_VOUCH: the leg that was read */
	unsigned flush_turn;           /* ... and the turn of its flushes then */
	uint64_t read_since_ns;        /* ... and when that was sent */
	bool not_waited;               /* reads: the primary's connection was lost, and it was not waited for (DRAY_F_NO_WAIT) */
	int error, first_error;        /* first_error: reads: the primary's */
	uint64_t clear_gen;            /* writes: see engine/bad.c */
	uint32_t flush_failures;       /* ... the primary's, when the chunk was sent */
	uint8_t state, clear;
	bool replied;
};

/* ---- events: engine -> host ---- */

enum dray_event_kind {
	DRAY_EV_LEG_STATE,     /* `leg` is now in `leg_state`; error says why when it is degraded */
	DRAY_EV_LEG_SYNCED,    /* every region of `leg` is clean (in memory); may be taken back by a LEG_UNSYNCED */
	DRAY_EV_LEG_UNSYNCED,  /* a synced leg has dirty regions again; error says why */
	DRAY_EV_LEG_DETACHED,  /* the engine holds no operation on `leg` any more: the host may close and forget it. After a switch
	                        * or split, error 0: an image of that instant (not yet flushed); -EAGAIN: it was not clean then */
	DRAY_EV_LEG_HELD,      /* gave up retrying (no space, or no progress for give_up_ns): waits for leg_retry */
	DRAY_EV_LEG_SETTLED,   /* a degraded leg's last outstanding operation completed: the host may reopen it */
	DRAY_EV_PREPARED,      /* answer to switch_prepare: error 0 or why not */
	DRAY_EV_DRAINED,       /* answer to switch_suspend: error 0: suspended, drained, new primary flushed, dirty = 0 */
	DRAY_EV_RESUMED,       /* requests flow again; `primary` says on which leg; blackout_ns the longest wait */
	DRAY_EV_IN_DOUBT,      /* the deadline passed with the record under way: resumed with strict mirroring (H8) */
	DRAY_EV_VERIFIED,      /* a verify ended; figures in dray_vol_leg_info */
	DRAY_EV_MAP_ERROR,     /* the leg's map (or, `leg` the primary, the list of bad ranges) cannot be written (retried for ever);
	                        * writes to clean regions (to bad ranges) wait */
	DRAY_EV_PAUSED,        /* the leg's last copy step ended after a pause */
	DRAY_EV_SOURCE_READ,   /* the copy could not read [offset, offset + length) of the primary: error says why. It is tried again with
	                        * back-off, then block by block. At most one a second */
	DRAY_EV_READ_ELSEWHERE, /* an application's read that the primary failed with `error` was served by `leg`. At most one a second */
	DRAY_EV_BAD_RANGE,     /* [offset, offset + length) can't be read on the primary and nowhere else: it is a bad range now (error:
	                        * why); or, error 0, it is none any more */
};

enum dray_leg_state {
	DRAY_LEG_NONE,     /* slot not in use */
	DRAY_LEG_PRIMARY,
	DRAY_LEG_COPYING,  /* mirrored where clean, copied elsewhere */
	DRAY_LEG_MIRROR,   /* every region clean: all writes go to it too */
	DRAY_LEG_DEGRADED, /* set aside after an error or stall: tracked, not written */
	DRAY_LEG_DETACHED, /* being let go */
};

struct dray_event {
	enum dray_event_kind kind;
	int leg, primary;
	enum dray_leg_state leg_state;
	int error;
	const char *why; /* static text, or NULL */
	uint64_t token, blackout_ns, suspended_ns;
	uint64_t offset, length;
};

/* ---- the host ---- */

struct dray_host_ops {
	/* Required. Start a storage operation. */
	void (*submit)(void *host, struct dray_io *io);
	/* Required. The answer to a request. */
	void (*reply)(void *host, struct dray_request *req, int error);
	/* Required. The engine has let go of the request and its payload. */
	void (*release)(void *host, struct dray_request *req);
	/* Required. */
	void (*event)(void *host, const struct dray_event *ev);
	/* Required. A buffer for a copy step, aligned for every leg; NULL: none now (the engine tries again on
	 * later ticks and completions). */
	void *(*buf_get)(void *host, uint64_t bytes);
	/* Required. */
	void (*buf_put)(void *host, void *buf, uint64_t bytes);
};

/* ---- making a volume ---- */

struct dray_vol_config {
	uint64_t size_bytes;
	uint64_t region_bytes;      /* power of two, 64 KiB .. 1 GiB; default 1 MiB (0) */
	uint32_t block_bytes;       /* the export's block size: every leg's divides it; requests are multiples of it */
	unsigned max_ios;           /* storage operations in flight; default 1024 (0) */
	uint64_t record_every_ns;   /* how often clean regions are recorded; default 250 ms (0) */
	uint64_t intent_idle_ns;    /* an intent is cleared after this long without a write; default 5 s (0) */
	unsigned max_intents;       /* above this many per leg they are cleared early; default 2048 (0) */
	unsigned intent_group;      /* an intent covers this many regions, as long as there are few; a power of two, default 32 (0) */
	uint64_t settle_ns;         /* DRAY_C_MAY_LAND_LATE: how long late writes may land; default 5 s (0) */
	uint64_t read_retry_ns;     /* first back-off of a copy step whose source can't be read; default 100 ms (0) */
	uint64_t chunk_bytes;       /* long ZERO and DISCARD requests are split at this; default 8 MiB (0) */
	/* The list of bad ranges after a restart: its two slots of DRAY_BAD_SLOT_BYTES, synced before they were read (as a map is), a
	 * NULL pointer for one that could not be read; bad_slots NULL: there never was a list. Only read during the call. */
	const void *const *bad_slots;
	uint8_t bad_id[16];         /* the identity stored in each slot: the volume's; a slot of another is void */
};

/* 0, -EINVAL (a bad config), -ENOMEM, or -EBADMSG: there was a list of bad ranges, and neither slot is valid: what is bad can't be
 * guessed. `ops` and `host` outlive the volume. The volume has no legs yet. */
int dray_vol_new(struct dray_vol **vol, const struct dray_vol_config *config, const struct dray_host_ops *ops, void *host);

/* Only when no operation, request or leg is left in it (or the simulator crashes it with `crash`, which checks nothing).*/
void dray_vol_free(struct dray_vol *vol, bool crash);

struct dray_leg_config {
	uint32_t id;           /* the host's own number for the leg, never used for another one: the list of bad ranges names it. 0: one is
	                        * made up, for a host that keeps nothing */
	bool durable;          /* the host keeps a region map for the leg (checkpoint: true) */
	bool late_writes;      /* after a restart old writes of another incarnation may still land (network storage):
	                        * what was not clean is verified after it was copied */
	bool extents;          /* EXTENTS is answered usefully */
	bool thin;             /* zeroes may be written as holes */
	bool has_zero;         /* ZERO with MAY_UNMAP is cheap there */
	bool known_zero;       /* reads as zeroes all over now (it was just created): proof for skipping (B9, H5) */
	bool copy_role;        /* role copy: at a switch it is detached as an image of that instant (H22) */
	bool paused;           /* attach without copying until leg_pause(false) */
	bool tracked_only;     /* attach degraded and held: tracked, nothing written until leg_retry */
	/* The map pages after a restart, `n_pages` pointers of DRAY_MAP_PAGE_BYTES each, or NULL for a new leg. The host synced the map
	 * before it read them: a page that is in the page cache only, and says "intent", could be followed by one that says
	 * "clean" after the next power loss. A page pointer may be NULL (unreadable); for a leg that has no map all are:
	 * after a restart it is not a new leg (late_writes). Whatever is not valid counts as dirty. Only read during the call. */
	const void *const *pages;
	uint64_t n_pages;
	uint8_t map_id[16];    /* the identity stored in each page: of the pair (volume, leg); a page of another is void */
};

/* The primary: the first leg attached, with config->pages NULL. Legs attached later are secondaries. Returns the leg's
 * index (>= 0; events about it come from the next tick on), or -ENOSPC (no slot), -ENOMEM, -EBUSY (a switch is under way), -EINVAL.
 * A secondary with durable = true and pages = NULL: the host has already written an empty (all dirty) map durably. */
int dray_vol_leg_attach(struct dray_vol *vol, const struct dray_leg_config *config);

/* Lets a secondary leg go; LEG_DETACHED follows when its last operation settled. 0, -ENOENT, -EINVAL (the primary),
 * -EBUSY (a switch is under way). The host forgets the leg durably *before* it calls this (else a crash would
 * bring the leg back with a map that missed writes). */
int dray_vol_leg_detach(struct dray_vol *vol, int leg);

/* ---- running ---- */

/* Sets the time, runs what is due, returns when the next tick is wanted (DRAY_TIME_NEVER: not before something happens). */
uint64_t dray_vol_tick(struct dray_vol *vol, uint64_t now_ns);
/* The host did nothing for so long, up to the time that the next tick brings (it was stopped, or had no processor): what storages answered
 * meanwhile it has not looked at, and so that time is not held against them. Deadlines, which are promised to applications, stay. */
void dray_vol_held_up(struct dray_vol *vol, uint64_t ns);

/* -EINVAL requests (range, alignment) are refused through reply/release like any other error, after this returns or
 * inside it; the caller must be ready for both. */
void dray_vol_submit(struct dray_vol *vol, struct dray_request *req);
void dray_vol_complete(struct dray_vol *vol, struct dray_io *io, int error, unsigned flags);

/* ---- the copy ---- */

struct dray_copy_limits {
	uint64_t step_bytes;   /* power of two, 16 KiB .. region size (larger is cut to it); default 256 KiB (0) */
	unsigned steps;        /* most steps in flight, to all legs together; 0: 8 for each. How many there are follows the application's latency
	                        * (engine/pacer.h), and never more than 64 */
	uint64_t in_flight_bytes; /* most bytes in flight; 0: no limit but steps */
	uint64_t rate;         /* bytes per second; 0: no limit; DRAY_RATE_STOP: nothing moves */
	uint64_t app_latency_ns; /* what the application's p99 is to stay under; 0: near what it was without the copy */
	unsigned prio;         /* of the copy's reads and writes: DRAY_F_PRIO_SHIFT, 0 to 8 */
	uint64_t leg_timeout_ns;  /* default 1 s (0) */
	uint64_t give_up_ns;   /* degraded this long without progress: held; default 60 s (0) */
};
#define DRAY_RATE_STOP UINT64_MAX

/* What the copy waits for (engine/bound.c). */
enum dray_bound {
	DRAY_BOUND_IDLE,      /* there is nothing to copy */
	DRAY_BOUND_STORAGE,   /* the storages: as much is under way as does any good */
	DRAY_BOUND_RATE,
	DRAY_BOUND_IN_FLIGHT, /* in_flight_bytes */
	DRAY_BOUND_STEPS,     /* steps, where a number is set */
	DRAY_BOUND_WINDOW,    /* the window: the application, or app_latency_ns */
	DRAY_BOUND_NEIGHBOUR, /* ... as the application of another volume on the same disk allows it */
	DRAY_BOUND_COUNT
};

/* Live; a step under way ends as it began, and a rate goes on from the step that is due: setting it often makes it no faster. All legs of
 * the volume together, apart from leg_timeout. -EINVAL. */
int dray_vol_set_limits(struct dray_vol *vol, const struct dray_copy_limits *limits);
/* What other volumes say that share a disk with this one: whether a copy of theirs had anything under way there lately, and the window that their
 * applications allow to any copy (1/16 of a step; UINT_MAX: they allow all). It holds until it is said anew. */
void dray_vol_neighbours(struct dray_vol *vol, bool copying, unsigned window);
/* What is to be said to them: whether a step of this one's copy is under way, or was since this was asked last; and the window that its application
 * allows, false: it does not work. */
bool dray_vol_copied_lately(struct dray_vol *vol);
bool dray_vol_allows(const struct dray_vol *vol, unsigned *window);
void dray_vol_get_limits(const struct dray_vol *vol, struct dray_copy_limits *limits);

/* Stops (starts) the leg's copy; what is clean stays mirrored. PAUSED follows. -ENOENT. */
int dray_vol_leg_pause(struct dray_vol *vol, int leg, bool paused);
/* pause --detach: the leg is tracked only, until leg_retry. -ENOENT, -EINVAL (primary). */
int dray_vol_leg_set_aside(struct dray_vol *vol, int leg);
/* A held (or degraded) leg is tried again now, from what is there; bad ranges that the primary may be able to read again are looked at
 * once more. -ENOENT, -EINVAL. The host has reopened it if need be. */
int dray_vol_leg_retry(struct dray_vol *vol, int leg);
/* The host closes a leg's storage, on which nothing is under way, to open it anew: what it acknowledged and did not make durable may be gone,
 * and whatever is opened next could not tell (H13). So all that was written since its last good flush is dirty: on that leg, or, if it is the
 * primary, on all others, and then the application's next flush fails, unless there was nothing to lose. No operation may reach the
 * new storage before this. -ENOENT, -EBUSY (the primary, and something is under way on it, or a switch). */
int dray_vol_leg_closed(struct dray_vol *vol, int leg);
/* The host knows that a leg's storage is dead, though nothing failed on it yet: it is set aside as after an error. 0 (also if it was aside
 * already), -ENOENT, -EINVAL (primary), -EBUSY (a switch is under way). */
int dray_vol_leg_fail(struct dray_vol *vol, int leg, int error);
/* The successor among several targets: `copy` legs are detached at the switch. -ENOENT. */
int dray_vol_leg_set_role(struct dray_vol *vol, int leg, bool copy_role);

/* Compare the leg with the primary, online (H16). `sample`: every Nth step only (1 = all). `repair`: differing ranges are
 * written from the primary. VERIFIED follows. -ENOENT, -EBUSY (one is running), -EAGAIN (leg degraded or dirty). */
int dray_vol_verify(struct dray_vol *vol, int leg, unsigned sample, bool repair);
int dray_vol_verify_stop(struct dray_vol *vol, int leg);

/* ---- the switch (driven by engine/switch.h; the essay is there) ---- */

/* What becomes of the primary at the next switch: it is kept in sync as the way back (true, as it is at first), or let go at that
 * instant as an image of it, like the copies: LEG_DETACHED follows, and there is no undo. For a commit with the switch. */
void dray_vol_switch_keep(struct dray_vol *vol, bool keep);
/* Whether the next switch may go to a leg that lacks some of what the primary has, because the primary is given up (H19): what it lacks then is
 * lost, dray_vol_leg_lacks tells which regions, right before dray_vol_switch_apply. Requests that fail on the old primary while it is
 * drained are not answered with the error, but begun again on the side that goes on. false at first; stays until it is set again. */
void dray_vol_switch_force(struct dray_vol *vol, bool force);
/* What becomes of the legs at the next split: let go (false, as it is at first), or kept, set aside and paused at that instant: tracked only, so that
 * they stay images of it until leg_pause(false) and leg_retry bring what changed since. Stays until it is set again. */
void dray_vol_split_keep(struct dray_vol *vol, bool keep);
/* How many bytes of bad ranges the next switch or split may leave behind: more than that, and it is refused with -EUCLEAN (H17). 0 at
 * first; stays until it is set again. See dray_vol_info.bad_behind_bytes. */
void dray_vol_switch_accept_bad(struct dray_vol *vol, uint64_t bytes);
/* Checks that `leg` could take over and flushes all legs while the application runs. PREPARED follows with error 0, or:
 * -EAGAIN (dirty, doubtful or unsettled ranges), -EIO (its flush failed), -EBUSY (another switch is under way), -ENOENT.
 * -ETIMEDOUT: its flush took longer than give_up_ns. The others' flushes are not waited for once they look hopeless: that of
 * the primary for five times leg_timeout, give_up_ns, or, if the switch is forced, 5 s, whichever is shortest.
 * `leg` may be DRAY_NO_LEG: a split; every secondary is prepared to be let go at one instant. */
void dray_vol_switch_prepare(struct dray_vol *vol, int leg, uint64_t token);
/* Suspends: new requests queue in order; those in flight and copy steps drain; then the new primary is flushed, dirty
 * recounted. DRAINED follows. At `deadline_ns` (absolute) the volume resumes by itself and the token is void,
 * unless it was sealed. DRAINED with -ETIMEDOUT (deadline), -EAGAIN (recount: dirty), -EIO, -ESTALE (token). */
void dray_vol_switch_suspend(struct dray_vol *vol, uint64_t token, uint64_t deadline_ns);
/* The record is about to be written: from now the deadline means "in doubt", not "void". 0 or -ESTALE. */
int dray_vol_switch_seal(struct dray_vol *vol, uint64_t token);
/* The record (new primary) is durable: go on there. RESUMED follows. Also ends IN_DOUBT. 0 or -ESTALE. */
int dray_vol_switch_apply(struct dray_vol *vol, uint64_t token);
/* It is not, and never will be (after a seal: a superseding record is durable): go on where we were. RESUMED follows if
 * the volume was suspended. 0 or -ESTALE. */
int dray_vol_switch_abort(struct dray_vol *vol, uint64_t token);

/* ---- what it says of itself ---- */

struct dray_leg_info {
	enum dray_leg_state state;
	bool copy_role, paused, held, synced, durable;
	int image_error;           /* set aside by a split that keeps: 0, or why it is no image of that instant */
	uint64_t dirty_bytes;      /* differ or may differ from the primary */
	uint64_t doubt_bytes;      /* to be verified before a switch */
	uint64_t done_bytes;       /* clean: on the leg (size - dirty) */
	uint64_t recorded_bytes;   /* clean and durably recorded so */
	uint64_t copied_bytes;     /* written to the leg by the copy, each step counted when it completed */
	uint64_t skipped_bytes;    /* proved zero on both: not written */
	uint64_t zeroed_bytes;     /* written as zeroes, not moved */
	uint64_t compared_bytes;   /* found equal after a crash: not written */
	uint64_t recopied_bytes;   /* part of copied_bytes that had been copied before */
	uint64_t mirrored_bytes;   /* written to the leg by the application */
	unsigned unsettled;        /* operations whose outcome is not known yet */
	bool settled;              /* nothing is under way on it: the host may close it and open it again */
	unsigned intents;
	int last_error;
	uint64_t degraded_since_ns;
	bool verifying;
	uint64_t verify_compared_bytes, verify_differing_bytes, verify_repaired_bytes;
	uint64_t verify_skipped_bytes; /* bad ranges, and steps that the primary can't read: there is nothing to compare */
	unsigned verify_ranges;    /* entries used in the array below; more differing ranges than fit are only counted */
	struct {
		uint64_t offset, length;
	} verify_range[64];
};

/* -ENOENT. */
int dray_vol_leg_info(const struct dray_vol *vol, int leg, struct dray_leg_info *info);

/* Latency histogram: bucket i counts requests of up to 2^i microseconds (the last: all longer). Of those that were answered in so much time before the
 * last one, and up to as much again. */
#define DRAY_LATENCY_BUCKETS 32
#define DRAY_LATENCY_NS      UINT64_C(10000000000)
struct dray_vol_info {
	int primary;
	bool suspended, switching, in_doubt;
	unsigned legs, requests_in_flight, requests_waiting, ios_in_flight;
	uint64_t reads, writes, read_bytes, write_bytes, flushes, errors;
	uint64_t latency_read[DRAY_LATENCY_BUCKETS], latency_write[DRAY_LATENCY_BUCKETS];
	uint64_t longest_ns;       /* longest wait of a write since the last dray_vol_longest_reset */
	/* For the prediction of a blackout: the shortest of a secondary's last flushes (the one under the suspend comes right behind
	 * another, so there is little to flush), and a moving average of what a write takes. 0: not known yet. */
	uint64_t flush_ns, write_ewma_ns;
	/* The copy's window, in 1/16 of a step, and what it follows (engine/pacer.h): what the application's requests took lately, what they took
	 * without the copy, and what they may take. 0: not known yet. */
	unsigned window;
	uint64_t app_ns, app_base_ns, app_allowed_ns;
	enum dray_bound bound;     /* what kept the copy from going faster, lately */
	uint64_t paced_bytes;      /* what the rate counts: begun, without what turned out to be zeroes. It may go back a little */
	/* Bad ranges (engine/bad.c): how many, how many bytes, and of these, what a switch would leave behind: what the primary
	 * may still hold and the other legs do not. The rest was left behind by an earlier switch and reads as an error. */
	unsigned bad_ranges;
	uint64_t bad_bytes, bad_behind_bytes;
	/* What the copy could not read of the primary, so far: it is being tried again. source_error: why, of one of them. */
	uint64_t trouble_bytes;
	int source_error;
};
void dray_vol_info(const struct dray_vol *vol, struct dray_vol_info *info);
/* Its `bound` alone, for who looks whether a tick changed it. */
enum dray_bound dray_vol_bound(const struct dray_vol *vol);
void dray_vol_longest_reset(struct dray_vol *vol);

/* ---- the region map on disk (docs/ONDISK.md) ----
 *
 * A map is about two legs, the primary and a secondary, and says where they are equal: that has no direction. After a switch from
 * S to T the map made for T goes on as the map of S, now the secondary: map operations then carry S's index. So the host keeps
 * a map by the unordered pair of legs, looks it up when an operation is submitted, and gives both directions the same map_id. */
#define DRAY_MAP_PAGE_BYTES 4096
/* Pages a map of this volume has: the host creates that many, each filled by dray_map_page_format. */
uint64_t dray_map_n_pages(uint64_t size_bytes, uint64_t region_bytes);
/* An all-dirty page. */
void dray_map_page_format(void *page, const uint8_t map_id[16], uint64_t page_no, uint64_t region_bytes);

/* ---- the list of bad ranges on disk (docs/ONDISK.md, "bad") ---- */
#define DRAY_BAD_SLOT_BYTES  4096
#define DRAY_BAD_RANGES_MOST 252 /* that fit */
/* An empty list: the host fills both slots of a new volume with it, durably, before its first secondary is attached. */
void dray_bad_slot_format(void *slot, const uint8_t bad_id[16], uint32_t block_bytes);

struct dray_bad_range {
	uint64_t offset, length;
	bool lost; /* the primary does not hold it: reads fail until it is overwritten */
};
/* Copies the first `most` into `out`, ascending; returns how many there are. */
unsigned dray_vol_bad_ranges(const struct dray_vol *vol, struct dray_bad_range *out, unsigned most);
/* Whether the block at `offset` is in a bad range; *lost as above. */
bool dray_vol_bad_at(const struct dray_vol *vol, uint64_t offset, bool *lost);

/* What the engine holds of one region of a secondary leg: for tests and the simulator. -ENOENT. */
enum dray_region_state {
	DRAY_REGION_DIRTY,    /* differs or may differ */
	DRAY_REGION_DOUBT,    /* clean, but a late write may have spoiled it */
	DRAY_REGION_CLEAN,    /* equal to the primary, whenever no write to it is under way */
	DRAY_REGION_RECORDED, /* and the map says so */
};
int dray_vol_leg_region(const struct dray_vol *vol, int leg, uint64_t region);
/* Whether the leg may hold anything else there than the primary: what a forced switch to it would lose. */
bool dray_vol_leg_lacks(const struct dray_vol *vol, int leg, uint64_t region);

/* For assertions in tests and the simulator: walks everything, aborts on a broken invariant. */
void dray_vol_check(const struct dray_vol *vol);

#endif
