/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A volume and its legs inside dray-iod. vio.c is the part that lives on the I/O thread, volume.c the registry's, legs.c
 * opens and closes storage, bring-up.c starts a volume after a restart.
 */
#ifndef DRAY_IOD_VOLUME_H
#define DRAY_IOD_VOLUME_H

#include "iod/attempts.h"
#include "iod/iod.h"

struct iod_volume;
struct iod_inbox;

struct iod_leg {
	struct iod_volume *volume; /* fixed */
	struct iod_leg_def *def;   /* its id and peer are fixed; all else iod->lock; owned */
	unsigned refs;             /* iod->lock: the registry's, the opener's */
	/* iod->lock */
	char error[400];           /* why its storage is not open, or why it is set aside; "" if all is well */
	char path[256];            /* the device's name now, where it is another than the recorded one; "": it is not */
	bool forgotten;            /* not in volume.json any more, still being let go */
	bool opening;              /* a job is at it */
	uint64_t opening_since_ns; /* ... since then */
	bool hopeful;              /* ... and it was not told as given up yet; that job's */
	struct iod_attempt attempt; /* ... the job's place in the queue */
	int set_aside_for;         /* the error of the last LEG_STATE that said degraded, or 0 */
	bool dead;                 /* the primary: looked for since it was found dead (reopen-primary.c) */
	bool mistaken;             /* what was found under its name last is another storage (H2) */
	bool splitting;            /* the split under way takes it */
	bool buried;               /* an image that was let go is closed */
	int image_error;           /* ... and is not whole */
	struct dray_storage *storage; /* changed by the holder of the verb right, under iod->lock, on the I/O thread */
	struct dray_storage_info info;
	/* v->wait_lock */
	bool let_go;               /* the engine said LEG_DETACHED */
	bool stopped;              /* the engine said PAUSED since this was cleared */
	/* its I/O thread */
	int index;                 /* the engine's, or DRAY_NO_LEG */
	struct dray_storage *io;   /* where its operations go; NULL: they fail */
	struct iod_disk *disks[IOD_DISKS_OF_LEG]; /* that `io` is on */
	unsigned n_disks;
	int map_fd;                /* of its link with the present primary, or -1 */
	uint64_t look_after_ns;    /* whether it is dead is not looked at before this */
};

struct iod_op;

/* What lives on the I/O thread. */
struct iod_vio {
	struct dray_vol *vol; /* NULL: the primary is not open */
	struct iod_tick tick;
	struct iod_leg *legs[DRAY_MAX_LEGS];
	struct iod_op *free_ops;
	struct dray_list deferred; /* operations that failed before they began */
	int bad_fd;                /* the list of bad ranges, or -1: the volume never had a secondary */
	uint64_t ticked_ns;
	uint64_t next_ns;          /* by the loop's clock: it is looked after by then */
	uint64_t beat_ns;          /* ... and for the sake of operations under way by then (vio.c); 0: none are */
	uint64_t ahead_ns;         /* the engine's clock is this far ahead of the loop's (orderly stop) */
	unsigned busy;             /* operations that the engine waits for */
	bool touched, in_hook;
	bool eventful;             /* the engine told something since this was cleared */
	struct dray_list news_node; /* in thread->news */
	bool fast_zero;            /* every leg has it */
	struct iod_disk *disks[2 * IOD_DISKS_OF_LEG]; /* of all legs that are open */
	unsigned n_disks;
	uint32_t number;           /* by which the disks know the volume; not 0 */
	uint64_t switch_token;     /* of the switch under way */
	struct iod_inbox *inbox;   /* that is told its answers; NULL: none */
	unsigned inbox_number;
};

struct iod_volume {
	struct iod *iod;            /* fixed */
	struct iod_thread *thread;  /* fixed */
	struct dray_list node;      /* iod->lock, as all that follows to the next heading */
	struct iod_volume_def def;
	struct dray_list change_node; /* in iod->news.by_change, once it is listed */
	uint64_t change;              /* the last one; 0: it is not listed */
	uint64_t told;                /* a hash of what was last told, where DRAY_CHECK_LIST wants it */
	uint64_t epoch;
	unsigned primary;           /* leg id */
	unsigned let_go;            /* id of the primary before, if the last switch let it go; else 0 */
	char token[IOD_TOKEN_MAX + 1];
	int64_t blackout_us, suspended_us; /* of the last switch in this life; -1: unknown */
	struct iod_leg *legs[2 * IOD_LEGS_MAX];
	unsigned n_legs;
	unsigned refs;              /* exports in use, verbs, openers */
	unsigned exports;           /* of them, exports in use: a client is being let in, is there, or just left */
	bool taken;                 /* the verb right */
	bool limits_unsaved;        /* its holder's: volume.json has others than are in force */
	bool adding;                /* by volume.add, which may still be refused: not listed */
	bool served, removed, in_doubt;
	bool refused;               /* not brought up: the agent knows of a newer state (seen.h) */
	bool accepted;              /* somebody vouches for its primary, too (volume.accept) */
	char reason[480];           /* why it is not served */
	struct iod_attempt starting; /* its place in the queue of those that are brought up */
	atomic_uint clients;

	/* v->wait_lock */
	pthread_mutex_t wait_lock;
	pthread_cond_t wait_cond;

	/* its I/O thread */
	struct iod_vio vio;
};

/* ---- registry (volume.c) ---- */

/* Finds a volume and takes a reference; NULL with err "not_found". */
struct iod_volume *iod_volume_get(struct iod *iod, const char *name, struct dray_error *err);
void iod_volume_put(struct iod_volume *v);
/* The verb right. -EBUSY "busy" if another verb keeps it for longer than `wait_ns`. */
int iod_volume_take(struct iod_volume *v, uint64_t wait_ns, struct dray_error *err);
void iod_volume_give(struct iod_volume *v);
/* The leg with this id, referenced; NULL with err "not_found". */
struct iod_leg *iod_volume_leg(struct iod_volume *v, unsigned id, struct dray_error *err);
void iod_leg_put(struct iod_leg *leg);

/* Makes a volume in memory (not yet in the registry), on the least loaded thread; `def`'s contents are taken over. */
struct iod_volume *iod_volume_new(struct iod *iod, struct iod_volume_def *def);
void iod_volume_register(struct iod_volume *v);
/* Gives up a volume that no thread refers to: the last reference frees it. */
void iod_volume_unregister(struct iod_volume *v);
/* Adds a leg in memory; `def` is taken over. NULL: no memory or no slot. iod->lock is taken inside. */
struct iod_leg *iod_volume_leg_add(struct iod_volume *v, struct iod_leg_def *def);
/* Takes it off the volume; frees it with the last reference. */
void iod_volume_leg_drop(struct iod_leg *leg);
/* Writes volume.json without the forgotten legs. The verb right is held. */
int iod_volume_save(struct iod_volume *v, struct dray_error *err);
void iod_volume_reason(struct iod_volume *v, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void iod_leg_error(struct iod_leg *leg, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ---- storage of a leg (legs.c); a job's thread, the verb right is held unless said ---- */

/* Opens the leg's storage (may block long; the right need not be held): checks size, block size and, if `expected`, the
 * identity recorded. */
int iod_leg_open(struct iod_leg *leg, bool primary, uint64_t lock_wait_ns, bool expected, struct dray_storage **st,
	struct dray_error *err);
/* How long a new leg's lock is waited for: others hold it for a moment when they look what it is. */
#define IOD_LOCK_WAIT UINT64_C(1000000000)
/* An open failed with `rc`: if the storage is held because it is a leg of this process, says so: -EEXIST "exists". */
int iod_leg_held_by_us(const struct iod_leg *leg, const struct dray_storage_options *options, int rc,
	struct dray_error *err);
/* Where is the device that was recorded, now that names may have moved (H2)? Fills leg->path. 0: as recorded, or found by its
 * identity elsewhere, or it is no device; -ESTALE "not_accessible": its name is another storage's, and none has its identity;
 * -ENOENT "not_found": neither is there. May block shortly. */
int iod_leg_locate(struct iod_leg *leg, struct dray_error *err);
/* Opens a new leg's storage. Where def->identity says what the caller saw under its name (in the boot def->boot_id): it has to be that,
 * under whatever name it has now; one without an identity that outlives a boot has to have been seen in this one, or be
 * vouched for by who calls. -ESTALE "not_accessible". */
int iod_leg_open_new(struct iod_leg *leg, bool primary, bool vouch, struct dray_storage **st, struct dray_error *err);
/* Keeps in the leg's definition what was found under its name. Not durable before iod_volume_save. */
void iod_leg_record(struct iod_leg *leg, const struct dray_storage_info *info);
/* Hands an open storage to the leg (on the I/O thread). */
void iod_leg_install(struct iod_leg *leg, struct dray_storage *st);
/* An attempt of a job (iod_leg_try) to have it opened. The right is not held, and taken when the storage is open: that may take long, and other
 * verbs don't wait for it. Then `offer` is asked, which installs it, or not: then it is closed. Returns whether no further attempt is needed. */
enum iod_offered { IOD_TAKEN, IOD_NOT_YET, IOD_NOT_WANTED };
bool iod_leg_try_open(struct iod_leg *leg, bool primary, uint64_t lock_wait_ns,
	enum iod_offered (*offer)(struct iod_leg *leg, struct dray_storage *st));
/* Takes it away: flushes if `flush`, detaches from the loop and closes. The engine must not use it any more. Returns the
 * flush's error. */
int iod_leg_close(struct iod_leg *leg, bool flush);
/* Forgets a secondary durably and asks the engine to let go of it. After an error it is there as before. */
int iod_leg_forget(struct iod_leg *leg, struct dray_error *err);
/* Waits until the engine has let go of a forgotten leg, closes it, removes its maps and drops it. `flush`: its contents are to
 * be kept; -EIO ... "flush_failed" then means that they may not be. The verb right need not be held. */
int iod_leg_bury(struct iod_leg *leg, bool flush, struct dray_error *err);
/* The same storage as another leg's of this process, or an export of this process? -EEXIST "exists", "self_export". */
int iod_leg_check_other(struct iod *iod, const struct iod_leg *leg, const char *identity, struct dray_error *err);
int iod_leg_check_self(struct iod *iod, const char *resource, struct dray_error *err);

/* ---- the life of a volume (bring-up.c) ---- */

/* Opens what can be opened, makes the engine, serves. The verb right is held, iod->lock is not. `fresh`: a new volume: the
 * primary alone, no waiting for locks. After failure nothing is open, and `reason` says why. */
int iod_volume_start(struct iod_volume *v, bool fresh, struct dray_error *err);
/* The volume has a list of bad ranges from now on; its name is durable with the next iod_volume_save. The verb right is held. */
int iod_volume_need_bad(struct iod_volume *v, struct dray_error *err);
/* Hands a new secondary, open and installed, to the engine, with its map file (taken over; -1: none). */
int iod_leg_attach_new(struct iod_leg *leg, struct iod_leg *primary, bool known_zero, int map_fd,
	struct dray_error *err);
/* dray_vol_leg_retry on the I/O thread. */
int iod_leg_retry(struct iod_leg *leg);
/* Has the volume brought up, for as long as it takes. */
void iod_volume_start_later(struct iod_volume *v);
/* Has a secondary that is not open opened, for as long as it takes. The leg must be known to the engine. */
void iod_leg_open_later(struct iod_leg *leg);
/* Has `run` (attempts.h; of leg->attempt) tried, unless something of the leg is being tried already. */
void iod_leg_try(struct iod_leg *leg, bool (*run)(struct iod_attempt *at), uint64_t pause_ns, uint64_t pause_most_ns);
/* It could not be opened, and why; -ESTALE: another storage has its name. */
void iod_leg_not_open(struct iod_leg *leg, int rc, const char *why);
/* iod->lock is held. Its storage is being tried, and there is hope still: not given up, though the engine holds it. */
bool iod_leg_hopeful(const struct iod_leg *leg);
/* No client is there. Waits until the engine is quiet (at most `wait_ns`), has the maps recorded, frees it and closes the
 * legs. false: something is still under way, nothing was freed. */
bool iod_volume_stop(struct iod_volume *v, bool record, uint64_t wait_ns);

/* ---- reopen.c ---- */
/* Its I/O thread, inside an engine's call: a leg that was set aside has nothing under way any more. */
void iod_leg_settled(struct iod_leg *leg);
/* The verb right is held. Closes the storage of a leg that was set aside, if nothing is under way on it; whether it did. What it had not flushed
 * is dirty then. */
bool iod_leg_close_degraded(struct iod_leg *leg);

/* A job's thread. It may be dead, though nothing failed on it: if it is, it is set aside, and looked for. */
void iod_leg_suspect(struct iod_leg *leg);

/* ---- neighbours.c ---- */
enum iod_looked { IOD_ALIVE, IOD_DEAD_FILE, IOD_DEAD_DEVICE, IOD_CLOSED, IOD_UNWANTED };
/* The verb right is held, iod->lock is not. It is a leg of a volume that is served. */
bool iod_leg_wanted(const struct iod_leg *leg);
/* A job's thread, without the verb right, which is taken for a moment. Whether the leg's storage is dead (storage/dead.h), and *device: what it is on,
 * where it is. IOD_ALIVE also where that can't be told; IOD_CLOSED: it is not open; IOD_UNWANTED: nobody wants it any more. Blocks. */
enum iod_looked iod_leg_look(struct iod_leg *leg, uint64_t *device);
/* iod->lock is held. It is open, and if it were dead, it could be found again. */
bool iod_leg_may_be_looked_for(const struct iod_leg *leg);
/* A job's thread. A leg on that device was found dead: the others on it are suspected. */
void iod_neighbours_suspect(struct iod_leg *dead, uint64_t device);

/* ---- reopen-primary.c ---- */
/* A job's thread. As iod_leg_suspect, of a primary. */
void iod_primary_suspect(struct iod_leg *leg);
/* Its I/O thread, outside of the engine's calls: an operation failed on the leg. If it is the primary, it is looked at whether it is dead. */
void iod_primary_failed(struct iod_leg *leg, int error);

/* ---- the I/O thread's part (vio.c); all on the volume's I/O thread ---- */

/* Has the engine know the time; call before every dray_vol_ call. */
void iod_vio_enter(struct iod_volume *v);
void iod_vio_init(struct iod_volume *v);
/* The engine, without legs, with the volume's limits. `bad_slots`: as in dray_vol_config. */
int iod_vio_new(struct iod_volume *v, const void *const *bad_slots);
/* Attaches `leg` to the engine. Sets leg->index. */
int iod_vio_attach(struct iod_volume *v, struct iod_leg *leg, const struct dray_leg_config *config);
/* Call when a leg's storage came or went. */
void iod_vio_refresh(struct iod_volume *v);
/* Nothing is under way. */
void iod_vio_free(struct iod_volume *v);
/* The map file changes hands at a switch (engine indices). */
void iod_vio_swap_link(struct iod_volume *v, int old_primary, int new_primary);
bool iod_vio_quiet(struct iod_volume *v);

/* ---- events.c ---- */
void iod_volume_event(struct iod_volume *v, const struct dray_event *ev);
/* Waits until the engine has set `*flag` (a leg's let_go or stopped), or the process is to stop: false. A job's thread. */
bool iod_volume_wait(struct iod_volume *v, const bool *flag);
/* A queue of the engines' answers, read by the job that drives a switch (group.c). */
enum iod_answer { IOD_PREPARED, IOD_DRAINED, IOD_SEALED, IOD_RESUMED, IOD_IN_DOUBT };
void iod_inbox_put(struct iod_inbox *inbox, unsigned member, enum iod_answer what, int error, uint64_t blackout_ns,
	uint64_t suspended_ns);

/* ---- the NBD back end (export.c) ---- */
extern const struct dray_nbd_backend_ops iod_export_ops;

/* ---- describe.c: a volume as JSON ---- */
/* NULL: no memory. */
json_t *iod_volume_json(struct iod_volume *v);
/* `limits` are in force; the rate may be another one than is recorded. */
json_t *iod_limits_json(const struct dray_copy_limits *limits, uint64_t recorded_rate);
const char *iod_leg_state_name(enum dray_leg_state state);

#endif
