/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The schema of the session document: one table, a row for each key.
 */
#ifndef DRAY_SESSION_SCHEMA_H
#define DRAY_SESSION_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum dray_key_type {
	DRAY_T_NAME,     /* char *: a session's name */
	DRAY_T_ID,       /* char *: a session's id */
	DRAY_T_PAIR_ID,  /* no field: the pair's place, as show prints it */
	DRAY_T_PRIORITY, /* unsigned */
	DRAY_T_BOOL,     /* bool */
	DRAY_T_WORD,     /* an enum: the place of the word in `words`; no field if `field` is DRAY_NO_FIELD */
	DRAY_T_SIZE,     /* uint64_t, bytes */
	DRAY_T_RATE,     /* bytes per second, or a timetable: of struct dray_limits */
	DRAY_T_COUNT,    /* uint64_t */
	DRAY_T_COUNT32,  /* unsigned */
	DRAY_T_DURATION, /* uint64_t, nanoseconds */
	DRAY_T_VERIFY,   /* a word, or a map of the rows below it */
	DRAY_T_WHEN,     /* a word, a time, or {event: NAME} */
	DRAY_T_START,    /* a word, a time, {after: DURATION}, {event: NAME}, or {every: DURATION ...} */
	DRAY_T_COMMIT,   /* a word, or a duration */
	DRAY_T_CLOCK,    /* int: a time of the day such as "02:00", in minutes */
	DRAY_T_WINDOWS,  /* struct dray_windows: a list of texts, or one */
	DRAY_T_EVENT,    /* char *: the name of an event */
	DRAY_T_VEHICLE,  /* char * */
	DRAY_T_SOURCE,   /* struct dray_resource */
	DRAY_T_TARGET,   /* resources, one or a list */
	DRAY_T_TEXT,     /* no field: read by the code of its map */
	DRAY_T_MAP,      /* the rows whose names begin with this one and a dot */
	DRAY_T_VEHICLES, /* the same, each of which is not given if it is left out; or none */
	DRAY_T_PAIRS,    /* the rows that begin with "pairs." */
	DRAY_T_LATER,    /* part of the document's language, not supported by this version */
};

enum {
	DRAY_K_REQUIRED = 1, /* in its map */
	DRAY_K_SET = 2,      /* can be changed while the session runs */
	DRAY_K_NONE = 4,     /* the word none is legal: not given */
	DRAY_K_POWER2 = 8,   /* a power of two */
	DRAY_K_SECTOR = 16,  /* a multiple of 512 */
};

#define DRAY_NO_FIELD SIZE_MAX

struct dray_key {
	const char *name; /* dotted; a pair's begin with "pairs." */
	enum dray_key_type type;
	unsigned flags;
	const char *words;  /* T_WORD: "a|b|c" */
	const char *legal;  /* for people; NULL: made from words */
	size_t field;       /* offset in the session, the pair, or for limits in the limits */
	uint64_t min, max;
	const char *left_out;      /* what it is that is left out, as one would write it. NULL: none where that is legal, the first word, false */
	const char *left_out_copy; /* the same of a session whose mode is copy; NULL: the same */
};

extern const struct dray_key dray_keys[];
extern const size_t dray_keys_n;

/* The row of `key` in the map `map` ("" is the document; "limits", "switch", "pairs", "pairs.limits" ...), or NULL. */
const struct dray_key *dray_key_find(const char *map, const char *key);
/* Whether the row is one of the map's own. */
bool dray_key_in_map(const struct dray_key *key, const char *map);
/* The supported keys of a map, "name, id or pairs". malloc'ed. */
char *dray_keys_legal(const char *map);
/* What a key is that is left out, `copy`: of a session whose mode is copy. malloc'ed; NULL: it has to be there, or is a map, or is just not there. */
char *dray_key_left_out(const struct dray_key *key, bool copy);
/* The key of the map that `word` was probably meant to be, or NULL. */
const char *dray_key_near(const char *map, const char *word);
/* Whether the agent writes this key itself: one that only show prints. */
bool dray_key_is_output(const char *key);

#endif
