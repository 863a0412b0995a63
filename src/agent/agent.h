/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The agent's inside: what its files share. Nobody outside this folder includes it.
 *
 * One thread, the core, owns everything here: sessions, repository, the connection to dray-iod. Requests of the API come from other
 * threads as `struct api_call` through a queue (api.h) and are answered by the core.
 *
 * How a session is driven. There are no scripts of steps that could be cut short. What is wanted is in the record (state,
 * pause reasons, goal, intent); what is so is in dray-iod's list of volumes. agent_wake() compares the two for every pair and
 * starts the one next call that leads from here to there; when that is answered, or anything else happens, it is called
 * again. After a kill of either program, or a lost answer, the same comparison goes on from whatever is found.
 *
 *   observe.c   what dray-iod says -> copying, synced, failed, progress
 *   schedule.c  who may run -> queued, starting (pure)
 *   pair.c      the next call of one pair
 *   switch.c    switch, undo and split of several pairs: an intent, one call, an outcome
 *   change.c    the checked setter: every change of state is one transaction with its event, recorded before it is acted on
 *
 * A pair with a call under way is left alone, and is judged only by a list that was asked for after its last call was
 * answered: an older list may show the world as it was before.
 */
#ifndef DRAY_AGENT_AGENT_H
#define DRAY_AGENT_AGENT_H

#include "agent/config.h"
#include "agent/iod_client.h"
#include "agent/rate.h"
#include "base/error.h"
#include "base/list.h"
#include "repo/repo.h"
#include "session/session.h"
#include "vehicle/vehicle.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define MS UINT64_C(1000000)
#define SECOND UINT64_C(1000000000)
#define NEVER UINT64_MAX
#define ACTOR_SELF "drayd"

struct api;
struct api_call;
struct hooks;
struct retirement;
struct job;
struct queue;
struct settings;
struct supervisor;

/* What a pair is on its way to, beyond what its state says. Recorded. */
enum pair_goal {
	GOAL_NONE,
	GOAL_CANCEL, /* legs let go, then canceled and unlocked */
	GOAL_COMMIT, /* the way back given up, then committed and unlocked */
	GOAL_FINISH, /* a split is done: the hidden volume removed, then completed and unlocked */
	GOAL_HALT,   /* failed at its start: legs let go; stays failed */
	GOAL_COUNT
};

#define RUN_LEGS 9 /* targets of a pair, and its source */

struct pair_run {
	struct job *job;
	unsigned index; /* into job->s->pairs */

	/* recorded in the session's `work` */
	enum pair_goal goal;
	bool pause_detach;     /* pause --detach */
	char actor[32];        /* who set the goal */

	/* memory only */
	bool touched;          /* by the change under way (change.c) */
	uint64_t recorded;     /* a hash of what was last recorded, where DRAY_CHECK_RECORD wants it; 0: none */
	const struct dray_vehicle *vehicle; /* NULL until chosen */
	unsigned busy;         /* calls under way */
	uint64_t list_needed;  /* judged only by a list of this number or later */
	struct dray_pair_view view;
	bool view_valid;
	struct retirement *retirement; /* under way (retire.c), or NULL */
	uint64_t retire_at;    /* monotonic: look again whether it can be begun */
	uint64_t retry_at, backoff; /* monotonic; after a failed call */
	uint64_t unserved_since; /* monotonic: it is to start, and its volume is not served; 0: it is */
	bool record_failed;    /* its start could not be recorded: to be halted */
	char op_error[240];    /* why the last call failed, for a waiting verb */
	struct rate_window window;
	uint64_t share_rate, share_in_flight; /* of the session's and the agent's limits, while it transfers */
	struct dray_limits pushed; /* as last told to dray-iod */
	bool pushed_valid;
	struct leg_trouble {
		uint64_t since;  /* monotonic; 0: none */
		uint64_t copied; /* by the leg, then; UINT64_MAX: not known */
		unsigned retries;
	} trouble[RUN_LEGS]; /* of the targets, then, after a switch, the old source (trouble.c) */
	uint64_t source_told_at, elsewhere_told_at;
	bool verifying, verify_asked, verify_repair;
	unsigned verify_sample, verify_step; /* asked for; of the one that runs */
	char incarnation[40];  /* of dray-iod, when the counters below began */
	uint64_t base_copied, base_skipped, base_recopied; /* of earlier incarnations of dray-iod */
	uint64_t last_copied, last_skipped, last_recopied;
};

struct job {
	struct dray_list node; /* agent.jobs, in order of submission */
	struct agent *agent;
	struct dray_session *s;
	struct pair_run *runs; /* s->n_pairs */
	bool *pick;            /* s->n_pairs: scratch for choosing some of them */
	char *saved_document;  /* the head as last committed: what memory goes back to when a record fails */

	/* a switch, undo or split under way, or with an unknown outcome (also recorded as an intent) */
	char *token;
	char switch_kind[8];       /* "switch", "undo", "split" */
	char intent_incarnation[40];
	uint64_t counted_at;       /* monotonic: when the counters were last recorded */
	bool switch_called;        /* the call is under way */
	uint64_t switch_retry_at;  /* monotonic: ask again for an unknown outcome; next automatic attempt */
	char switch_error[240];    /* why the last one failed, for a waiting verb */
};

/* A verb that waits until it is done. */
struct waiter {
	struct dray_list node;
	struct api_call *call;
	struct job *job;
	enum dray_verb verb;
	bool *pairs;      /* s->n_pairs: which it concerns */
	json_t *not_done; /* ids of pairs that the verb could not be applied to, or NULL */
	uint64_t deadline; /* monotonic; NEVER */
};

struct agent {
	struct agent_config *config;
	struct dray_repo *repo;
	struct iod *iod;
	struct supervisor *supervisor;
	struct dray_rpc rpc;
	struct dray_list jobs, waiters, parked; /* parked: calls answered with their session after the next wake-up */
	struct dray_list gated; /* calls that wait for a list of volumes newer than they are */
	struct dray_list retirements; /* that have a thread */
	struct queue *queue; /* of calls from the API's threads */
	struct settings *settings;
	struct hooks *hooks;
	struct api *api;
	char host_id[40], agent_id[40], incarnation[40], boot_id[40];
	int64_t started; /* seconds since 1970 */
	uint64_t now;    /* monotonic ns, read once per turn of the loop */

	bool wake_wanted, stopping;
	uint64_t wake_at;       /* monotonic: the timer */
	int exit_code;

	/* dray-iod's volumes */
	json_t *volumes;        /* the last list, or NULL */
	char volumes_by[40];    /* incarnation of the dray-iod that said so */
	uint64_t lists_asked, list_number; /* number of the last list asked for; of the one in `volumes` */
	uint64_t list_viewed;   /* of the one that the pairs' views were made from: an answer may come between the two */
	bool list_wanted, list_under_way;
	uint64_t list_at;       /* monotonic: the next poll */
	json_t *seen;           /* name -> {uuid, epoch}: as in the repository (H9) */

};

/* ---- core.c ---- */
/* Runs until told to end. `a` has its config. Returns the exit status; err is set where it is not 0. */
int agent_run(struct agent *a, struct dray_error *err);
void agent_wake(struct agent *a); /* ask for a wake-up at the end of this turn */
void agent_wake_by(struct agent *a, uint64_t when);
void agent_refresh(struct agent *a); /* ask for a new list of volumes */
uint64_t mono_now(void);
int64_t wall_ms(void);

/* ---- job.c ---- */
/* Takes over `s`. NULL: no memory. */
struct job *job_new(struct agent *a, struct dray_session *s);
void job_free(struct job *job);
/* By id, else the live session of that name, else the newest. NULL: none. */
struct job *job_find(struct agent *a, const char *id_or_name);
/* Some pair may still change, or its source is to be retired by itself: the name is taken. */
bool job_live(const struct job *job);
/* It is live, or a retire was asked for: there is still something to do. */
bool job_open(const struct job *job);
struct dray_pair *run_pair(struct pair_run *run);
/* What is recorded of a run beside its pair, and back. New reference. */
json_t *run_work(const struct pair_run *run);
void run_work_load(struct pair_run *run, const json_t *work);
/* The document as it is answered: output keys and the agent's additions. New reference. */
json_t *job_document(const struct job *job, bool details);
/* switch.when as it is in force (H19; the default of a copy). */
enum dray_when job_when(const struct job *job);
bool pair_offline(const struct dray_pair *p);
bool pair_pause_wanted(const struct job *job, const struct dray_pair *p);

/* ---- change.c ---- */
struct change {
	struct agent *a;
	struct job *job;
	const char *actor;
	struct dray_error err; /* set by the first failure; later steps do nothing */
	struct change_event *events;
	struct change_pair *pairs;
	size_t n_events, n_pairs;
};
/* Begins a transaction. A change that could not begin can still be "made": change_end tells. */
void change_begin(struct change *c, struct agent *a, struct job *job, const char *actor);
/* Call it before anything of this pair or its run that must not be forgotten is set by hand; the functions below call it. */
void change_touch(struct change *c, struct pair_run *run);
/* The checked setter. The text becomes the pair's reason (NULL: none) and the event's detail. */
void change_pair(struct change *c, struct pair_run *run, enum dray_pair_state to, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
void change_event(struct change *c, unsigned pair, const char *event, const char *before, const char *after,
	const char *fmt, ...) __attribute__((format(printf, 6, 7)));
void change_session_reason(struct change *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void change_goal(struct change *c, struct pair_run *run, enum pair_goal goal);
void change_unlock(struct change *c, struct pair_run *run);
void change_intent(struct change *c, const char *kind, const char *members);
void change_intent_end(struct change *c, const char *outcome);
/* Records everything; 0 when it is durable. On failure memory is as it was at change_begin, and c->err says why. */
int change_end(struct change *c);
/* For those who record without a change (submit.c): inside a transaction. `*saved` gets the text, to become saved_document once it
 * is durable; free it otherwise. */
int job_record_head(struct job *job, char **saved, struct dray_error *err);
int run_record(struct pair_run *run, struct dray_error *err);
void job_check_record(struct job *job);
/* An event of no session: its own transaction. */
void agent_event(struct agent *a, const char *actor, const char *event, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* Events were recorded: those who follow them, and hooks, are told. */
void agent_events_changed(struct agent *a);
void set_text(char **into, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ---- observe.c ---- */
void observe_all(struct agent *a);
/* Records the counters of what moves, now and then, so that a restart does not begin them again. */
void observe_record(struct agent *a);
/* The view may be judged: fresh, and no call is under way. */
bool run_settled(const struct pair_run *run);
bool volume_trusted(const struct agent *a, const struct dray_pair_view *view, const char *name, char *why, size_t size);

/* ---- pair.c ---- */
void pair_step(struct pair_run *run);
void pair_fail(struct pair_run *run, bool halt, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void agent_schedule(struct agent *a);

/* ---- limits.c ---- */
void limits_push(struct agent *a);

/* ---- switch.c ---- */
void switch_wake(struct job *job);
/* 0, or why not (kind "not_synced" ...) with nothing changed. `pairs`: which. `accept_bad`: bad ranges, as they are now, may be left behind,
 * whatever the document says. */
int switch_begin(struct job *job, const char *kind, const bool *pairs, bool accept_bad, const char *actor, struct dray_error *err);

/* ---- due.c ---- */
/* Begins the switch that is due, if one is. */
void switch_due(struct job *job);
/* Gives the goal to those whose commit is due. */
void commit_due(struct job *job);
/* Whether switch.window lets a switch be begun now; `*opens`: when it does. */
bool switch_in_window(const struct job *job, time_t *opens);
/* What a synchronized session waits for: false if for nothing but a person. */
bool switch_waits(const struct job *job, char *why, size_t size);

/* ---- raise.c ---- */
void raise_call(struct agent *a, struct api_call *call);

/* ---- verbs.c ---- */
void verb_call(struct agent *a, struct job *job, enum dray_verb verb, struct api_call *call);
/* The call is answered when the verb is done for these pairs (s->n_pairs, malloc'ed, taken over). */
void verb_wait(struct job *job, enum dray_verb verb, struct api_call *call, bool *pairs);
void waiters_check(struct agent *a);
/* Answers all waiting calls: the agent stops. */
void waiters_stop(struct agent *a);

/* ---- submit.c ---- */
void submit_call(struct agent *a, struct api_call *call);
void set_call(struct agent *a, struct job *job, struct api_call *call);

/* ---- startup.c ---- */
/* Opens the repository, finds out whether the host was rebooted, loads all sessions, checks locks and intents. */
int agent_load(struct agent *a, struct dray_error *err);

/* ---- api_*.c ---- */
void api_dispatch(struct agent *a, struct api_call *call);

#endif
