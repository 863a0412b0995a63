/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Vehicles: ways to move the bytes of a pair.
 *
 * A vehicle is a table: what it can do, a probe that says whether it can do it for this pair, and calls. The agent decides
 * what is to happen and keeps the record of it; a vehicle only knows how it is done. All calls are asynchronous: they
 * end in exactly one `done`, later, never inside the call, on the agent's thread. Each is safe to repeat after an
 * answer was lost: what is already so is a success, and legs are found again by their tag.
 *
 * A pair's legs are known to dray-iod by the tag "SESSION/PAIR/TARGET" (target counts from 0), and an offline pair runs on
 * a hidden volume "SESSION.PAIR".
 */
#ifndef DRAY_VEHICLE_VEHICLE_H
#define DRAY_VEHICLE_VEHICLE_H

#include "base/error.h"
#include "session/session.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* `err` NULL: success, with what came back (borrowed). err->code -ENOTCONN: the answer is lost, and with it the outcome; all
 * other errors mean that it was not done. */
typedef void dray_vehicle_done(void *arg, const struct dray_error *err, json_t *result);

/* The way to dray-iod, given by the agent. */
struct dray_rpc {
	/* Steals `params`. */
	void (*call)(struct dray_rpc *rpc, const char *method, json_t *params, dray_vehicle_done *done, void *arg);
};

/* ---- probing ---- */

/* What the agent found out about a pair before anything is touched. */
struct dray_vehicle_facts {
	bool online;          /* the source is a dray volume */
	bool iod_ready;       /* dray-iod answers */
	unsigned n_targets;
	enum dray_mode mode;
	uint64_t size_bytes;  /* of the source; 0: not known */
};

struct dray_vehicle_offer {
	bool possible;
	unsigned rank;  /* auto takes the highest: storage-side 30, kernel or hypervisor 20, host copy 10 */
	char why[160];  /* why not; or what it would do */
};

/* ---- what a pair looks like in dray-iod ---- */

struct dray_leg_view {
	bool found;
	int leg;
	char state[16];
	bool primary, synced, paused, held, degraded;
	bool set_aside; /* because it was asked for: tracked only */
	uint64_t size_bytes, dirty_bytes, doubt_bytes, done_bytes, copied_bytes, skipped_bytes, recopied_bytes;
	uint64_t unsettled;
	char error[200]; /* or "" */
	const char *identity; /* of the storage, or "": not known. Borrowed from the view's volume */
	bool verify_seen, verify_running;
	uint64_t verify_compared_bytes, verify_skipped_bytes, verify_differing_bytes, verify_repaired_bytes;
	json_t *verify_ranges; /* of the view's volume, or NULL */
};

struct dray_pair_view {
	json_t *volume;            /* what it was taken from: a reference of its own; NULL: there is none */
	bool found;                /* the volume exists */
	bool served, suspended, in_doubt;
	char why_not_served[160];
	char uuid[64];
	uint64_t size_bytes, epoch, predicted_blackout_us;
	uint64_t bad_bytes, bad_behind_bytes; /* can't be read; of them, what a switch would leave behind */
	uint64_t trouble_bytes;    /* can't be read now, and is tried again */
	char source_error[80];     /* why, or "" */
	const json_t *bad_ranges;  /* borrowed from the volumes observed, or NULL */
	char bound[12];            /* what keeps the copy from going faster: rate in_flight steps window storage, or "": nothing, or not known */
	uint64_t paced_bytes, rate_now; /* what the rate counts; the one that is kept to, DRAY_UNKNOWN: none */
	int primary_target;        /* index of the target that is the primary; -1: the source is */
	struct dray_leg_view source;
	struct dray_leg_view *targets; /* n_targets of them; owned by the view */
	size_t n_targets;
};
void dray_pair_view_free(struct dray_pair_view *view);

/* What the copy of one pair keeps to: its shares of what is limited. DRAY_UNKNOWN: no limit. */
struct dray_vehicle_limits {
	uint64_t rate, in_flight, step, steps, app_latency_ns, leg_timeout_ns;
	uint64_t io_level; /* of its reads and writes, in the class best effort (base/prio.h); DRAY_UNKNOWN: as the application's */
	uint64_t rate_now; /* kept to in the place of `rate`, until it is told anew; the same as `rate`: nothing is lent */
};

/* One member of a group switch. */
struct dray_switch_member {
	const char *volume;
	int leg;        /* the leg that takes over */
	uint64_t epoch; /* of the volume, now */
	bool force;     /* even if it lacks something: the one that serves now is given up */
	uint64_t accept_bad_bytes; /* so many bytes that can't be read may be left behind */
};

/* ---- the table ---- */

struct dray_vehicle {
	const char *name, *what;
	bool online, offline, can_pause, checkpoint, limits, verify, remote;
	bool own_switch; /* it switches by itself, at a moment of its own */
	bool group;      /* its pairs can be switched with others at one instant */
	bool undo;

	/* Required. */
	void (*probe)(const struct dray_vehicle_facts *facts, struct dray_vehicle_offer *offer);
	/* Required. The name of the volume in dray-iod that the pair runs on (malloc'ed). */
	char *(*volume_name)(const struct dray_session *s, const struct dray_pair *p);
	/* Required. Makes ready what the legs hang on: the hidden volume of an offline pair. */
	void (*prepare)(struct dray_rpc *rpc, const struct dray_session *s, const struct dray_pair *p, dray_vehicle_done *done,
		void *arg);
	/* Required. Starts the transfer to one target. */
	void (*start)(struct dray_rpc *rpc, const struct dray_session *s, const struct dray_pair *p, size_t target,
		dray_vehicle_done *done, void *arg);
	/* Required. Fills `view` from the volume that the pair runs on, as dray-iod lists it, or NULL: it is not there. 0 or -ENOMEM. */
	int (*observe)(json_t *volume, const struct dray_session *s, const struct dray_pair *p,
		struct dray_pair_view *view);
	/* Required where can_pause. `detach`: with paused: track only. */
	void (*pause)(struct dray_rpc *rpc, const struct dray_pair *p, int leg, bool paused, bool detach,
		dray_vehicle_done *done, void *arg);
	/* Required. Goes on with a leg that was given up, from what is there. */
	void (*retry)(struct dray_rpc *rpc, const struct dray_pair *p, int leg, dray_vehicle_done *done, void *arg); /* p->vouched counts */
	/* Required where limits. DRAY_UNKNOWN lifts. */
	void (*set_limits)(struct dray_rpc *rpc, const struct dray_pair *p, const struct dray_vehicle_limits *limits, dray_vehicle_done *done,
		void *arg);
	/* Required where verify. sample: 1 = all. */
	void (*verify_start)(struct dray_rpc *rpc, const struct dray_pair *p, int leg, unsigned sample, bool repair,
		dray_vehicle_done *done, void *arg);
	/* Required where verify. Ends one that runs; none runs: success. */
	void (*verify_stop)(struct dray_rpc *rpc, const struct dray_pair *p, int leg, dray_vehicle_done *done, void *arg);
	/* Required where group. All members or none; the same token again gives the first one's outcome. `commit`: there is to
	 * be no way back: the old sources are let go, as images of that instant. */
	void (*switch_group)(struct dray_rpc *rpc, const struct dray_switch_member *members, size_t n, uint64_t deadline_ns,
		bool commit, const char *token, dray_vehicle_done *done, void *arg);
	/* Required where group. Lets all targets of the members go as images of one instant. `legs`: leg ids of each member,
	 * ended by -1. `keep`: they are not let go, but set aside, to be gone on with by `pause`. */
	void (*split_group)(struct dray_rpc *rpc, const struct dray_switch_member *members, const int (*legs)[9], size_t n,
		uint64_t deadline_ns, bool keep, const char *token, dray_vehicle_done *done, void *arg);
	/* Required where group. What became of a token. */
	void (*switch_status)(struct dray_rpc *rpc, const char *token, dray_vehicle_done *done, void *arg);
	/* Required where undo. Gives up the way back. */
	void (*commit)(struct dray_rpc *rpc, const struct dray_pair *p, int leg, dray_vehicle_done *done, void *arg);
	/* Required. Lets one target go; the source is not touched, the target's bytes stay. */
	void (*cancel)(struct dray_rpc *rpc, const struct dray_pair *p, int leg, dray_vehicle_done *done, void *arg);
	/* Required. Removes what `prepare` made. */
	void (*cleanup)(struct dray_rpc *rpc, const struct dray_session *s, const struct dray_pair *p, dray_vehicle_done *done,
		void *arg);
};

/* NULL: no such vehicle. */
const struct dray_vehicle *dray_vehicle_find(const char *name);
/* Ended by NULL. */
const struct dray_vehicle *const *dray_vehicles(void);
/* The vehicle for `name` ("auto": the best offer), or NULL with the reasons in err. */
const struct dray_vehicle *dray_vehicle_choose(const char *name, const struct dray_vehicle_facts *facts,
	struct dray_error *err);
/* "auto host", for messages. Static. */
const char *dray_vehicle_words(void);
/* "volume:NAME" -> NAME; NULL: an offline source. */
const char *dray_source_volume(const struct dray_resource *source);
/* The tag of a target's leg, malloc'ed. */
char *dray_vehicle_tag(const struct dray_session *s, const struct dray_pair *p, size_t target);

extern const struct dray_vehicle dray_vehicle_host;

#endif
