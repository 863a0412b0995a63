/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The session document, as the agent works with it.
 *
 * A document is kept in two forms at once: `doc`, the JSON object as submitted (values print as submitted), and the
 * parsed fields below, which the agent acts on. Output keys are not in `doc`; session_print adds them from the
 * fields. Reading and printing are pure: no clock, no files, no storage. Everything is owned by the session and
 * freed by dray_session_free; strings are never NULL unless said.
 */
#ifndef DRAY_SESSION_SESSION_H
#define DRAY_SESSION_SESSION_H

#include "session/generations.h"
#include "session/moments.h"
#include "session/state.h"
#include "session/problem.h"
#include "session/timetable.h"
#include "session/window.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define DRAY_UNKNOWN UINT64_MAX /* printed as null */

enum dray_mode { DRAY_MODE_MOVE, DRAY_MODE_COPY };
enum dray_verify { DRAY_VERIFY_NONE, DRAY_VERIFY_SAMPLE, DRAY_VERIFY_FULL };
enum dray_start { DRAY_START_NOW, DRAY_START_TIME, DRAY_START_AFTER, DRAY_START_EVENT, DRAY_START_EVERY };
enum dray_when { DRAY_WHEN_MANUAL, DRAY_WHEN_SYNCED, DRAY_WHEN_PAIR, DRAY_WHEN_TIME, DRAY_WHEN_EVENT };
enum dray_commit { DRAY_COMMIT_MANUAL, DRAY_COMMIT_SWITCHED, DRAY_COMMIT_AFTER };
enum dray_on_error { DRAY_ON_ERROR_PAIR, DRAY_ON_ERROR_SESSION };
enum dray_on_failure { DRAY_ON_FAILURE_WAIT, DRAY_ON_FAILURE_FAIL };
enum dray_create { DRAY_CREATE_NONE, DRAY_CREATE_THIN, DRAY_CREATE_FULL };
enum dray_format { DRAY_FORMAT_AUTO, DRAY_FORMAT_RAW };
enum dray_pause_reason { DRAY_PAUSE_USER = 1, DRAY_PAUSE_WINDOW = 2, DRAY_PAUSE_MAX_DURATION = 4, DRAY_PAUSE_ERROR = 8 };

struct dray_limits { /* DRAY_UNKNOWN: not given */
	uint64_t active_pairs, rate, in_flight, app_latency_ns, step, steps;
	uint64_t host_active_pairs, host_in_flight; /* of the pairs whose vehicle is host; of a session only */
	struct dray_timetable *rate_table; /* or NULL; where it is, `rate` is for the agent to set as it says */
};

struct dray_resource {
	char *resource;          /* path, URI, or "volume:NAME" */
	uint64_t offset, length; /* length 0: all of it */
	bool slice;
};

struct dray_target {
	struct dray_resource at;
	bool copy_role; /* the first target is the successor */
	char *template; /* of a periodic session: the path of a generation, with {time}; `at` is the working image. Else NULL */
	/* filled by the agent */
	int iod_leg;            /* -1: not attached */
	char *identity;         /* or NULL */
	char *made;             /* identity of the working image that was made; or NULL */
	char state[16];         /* leg state word, or "" */
	uint64_t dirty_bytes;
	char *error;            /* or NULL */
};

/* The storage that a pair's data came from, as it was when the session was submitted: what a retire acts on, long after
 * the volume has let it go. */
struct dray_origin {
	char *resource;          /* or NULL: not known */
	uint64_t offset, length; /* both 0: all of it */
	char *identity;          /* or NULL */
	char *boot;              /* the host's boot id then: some identities don't outlast it */
};

enum dray_retired_state { DRAY_RETIRED_NO, DRAY_RETIRED_PENDING, DRAY_RETIRED_DONE, DRAY_RETIRED_FAILED };

/* How far its retire has come (retired.c). */
struct dray_retired {
	enum dray_retired_state state;
	char *how;               /* the word, or NULL */
	bool automatic;          /* after the commit, because the document says so */
	time_t time;             /* of its begin; then of its end */
	char *reason;            /* why it failed, or waits; or NULL */
	char *name;              /* what the source is called now; NULL: as before */
	char *step, *path;       /* as storage/retire.h has them, or NULL */
	uint64_t bytes_done, bytes_total; /* DRAY_UNKNOWN */
	char *plan;              /* of a dry run; not saved */
};

struct dray_progress {
	uint64_t bytes_total, bytes_done, bytes_copied, bytes_skipped, bytes_recopied, rate, eta_seconds;
	uint64_t dirty_rate; /* bytes per second made dirty again */
};

struct dray_pair {
	unsigned id; /* 1.. : its place in the document; printed as a string "1" ... */
	struct dray_resource source;
	struct dray_target *targets;
	size_t n_targets;
	bool targets_as_list; /* as submitted */
	char *vehicle;        /* "auto" or a name, as submitted */
	char *vehicle_chosen; /* or NULL */
	struct dray_limits limits;
	bool overwrite;
	enum dray_create create;
	bool needs_room;      /* of a periodic session: room for all of the working image is checked, although it is made thin */
	enum dray_format format; /* raw: the source's bytes are meant, even if they look like a disk image */

	/* state */
	enum dray_pair_state state;
	unsigned pause_reasons;
	char *reason; /* why it waits, failed, ...; or NULL */
	char *phase;  /* "verifying" (while synced), or NULL */
	struct dray_progress progress;
	uint64_t dirty_bytes, blackout_us, predicted_blackout_us; /* DRAY_UNKNOWN */
	json_t *bad_ranges;     /* what can't be read: [{offset, length, lost}], or NULL */
	uint64_t bad_bytes;     /* DRAY_UNKNOWN */
	bool switch_forced;     /* intent of an undo: although the source lacks something */
	json_t *undo_lost;      /* {bytes, ranges}: what it lacked, of the last forced undo; or NULL */
	uint64_t accept_bad_bytes; /* intent of a switch: so many may be left behind */
	char *verified;         /* "clean", "differs", or NULL: not verified */
	json_t *verification;   /* the last one or the one that runs, as it is shown (agent/verify.c), or NULL */
	char *iod_volume;       /* the volume it runs on in dray-iod, or NULL */
	uint64_t epoch_before;  /* intent of a switch (H9) */
	char *switch_token;     /* or NULL */
	char *source_identity;  /* of an offline source, as it was checked; or NULL */
	char *source_place, *target_place; /* what they were found to lie on, the first target it is: for estimates of later ones; or NULL */
	bool vouched;           /* an operator's retry: it stands for names that are good for one boot only (H2). Not saved */
	json_t *holds;          /* what the source was found to hold: {what, type, uuid, table, table_uuid}, or NULL */
	int reverse_leg;        /* after the switch: the old source's leg; -1 */
	unsigned switch_attempts; /* automatic ones that failed, one after the other */
	time_t switched_at;     /* 0: not switched */
	struct dray_origin origin;
	struct dray_retired retired;
	void *agent;            /* the agent's own, not saved */
};

struct dray_session {
	json_t *doc;
	struct dray_lines *lines; /* of doc's text, or NULL (reader.h) */
	char *name, *id; /* id "" until assigned */
	unsigned priority; /* 1..9 */
	enum dray_start start;
	time_t start_time;       /* of DRAY_START_TIME */
	uint64_t start_after_ns; /* of DRAY_START_AFTER */
	char *start_event;       /* of DRAY_START_EVENT, else NULL or any */
	uint64_t every_ns;       /* of DRAY_START_EVERY, with those below */
	int at;                  /* minutes of the day; -1: not given */
	unsigned keep;
	uint64_t hook_timeout_ns;
	unsigned hook_failure;   /* the place of its word: 0 is split, 1 skip */
	struct dray_windows window;
	uint64_t max_duration_ns; /* or DRAY_UNKNOWN */
	struct dray_limits limits;
	enum dray_mode mode;
	bool checkpoint;
	uint64_t leg_timeout_ns;
	enum dray_verify verify;
	bool verify_repair;
	enum dray_when when;
	time_t when_time;    /* of DRAY_WHEN_TIME */
	char *when_event;    /* of DRAY_WHEN_EVENT, else NULL or any */
	struct dray_windows switch_window;
	uint64_t deadline_ns;
	unsigned attempts;
	enum dray_on_failure on_failure;
	enum dray_commit commit;
	uint64_t commit_after_ns;
	unsigned retire; /* the place of its word: 0 is none */
	bool partial, accept_bad_ranges;
	enum dray_on_error on_error;
	struct dray_pair *pairs;
	size_t n_pairs;
	bool pair_tables; /* the rate of some pair is a timetable */

	/* state */
	enum dray_session_state state; /* derived: dray_session_aggregate */
	struct dray_generations generations;
	bool held_by_undo;             /* an undo set switch.when to manual (H19) */
	bool event_seen;               /* the event of switch.when came */
	bool start_event_seen;         /* the event of start came */
	time_t start_at;               /* not before; 0: nothing of that kind is said */
	uint64_t ran_ms;               /* of max_duration, up to run_since_ms */
	int64_t run_since_ms;          /* since when it counts, since 1970; 0: it does not just now */
	time_t scheduled_at;           /* since when it waits for its start under these rules; 0: it does not */
	time_t created, started, finished; /* 0: not yet */
	unsigned pause_reasons;
	char *reason;                  /* or NULL */
	char *boot_id;                 /* the boot in which its resources were checked, or NULL */
	json_t *warnings;              /* [{pointer, code, detail}], or NULL: none */
	uint64_t seq;                  /* order of submission */
	void *agent;
};

/* Reads a document in YAML or JSON. All problems are collected in `problems` (pointer, line, value, code, what is legal): unknown
 * keys, keys not supported yet (code "unsupported"), wrong types, wrong units, missing keys. 0 and a session, or -EINVAL and at least
 * one problem. `strict_output`: output keys are refused (except id), as `dray start` does; else ignored, as `dray apply`.
 *
 * With -EINVAL `*session` is NULL if the document can't be read at all (codes syntax and too_large). Else it is what is right of the
 * document, to be freed as any: its resources can be looked at too, so that everything wrong is told at once. It must never be
 * run. What was wrong has its default; a resource that was wrong or missing is "", targets that were are none. */
int dray_session_parse(const char *text, size_t len, bool strict_output, struct dray_session **session,
	struct dray_problems *problems);
/* The same from JSON already read. Does not steal `doc`. */
int dray_session_from_json(const json_t *doc, bool strict_output, struct dray_session **session,
	struct dray_problems *problems);
/* Gives problems that were found later, by their pointers, the lines of the text that the session was parsed from. */
void dray_session_add_lines(const struct dray_session *session, struct dray_problems *problems);
void dray_session_free(struct dray_session *session);

/* Checks and sets one key by its dotted name ("limits.rate", "priority", "switch.when", or "pairs.2.limits.rate" of a pair by its id), in the
 * document and the fields. Which keys can be changed in a running session is decided here; others are problems. `value` is a JSON value or a string in YAML
 * flow form. All or nothing per call. */
int dray_session_set(struct dray_session *session, const char *key, const char *value, struct dray_problems *problems);
/* The id of the pair that such a key is about; 0: it is about the session. */
unsigned dray_session_key_pair(const char *key);

/* What `wanted`, a changed document of the same session, asks for: `*keys` is an object of dotted keys and values for dray_session_set (new
 * reference, perhaps empty), `*pair_limits`: limits of pairs differ. 0, or -1: something differs that can't be changed; each is a problem. */
int dray_session_compare(const struct dray_session *now, const struct dray_session *wanted, json_t **keys, bool *pair_limits,
	struct dray_problems *problems);
/* Gives pair `i` the limits that it has in `from`, which gets the old ones. false: they are the same. */
bool dray_session_take_pair_limits(struct dray_session *session, struct dray_session *from, size_t i);

/* Of a periodic session. */
struct dray_moments dray_session_moments(const struct dray_session *session);
/* When the pair is committed by itself, switch.commit being a duration; 0: it is not. */
time_t dray_pair_commit_due(const struct dray_session *session, const struct dray_pair *pair);
/* ---- retired.c ---- */
/* `pending` `done` ... Static. */
const char *dray_retired_word(enum dray_retired_state state);
/* The word of switch.retire. Static. */
const char *dray_retire_how(const struct dray_session *session);
/* Frees what is in it, and begins it anew. */
void dray_retired_clear(struct dray_retired *retired);
void dray_origin_clear(struct dray_origin *origin);
/* As the document shows it; NULL: nothing to show. */
json_t *dray_retired_json(const struct dray_retired *retired);
/* For the repository. NULL: nothing to keep. */
json_t *dray_retired_save(const struct dray_pair *pair);
void dray_retired_load(const json_t *saved, struct dray_pair *pair);

/* A name that events may have. */
#define DRAY_EVENT_LEGAL "1 to 64 of the characters A-Z a-z 0-9 . _ -"
bool dray_event_name_good(const char *name);

/* The document completed with its output keys; `details` false: without `pairs`. New reference. */
json_t *dray_session_to_json(const struct dray_session *session, bool details);
/* The same as YAML text (malloc'ed), keys in the document's order. */
char *dray_session_to_yaml(const struct dray_session *session);
/* Any JSON as YAML text (malloc'ed). */
char *dray_yaml_from_json(const json_t *json);

/* For the repository: everything, the fields of state included, and back. */
json_t *dray_session_save(const struct dray_session *session);
int dray_session_load(const json_t *saved, struct dray_session **session);
/* The same in parts, so that a change of one pair need not write the others: the head has no pairs; a pair has its part of the
 * document, too. `pairs` is an array of all of them, in order. New references; -EINVAL: they are not what was saved. */
json_t *dray_session_save_head(const struct dray_session *session);
json_t *dray_pair_save(const struct dray_session *session, size_t index);
int dray_session_load_parts(const json_t *head, const json_t *pairs, struct dray_session **session);

/* Adds to what the document warns of. The same pointer, code and detail again: nothing new, false. */
bool dray_session_warn(struct dray_session *session, const char *pointer, const char *code, const char *detail_fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* The one setter of a pair's state, checked against the transition table: 0 (also if it is in that state already), or -EPROTO
 * and nothing changed. */
int dray_pair_become(struct dray_pair *pair, enum dray_pair_state state);
/* The session's state from its pairs (docs/states.md), pause reasons and start. Does not set it. */
enum dray_session_state dray_session_aggregate(const struct dray_session *session);
/* The same for a caller who has counted how many pairs are in each state. */
enum dray_session_state dray_session_aggregate_counts(const struct dray_session *session, const unsigned count[]);

#endif
