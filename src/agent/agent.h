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
 * There may be ten thousand pairs, so a wake-up looks only at those for which something changed (run_wake, job_wake): whoever sets
 * something that may lead a pair further puts it on that list. Pairs of a session that are in one state are found by a bitmap
 * (job_each), never by walking through all.
 *
 *   wake.c      who is looked at in the next wake-up
 *   lists.c     what dray-iod says of its volumes
 *   observe.c   that -> copying, synced, failed, progress
 *   places.c    who may run -> queued, starting (pure)
 *   schedule.c  when a session may begin and transfer -> scheduled, queued; pause reasons
 *   pair.c      the next call of one pair
 *   generation*.c  the point-in-time copies of a periodic session
 *   switch.c    switch, undo and split of several pairs: an intent, one call, an outcome
 *   change.c    the checked setter: every change of state is one transaction with its event, recorded before it is acted on
 *
 * A pair with a call under way is left alone, and is judged only by a list that was asked for after its last call was
 * answered: an older list may show the world as it was before.
 */
#ifndef DRAY_AGENT_AGENT_H
#define DRAY_AGENT_AGENT_H

#include "agent/clock.h"
#include "agent/config.h"
#include "agent/iod_client.h"
#include "agent/rate.h"
#include "agent/places.h"
#include "agent/shares.h"
#include "base/bitmap.h"
#include "base/error.h"
#include "base/list.h"
#include "base/table.h"
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
struct audit;
struct split_hooks;
struct hooks;
struct metrics;
struct retirement;
struct job;
struct moment;
struct queue;
struct settings;
struct supervisor;

/* What a pair is on its way to, beyond what its state says. Recorded. */
enum pair_goal {
	GOAL_NONE,
	GOAL_CANCEL, /* legs let go, then canceled and unlocked */
	GOAL_COMMIT, /* the way back given up, then committed and unlocked */
	GOAL_FINISH, /* a split is done: what is left of legs let go, the hidden volume removed, then completed and unlocked */
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
	bool verify_asked, verify_repair; /* by the verb */
	unsigned verify_sample;

	/* memory only */
	bool touched;          /* by the change under way (change.c) */
	uint64_t recorded;     /* a hash of what was last recorded, where DRAY_CHECK_RECORD wants it; 0: none */
	uint64_t wake_at;      /* monotonic: its moment (wake.c); 0: none */
	struct dray_list unlisted_node; /* in agent.unlisted while list_needed has not come */
	char *watched;         /* the volume under whose name it is in agent.watchers, or NULL */
	struct pair_run *watch_next;
	bool news;             /* its volume changed since it was looked at */
	bool uncounted;        /* its counters changed since they were recorded */
	const struct dray_vehicle *vehicle; /* NULL until chosen */
	unsigned busy;         /* calls under way */
	uint64_t list_needed;  /* judged only by a list of this number or later: run_needs_list */
	struct dray_pair_view view;
	bool view_valid;
	struct retirement *retirement; /* under way (retire.c), or NULL */
	uint64_t retire_at;    /* monotonic: look again whether it can be begun */
	uint64_t retry_at, backoff; /* monotonic; after a failed call */
	uint64_t unserved_since; /* monotonic: it is to start, and its volume is not served; 0: it is */
	bool record_failed;    /* its start could not be recorded: to be halted */
	char op_error[240];    /* why the last call failed, for a waiting verb */
	char *refusal;         /* of what its start asked for last, or NULL; believed once a newer list shows that it is not there (pair.c) */
	size_t refusal_target; /* the target that was to be attached; n_targets: it was the source's volume */
	struct rate_window window, dirtied_window;
	struct copied { /* speeds.c */
		uint64_t began;      /* monotonic: when it got its place; 0: not known */
		uint64_t from, then; /* since when nothing limits its copy (monotonic; 0: it is not copied), and what was copied then */
		struct speed_place *place; /* of its source, by which it is counted while it is copied; or NULL */
		uint64_t beside, looks; /* how many were copied there, itself included: the sum over all looks since then */
		uint64_t active;     /* the agent's pairs, when it got its place */
	} copied;
	uint64_t speed;        /* bytes a second, as far as limits let it be seen (eta.c); 0: it was not */
	bool held;             /* by a limit of the rate, when it was looked at last: it would be faster */
	uint64_t dirtied, seen_dirty, seen_moved; /* written by applications to what is not mirrored; of the last look */
	/* of the session's and the agent's limits, while it transfers (limits.c): its share of a rate, and what it has while others can't use theirs */
	uint64_t share_rate, share_rate_now, share_in_flight;
	enum share_by rate_by, in_flight_by;
	uint64_t rate_need;    /* what it can use of a rate; 0: not known */
	struct need_measure {
		uint64_t at_ns, bytes, list;
	} measured;
	struct push {          /* of its limits, to dray-iod (limits.c) */
		struct dray_vehicle_limits last; /* as told, or being told */
		bool valid, under_way;
		uint64_t again_at, backoff; /* monotonic; after a failed one */
	} push;
	struct leg_trouble {
		uint64_t since;  /* monotonic; 0: none */
		uint64_t copied; /* by the leg, then; UINT64_MAX: not known */
		unsigned retries;
		bool seen;       /* in a list of volumes */
	} trouble[RUN_LEGS]; /* of the targets, then, after a switch, the old source (trouble.c) */
	uint64_t source_told_at, elsewhere_told_at;
	bool verifying;
	size_t verify_leg;     /* that is being compared (verify.c) */
	bool verify_done; /* the one that was asked for last has its verdict */
	char verify_ended[64]; /* by what the last one was ended, for who waited for it; or "" */
	char incarnation[40];  /* of dray-iod, when the counters below began */
	uint64_t base_copied, base_skipped, base_recopied; /* of earlier incarnations of dray-iod */
	uint64_t last_copied, last_skipped, last_recopied;
};

/* The agent's own, as they are shared out. */
struct agent_limits {
	uint64_t rate, in_flight, step, steps, app_latency_ns, host_in_flight;
};

struct job {
	struct dray_list node; /* agent.jobs, in order of submission */
	struct agent *agent;
	struct dray_session *s;
	struct pair_run *runs; /* s->n_pairs */
	bool *pick;            /* s->n_pairs: scratch for choosing some of them */
	struct dray_bitmap in[DRAY_PAIR_STATE_COUNT]; /* which pairs are in which state: job_each */
	struct dray_bitmap with_goal;  /* which have one, or are being verified */
	struct dray_bitmap retiring, retiring_itself; /* whose retire is pending; of these, by the document (run_note_retire) */
	unsigned n_online;
	unsigned n_comparing;          /* pairs that are being verified */
	uint64_t brought;              /* bytes that got onto targets, seen since the start: of all pairs, also of those that were soon over */
	struct rate_window brought_window; /* of that, twice a second */
	struct dray_list compare_node; /* in agent.comparing, while there are any */
	struct dray_bitmap look, looking; /* in the next wake-up; in this one */
	struct dray_list look_node;    /* in agent.looks */
	struct dray_list over_node;    /* in agent.over, while it is over and in memory still */
	uint64_t used_at;              /* monotonic: when it was last asked for, being over */
	bool looked, look_again;       /* in this wake-up; in the next one, too */
	uint64_t wake_at;              /* monotonic: its moment (wake.c); 0: none */
	struct run_count { /* of max_duration: what s->run_since_ms means by the clock that only runs forward (schedule.c) */
		int64_t since_ms, before_ms;
		uint64_t from;
	} run_count;
	struct places_session places;
	unsigned pause_seen;           /* the session's pause reasons, at the last look */
	bool moves;                    /* counted in agent.moving */
	struct shared_limits {         /* limits.c: what was last shared out */
		struct dray_limits limits;
		uint64_t leg_timeout_ns;
		struct agent_limits agent;
		uint64_t together;
	} limits_seen;
	bool limits_stale;             /* its pairs that only keep up have yet to be told */
	bool recording;                /* its head is part of the record under way (change.c) */
	size_t check_next;             /* the next pair that job_check_record looks at */
	char *new_document;
	char *saved_document;  /* the head as last committed: what memory goes back to when a record fails */

	/* a switch, undo or split under way, or with an unknown outcome (also recorded as an intent) */
	char *token;
	char switch_kind[8];       /* "switch", "undo", "split", or "moment": a split for a generation */
	char intent_incarnation[40];
	uint64_t counted_at;       /* monotonic: when the counters were last recorded */
	bool switch_called;        /* the call is under way */
	uint64_t switch_retry_at;  /* monotonic: ask again for an unknown outcome; next automatic attempt */
	char switch_error[240];    /* why the last one failed, for a waiting verb */

	struct split_hooks *split_hooks; /* of a generation, that run; or NULL */
	unsigned generation_consent;     /* of one that was asked for by hand */
	uint64_t generation_at;          /* monotonic: after a failure, not before */
	time_t failed_since;             /* some of its pairs are failed: retried at the first moment after this; 0: none is */
	uint64_t remove_at;              /* monotonic: what could not be removed is tried again; 0: there is nothing of that kind */
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
	unsigned long made; /* generations, when it began */
};

struct agent {
	struct agent_config *config;
	struct dray_repo *repo;
	struct iod *iod;
	struct supervisor *supervisor;
	struct clock *clock;
	struct dray_rpc rpc;
	struct dray_table jobs_by_id, jobs_by_name; /* name: the newest of them that is in memory */
	struct dray_list jobs, waiters, parked; /* parked: calls answered with their session after the next wake-up */
	struct dray_list gated; /* calls that wait for a list of volumes newer than they are */
	struct dray_list retirements; /* that have a thread */
	struct dray_list clones;      /* likewise, of generations (clones.c) */
	unsigned split_hooks;         /* jobs that have some */
	struct queue *queue; /* of calls from the API's threads */
	struct settings *settings;
	struct hooks *hooks;
	struct audit *audit;
	struct metrics *metrics;
	struct api *api;
	char host_id[40], agent_id[40], incarnation[40], boot_id[40];
	int64_t started; /* seconds since 1970 */
	uint64_t now;    /* monotonic ns, read once per turn of the loop */

	bool wake_wanted, stopping, iod_was_up;
	uint64_t wake_at;       /* monotonic: the next turn of the agent's own (agent_turn_by) */
	uint64_t sweep_at;      /* monotonic: all are looked at */
	struct dray_list over;  /* jobs that are over and in memory still (past.c) */
	bool past_stale;        /* past_pairs are to be counted anew */
	uint64_t past_pairs[DRAY_PAIR_STATE_COUNT]; /* of sessions that are over (api_status.c) */
	uint64_t retention_at;  /* monotonic: past sessions are looked through */
	struct dray_list looks; /* jobs to be looked at in the next wake-up */
	struct moment *moments; /* a heap (wake.c) */
	size_t n_moments, room_moments;
	struct places places;     /* who may transfer */
	unsigned moving;        /* jobs of which something moves: dray-iod is asked often */
	struct dray_list comparing; /* sessions of which pairs are being verified */
	size_t n_comparing;     /* pairs, of all sessions */
	uint64_t needs_changed; /* of how many pairs what they can use of a rate changed: it grows */
	struct limits_basis {
		uint64_t changes, needs;
		struct agent_limits limits;
	} limits_basis;         /* what the shares of those that transfer were worked out from */
	struct dray_list soon;  /* changes that are recorded at the end of this wake-up (change.c) */
	struct {                /* what was done, since the start: /v1/status */
		uint64_t wakeups, sweeps, sessions, pairs, lists, volumes, commits, heads, rows, loads, summaries;
	} work;
	int exit_code;

	const char *iod_log_level; /* static: what dray-iod said, or was told last; NULL: not known */

	/* dray-iod's volumes */
	bool seen_changed;      /* `seen` is newer than STATE/volumes-seen */
	json_t *volumes;        /* name -> volume, as in the last list; NULL: none yet. volume_find */
	char volumes_by[40];    /* incarnation of the dray-iod that said so */
	uint64_t lists_asked, list_number; /* number of the last list asked for; of the one in `volumes` */
	uint64_t list_viewed;   /* of the one that the pairs' views were made from: an answer may come between the two */
	bool list_wanted, list_under_way;
	uint64_t list_at;       /* monotonic: the next poll */
	uint64_t list_asked_at; /* monotonic: since when dray-iod owes the answer that is under way */
	char list_cursor[80];   /* of the last answer; "": everything is wanted */
	json_t *list_told, *list_removed; /* pages of the answer under way: name -> volume; names. lists.c */
	bool list_all;          /* ... it is everything */
	uint64_t list_whole_at; /* monotonic: everything is asked for */
	struct dray_table watchers; /* volume -> its pair_runs, linked by watch_next */
	struct dray_list unlisted;  /* pair_runs that wait for a newer list */
	json_t *speeds, *fixed; /* what earlier copies took (speeds.c) */
	struct dray_table speed_places; /* name -> struct speed_place */
	bool speeds_stale;
	uint64_t speeds_at;     /* monotonic: when they may be recorded again */
	json_t *seen;           /* name -> {uuid, epoch}: as in the repository (H9) */

};

/* ---- core.c ---- */
/* Runs until told to end. `a` has its config. Returns the exit status; err is set where it is not 0. */
int agent_run(struct agent *a, struct dray_error *err);
/* dray-iod logs what the agent logs: told where it is connected and has another level. */
void agent_push_log_level(struct agent *a);

/* ---- wake.c ---- */
/* Have it looked at in the next wake-up, which is at the end of this turn: the pair (and with it its session); the session, with
 * what is of no single pair; the session and all its pairs that are not over. */
void run_wake(struct pair_run *run);
void job_wake(struct job *job);
void job_wake_pairs(struct job *job);
/* The same at that monotonic time, if not before. */
void run_wake_by(struct pair_run *run, uint64_t when);
void job_wake_by(struct job *job, uint64_t when);
/* Another turn, for calls that wait; looks at nothing. */
void agent_turn(struct agent *a);
void agent_turn_by(struct agent *a, uint64_t when);
/* The core's: when the next moment is; puts what is due on the list; takes a job off everything. */
uint64_t wake_next(const struct agent *a);
void wake_due(struct agent *a);
void wake_forget(struct job *job);

/* ---- job.c ---- */
/* Each `i` of the job's pairs that is in this state (DRAY_PAIR_ left out). It may change inside the loop. */
#define job_each(job, state, i) job_each_of(&(job)->in[DRAY_PAIR_##state], i)
#define job_each_of(bitmap, i)                                                               \
	for (size_t i = dray_bitmap_next_set(bitmap, 0); i != DRAY_BITMAP_NONE; i = dray_bitmap_next_set(bitmap, i + 1))
static inline size_t job_count(const struct job *job, enum dray_pair_state state)
{
	return job->in[state].nset;
}
/* After a change of its retired.state. */
void run_note_retire(struct pair_run *run);
/* Puts it among the agent's jobs. */
void job_enter(struct job *job);
/* Counts the pairs' states anew: after they were set by another than change_pair. */
void job_recount(struct job *job);
/* Takes over `s`. NULL: no memory. */
struct job *job_new(struct agent *a, struct dray_session *s);
void job_free(struct job *job);
/* ---- past.c ---- */
/* By id, else the live session of that name, else the newest, which is loaded if it is over. NULL: none. It stays for the rest of
 * this turn, and as long as calls of it are under way or wait; keep its id, not the pointer. */
struct job *job_find(struct agent *a, const char *id_or_name);
/* By id, without loading it: NULL: there is no such session, or it is over. May be used inside a walk through the repository. */
struct job *job_in_memory(const struct agent *a, const char *id);
/* The same as job_find, but only the id and the name (NULL: not wanted), malloc'ed. false: none. */
bool session_names(struct agent *a, const char *id_or_name, char **id, char **name);
/* At the start: those that are open. */
int past_load_open(struct agent *a, struct dray_error *err);
/* It is over: let go of when nobody uses it any more. */
void job_lingers(struct job *job);
/* At the end of a turn. */
void past_step(struct agent *a);
struct past_query {
	const char *state;  /* or NULL: any */
	uint64_t after;     /* seq: only later ones */
	size_t limit, past; /* at most so many in all (0: any number); of those that are over (SIZE_MAX: any number) */
	bool oldest_first;  /* where there are too many: the oldest are taken, else the newest */
};
/* The sessions without their pairs' details, in order of submission, as the text of a JSON array; those that are over as they were
 * summed up at their end. `left_out`: at least one more where it is not 0. */
int past_list(struct agent *a, const struct past_query *query, char **text, size_t *left_out, struct dray_error *err);
/* ---- retention.c ---- */
void retention_step(struct agent *a);
void retention_wake(struct agent *a);

/* ---- job.c ---- */
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
/* It makes generations. */
static inline bool job_periodic(const struct job *job)
{
	return job->s->start == DRAY_START_EVERY;
}
bool pair_offline(const struct dray_pair *p);
bool pair_pause_wanted(const struct job *job, const struct dray_pair *p);

/* ---- change.c ---- */
struct change {
	struct dray_list node; /* in agent.soon */
	struct agent *a;
	struct job *job;
	const char *actor;
	bool soon;
	void (*undone)(struct pair_run *run);
	struct dray_error err; /* set by the first failure; later steps do nothing */
	struct change_event *events;
	struct change_pair *pairs;
	unsigned *unlocks; /* ids of pairs, where it is kept for later */
	struct change_lock *locks;
	size_t n_events, n_pairs, n_unlocks, n_locks;
};
/* Begins a transaction. A change that could not begin can still be "made": change_end tells. */
void change_begin(struct change *c, struct agent *a, struct job *job, const char *actor);
/* The same for a change on which nothing depends before the end of the wake-up: change_end keeps it, and all those of one wake-up
 * are recorded together, before anything that was asked of dray-iod in it is sent. A pair with such a change takes no further
 * step before. If the record fails, `undone` (may be NULL) is called for each pair that was touched, after it was taken back. */
void change_begin_soon(struct change *c, struct job *job, const char *actor, void (*undone)(struct pair_run *run));
/* Records what was kept. change_end does so, too. */
void change_flush(struct agent *a);
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
/* One more lock for the pair, on a target that was made for it and had only a name before. Where it is locked already, by whomever, nothing
 * is changed. */
void change_lock(struct change *c, struct pair_run *run, size_t target, const char *identity);
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

/* ---- lists.c ---- */
/* Ask for a new list of volumes, at the end of this turn; and then the volumes that changed are news for their pairs. */
void agent_refresh(struct agent *a);
void list_ask(struct agent *a);
/* Whether dray-iod is there and owes no answer for seconds: one that hangs is connected all the same. */
bool iod_answers(const struct agent *a);
/* The connection is gone, or an answer was none. */
void list_lost(struct agent *a);
/* The volume of that name, or NULL. */
json_t *volume_find(const struct agent *a, const char *name);
/* Has the pairs of a volume judged again, though it has not changed. */
void volume_wake(struct agent *a, const char *name);
/* ---- observe.c ---- */
/* Takes the news of this pair, and judges it if it may be. */
void observe_run(struct pair_run *run);
/* Bytes a second of all its pairs, also of those that were over before they had a rate of their own; DRAY_UNKNOWN: not known, or nothing is to move now. */
uint64_t job_rate(const struct job *job);
/* It was asked of dray-iod, or is about to be: what an older list says does not count. */
void run_needs_list(struct pair_run *run);
void run_unwatch(struct pair_run *run);
/* Records the counters of what moves, now and then, so that a restart does not begin them again. */
void observe_record(struct job *job);
/* The view may be judged: fresh, and no call is under way. */
bool run_settled(const struct pair_run *run);
bool volume_trusted(const struct agent *a, const struct dray_pair_view *view, const char *name, char *why, size_t size);

/* ---- phase.c ---- */
/* What it is doing, a word; NULL: nothing. Static. */
const char *pair_phase(const struct pair_run *run);
const char *job_phase(const struct job *job);

/* ---- pair.c ---- */
void pair_step(struct pair_run *run);
void pair_fail(struct pair_run *run, bool halt, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* One that failed goes on from what is there. */
void pair_again(struct change *c, struct pair_run *run);
/* Whether it is in sync, and goes straight back to that when nothing holds it. */
bool run_resumes_synced(const struct pair_run *run);
/* How many of its pairs may transfer at once, by its own limits and the agent's; others, who have places, apart. */
uint64_t session_places(const struct agent *a, const struct dray_session *s);
/* The same of the session: its priority, its limit, `seq` its age. */
void job_place(struct job *job, uint64_t seq);
/* Its place among those that may transfer, or wait for it. */
void run_place(struct pair_run *run);
void agent_schedule(struct agent *a);
/* Why a queued pair waits, now: worked out when it is asked for. false: it is not queued. */
bool run_waits(const struct pair_run *run, char *why, size_t size);

/* ---- limits.c ---- */
/* A job is looked at: are its limits others? */
void limits_look(struct job *job);
/* What keeps the session (`p` NULL), or a pair of it, from moving anything although it could. false: nothing. */
bool limits_stop(const struct job *job, const struct dray_pair *p, char *why, size_t size);
/* Its view is a new one: what can it use of a rate? */
void limits_measure(struct pair_run *run);
/* Bytes a second at which the pair's working image may be cloned now; DRAY_UNKNOWN: no limit. */
uint64_t limits_of_clone(const struct job *job, unsigned pair);
/* Shares out what has to be, and tells the pairs that transfer. */
void limits_push(struct agent *a);
/* Tells those of a job that is looked at. */
void limits_push_job(struct job *job);
/* Whether dray-iod has what the pair may use: nothing of it is started before. Who has to wait is woken. */
bool limits_in_force(const struct pair_run *run);

/* ---- bound.c ---- */
/* What holds the pair back now, as the document shows it; NULL: it is not known, or it does not transfer. New reference. */
json_t *pair_bound(const struct pair_run *run);
/* The same of all its pairs that transfer or wait for a place: a list, the most first; NULL: there are none. New reference. */
json_t *job_bound(const struct job *job);

/* ---- switch.c ---- */
void switch_wake(struct job *job);
/* What the caller agrees to lose. FORCE, of an undo: the old source lacks something, and the target is given up. */
enum { SWITCH_ACCEPT_BAD = 1, SWITCH_FORCE = 2 };
/* 0, or why not (kind "not_synced" ...) with nothing changed. `pairs`: which. `consent`: ACCEPT_BAD: bad ranges, as they are now, may be left behind,
 * whatever the document says. */
int switch_begin(struct job *job, const char *kind, const bool *pairs, unsigned consent, const char *actor, struct dray_error *err);

/* Whether switch_begin would do it: 0, or why not. */
int switch_check(struct job *job, const char *kind, const bool *pairs, unsigned consent, struct dray_error *err);

/* ---- due.c ---- */
/* All pairs that are to be switched, or split, together are ready: which. */
bool switch_group_ready(const struct job *job, bool *pairs);
/* Begins the switch that is due, if one is. */
void switch_due(struct job *job);
/* Gives the goal to those whose commit is due. */
void commit_due(struct job *job);
/* Whether switch.window lets a switch be begun now; `*opens`: when it does. */
bool switch_in_window(const struct job *job, time_t *opens);
/* What a synchronized session waits for: false if for nothing but a person. */
bool switch_waits(const struct job *job, char *why, size_t size);

/* ---- schedule.c ---- */
/* A job is looked at: may it begin, may it transfer? */
void schedule_look(struct job *job);
/* Why it is paused, as far as the document says so. false: it is not, or somebody else knows. */
bool schedule_paused(const struct job *job, char *why, size_t size);
/* It is submitted, or its start is another one now: from when on it may begin. The same of its window. */
void schedule_start_anew(struct dray_session *s);
void schedule_window_anew(struct dray_session *s);
/* Whether it may begin now. */
bool schedule_may_begin(const struct dray_session *s);
/* At the agent's start: those that were to begin while it was away say so. */
void schedule_missed(struct agent *a);
/* Inside a change that may set its state: counts the time in which it runs, or not. */
void schedule_count(struct job *job);
/* Inside a change: max_duration counts anew. */
void schedule_count_anew(struct job *job);
/* The clock on the wall was set by so much (0: the host slept): what is counted by it begins anew, and test periods end by as much later. */
void schedule_clock_set(struct agent *a, int64_t by_ms);
/* A person lets it go on: max_duration counts anew. */
void schedule_resumed(struct dray_session *s);
/* In how many seconds of transfer max_duration will be used up; 0: there is none; below: it is. */
double schedule_left(const struct job *job);
/* What it waits for before it begins. false: for nothing. */
bool schedule_waits(const struct job *job, char *why, size_t size);
/* When one that has not begun will do so: now, if it may; 0: that is not known. */
time_t schedule_begins(const struct dray_session *s);
/* When it will begin, as far as that is known; 0: it is not, or it has begun. */
time_t schedule_due(const struct job *job);
/* Has it looked at again at that moment by the clock on the wall, or before. */
void job_wake_at_wall(struct job *job, time_t when);

/* ---- raise.c ---- */
void raise_call(struct agent *a, struct api_call *call);

/* ---- verbs.c ---- */
void verb_call(struct agent *a, struct job *job, enum dray_verb verb, struct api_call *call);

/* ---- waiting.c ---- */
/* Keeps the call until the verb is done for the pairs. Takes over `pairs` and `not_done` (may be NULL). */
void waiter_add(struct job *job, enum dray_verb verb, struct api_call *call, bool *pairs, json_t *not_done);
void waiters_check(struct agent *a);
/* Answers all waiting calls: the agent stops. */
void waiters_stop(struct agent *a);

/* ---- submit.c ---- */
void submit_call(struct agent *a, struct api_call *call);
/* set.c */
void set_call(struct agent *a, struct job *job, struct api_call *call);
void apply_call(struct agent *a, struct api_call *call);

/* ---- startup.c ---- */
/* Opens the repository, finds out whether the host was rebooted, loads all sessions, checks locks and intents. */
int agent_load(struct agent *a, struct dray_error *err);

/* ---- api_*.c ---- */
void api_dispatch(struct agent *a, struct api_call *call);

#endif
