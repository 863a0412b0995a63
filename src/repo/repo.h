/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The repository: what the agent must not forget.
 *
 * Sessions, locks, events, intents and what was last seen of the volumes. SQLite is behind it, and SQL is in no
 * other room. The agent's memory is a cache of it: a change is made here first, in one transaction, and is
 * durable when dray_repo_commit has returned 0.
 *
 * A repository belongs to one thread. Strings handed to an `each` function are valid during that call only; an `each` function
 * may not call into the repository, and stops the walk by returning non-zero (which is then returned).
 * Functions that change something must be between dray_repo_begin and dray_repo_commit; all give 0 or a negative errno: -EIO,
 * -ENOSPC, -EROFS ... as SQLite reports the storage, or what is named at the function. After any failure
 * the caller rolls the transaction back.
 */
#ifndef DRAY_REPO_REPO_H
#define DRAY_REPO_REPO_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

struct dray_repo;

/* Opens (makes, upgrades) the repository in the file `path`. -EBUSY: another process uses it and does not let go;
 * -EPROTO: it was made by a newer dray; -EUCLEAN: the file is damaged. */
int dray_repo_open(struct dray_repo **repo, const char *path, struct dray_error *err);
/* Rolls an open transaction back. NULL is allowed. */
void dray_repo_close(struct dray_repo *repo);

/* Takes the write lock at once, so that what is read inside is what is changed. Not nested. */
int dray_repo_begin(struct dray_repo *repo, struct dray_error *err);
/* Durable on 0. On failure nothing of the transaction is kept and it is over. */
int dray_repo_commit(struct dray_repo *repo, struct dray_error *err);
void dray_repo_rollback(struct dray_repo *repo);

/* How many operations failed since it was opened, by the storage or the database: not what was refused. */
uint64_t dray_repo_errors(const struct dray_repo *repo);

/* ---- sessions ---- */

struct dray_repo_session {
	uint64_t seq; /* order of submission; given by dray_repo_session_add */
	const char *id, *name;
	const char *state;    /* the session's state, a word */
	bool live;            /* not over: its name is taken */
	bool open;            /* the agent has something to do with it still, at the least if it is live */
	int64_t finished;     /* seconds since 1970; 0: not over */
	const char *document; /* JSON text: the document and its state, without the pairs */
	const char *work;     /* JSON text: the agent's own notes */
	const char *summary;  /* JSON text: what a list shows of one that is over; NULL: not known */
};

/* A new session; sets row->seq. -EEXIST with kind "id_used" (an id is used once for ever, whatever became of its session)
 * or "name_used" (a live session has that name). */
int dray_repo_session_add(struct dray_repo *repo, struct dray_repo_session *row, struct dray_error *err);
/* Replaces all but seq, id and name. -ENOENT: no such session. */
int dray_repo_session_save(struct dray_repo *repo, const struct dray_repo_session *row, struct dray_error *err);
typedef int dray_repo_session_each(void *arg, const struct dray_repo_session *row);
/* In order of submission. */
int dray_repo_sessions(struct dray_repo *repo, dray_repo_session_each *each, void *arg, struct dray_error *err);
/* Those that are open, in order of submission. */
int dray_repo_sessions_open(struct dray_repo *repo, dray_repo_session_each *each, void *arg, struct dray_error *err);
/* -ENOENT: no such session. */
int dray_repo_session_get(struct dray_repo *repo, const char *id, dray_repo_session_each *each, void *arg,
	struct dray_error *err);
/* The newest of that name. -ENOENT: no such session. */
int dray_repo_session_named(struct dray_repo *repo, const char *name, dray_repo_session_each *each, void *arg,
	struct dray_error *err);
/* Those that are not open, submitted after the one with seq `after`, of one state or (NULL) of any, at most so many: from the newest
 * or from the oldest on. `document` and `work` are empty: what there is to show is `summary`. */
int dray_repo_summaries(struct dray_repo *repo, const char *state, uint64_t after, uint64_t most, bool newest,
	dray_repo_session_each *each, void *arg, struct dray_error *err);
typedef void dray_repo_count_each(void *arg, const char *state, uint64_t n);
/* How many sessions that are not open there are in each state; how many pairs, of all sessions. */
int dray_repo_past_by_state(struct dray_repo *repo, dray_repo_count_each *each, void *arg, struct dray_error *err);
int dray_repo_pairs_by_state(struct dray_repo *repo, dray_repo_count_each *each, void *arg, struct dray_error *err);
/* Those that are not open, hold no locks and have no open intent, and are more than `keep` (the oldest of them), or ended before
 * `before` (seconds since 1970); the oldest first, at most so many at once. */
int dray_repo_sessions_to_remove(struct dray_repo *repo, uint64_t keep, int64_t before, unsigned most,
	dray_repo_session_each *each, void *arg, struct dray_error *err);
/* Removes a session that is not open, with its pairs, intents and events; its id stays used. -ENOENT: there is none. */
int dray_repo_session_remove(struct dray_repo *repo, const char *id, struct dray_error *err);
/* 1: the id was used, 0: never. */
int dray_repo_id_used(struct dray_repo *repo, const char *id, struct dray_error *err);

/* ---- pairs of a session, by its seq ---- */

struct dray_repo_pair {
	unsigned pair; /* its id: 1 .. */
	const char *state;    /* a word */
	const char *document; /* JSON text: what the document says of it, and its state */
	const char *work;     /* JSON text: the agent's own notes */
};
/* Adds or replaces it. */
int dray_repo_pair_save(struct dray_repo *repo, uint64_t session, const struct dray_repo_pair *row, struct dray_error *err);
typedef int dray_repo_pair_each(void *arg, const struct dray_repo_pair *row);
/* All of them, in order. */
int dray_repo_pairs(struct dray_repo *repo, uint64_t session, dray_repo_pair_each *each, void *arg, struct dray_error *err);

/* ---- locks ---- */

/* A lock covers the bytes start <= x < end of what `identity` names; the whole of it is 0 .. DRAY_REPO_END. */
#define DRAY_REPO_END INT64_MAX
struct dray_repo_lock {
	const char *identity, *resource; /* resource: as the document spells it */
	uint64_t start, end;
	const char *session;
	unsigned pair;
	const char *role; /* "source", "target", "volume" */
	int64_t since;    /* seconds since 1970 */
	/* Not the storage itself, but a thing that it lies on (the disk of a logical volume, the file system's device of a file): others may
	 * lie there, too, but nobody may have the thing itself. */
	bool lies_on;
};
typedef int dray_repo_lock_each(void *arg, size_t wanted, const struct dray_repo_lock *holder);

/* Takes all or none: -EBUSY if any overlaps a lock that exists (of whatever session; two with `lies_on` do not collide); `each` (may be
 * NULL) is then called for every collision, of those with what lies on the same thing for the first alone, with the index into `locks`, and
 * the caller rolls back. */
int dray_repo_locks_take(struct dray_repo *repo, const struct dray_repo_lock *locks, size_t n, dray_repo_lock_each *each,
	void *arg, struct dray_error *err);
/* Looks for collisions without taking anything. 0 or -EBUSY. */
int dray_repo_locks_check(struct dray_repo *repo, const struct dray_repo_lock *locks, size_t n, dray_repo_lock_each *each,
	void *arg, struct dray_error *err);
/* Frees the locks of one pair, or of the whole session (pair 0). None there: success. */
int dray_repo_locks_free(struct dray_repo *repo, const char *session, unsigned pair, struct dray_error *err);
/* All of them but those with `lies_on`, oldest first; `wanted` counts from 0. */
int dray_repo_locks(struct dray_repo *repo, dray_repo_lock_each *each, void *arg, struct dray_error *err);

/* ---- events ---- */

struct dray_repo_event {
	uint64_t seq;     /* given by dray_repo_event_add; never used again */
	int64_t time_ms;  /* since 1970 */
	const char *session; /* NULL: of no session */
	unsigned pair;       /* 0: of no pair */
	const char *event, *actor;
	const char *before, *after, *detail; /* or NULL */
};
int dray_repo_event_add(struct dray_repo *repo, struct dray_repo_event *event, struct dray_error *err);
typedef int dray_repo_event_each(void *arg, const struct dray_repo_event *event);
/* Events with seq > after, of one session or (NULL) of all, oldest first, at most `limit`. */
int dray_repo_events(struct dray_repo *repo, const char *session, uint64_t after, unsigned limit, dray_repo_event_each *each,
	void *arg, struct dray_error *err);

/* The number of the newest event, 0: there is none. */
int dray_repo_events_last(struct dray_repo *repo, uint64_t *seq, struct dray_error *err);

/* ---- intents: what was about to be done in dray-iod ---- */

struct dray_repo_intent {
	const char *token;   /* the token given to dray-iod */
	const char *session;
	const char *kind;    /* "switch", "undo", "split" */
	const char *members; /* JSON text */
	const char *outcome; /* NULL: not known yet */
	int64_t since;
};
/* -EEXIST: the token was used. */
int dray_repo_intent_add(struct dray_repo *repo, const struct dray_repo_intent *intent, struct dray_error *err);
/* -ENOENT: no such intent, or it has an outcome already. */
int dray_repo_intent_end(struct dray_repo *repo, const char *token, const char *outcome, struct dray_error *err);
typedef int dray_repo_intent_each(void *arg, const struct dray_repo_intent *intent);
/* Those without an outcome, oldest first. */
int dray_repo_intents(struct dray_repo *repo, dray_repo_intent_each *each, void *arg, struct dray_error *err);

/* ---- volumes: the highest epoch seen of each (H9) ---- */

struct dray_repo_volume {
	const char *name, *uuid;
	uint64_t epoch;
};
/* Keeps the higher of the epoch here and the one given; another uuid replaces all. */
int dray_repo_volume_seen(struct dray_repo *repo, const struct dray_repo_volume *volume, struct dray_error *err);
int dray_repo_volume_forget(struct dray_repo *repo, const char *name, struct dray_error *err);
typedef int dray_repo_volume_each(void *arg, const struct dray_repo_volume *volume);
int dray_repo_volumes(struct dray_repo *repo, dray_repo_volume_each *each, void *arg, struct dray_error *err);

/* ---- single values ---- */

/* Writes the value and its NUL into buf. -ENOENT: not set; -ENOSPC: it does not fit. */
int dray_repo_meta_get(struct dray_repo *repo, const char *key, char *buf, size_t size, struct dray_error *err);
int dray_repo_meta_set(struct dray_repo *repo, const char *key, const char *value, struct dray_error *err);

#endif
