/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The work on the files of generations, which may take long, on a thread for each session: cloned, placed, removed (storage/clone.h). The thread knows
 * its orders alone; what comes of them is told to generation.c in the core's thread, and nothing is recorded here.
 */
#ifndef DRAY_AGENT_CLONES_H
#define DRAY_AGENT_CLONES_H

#include "agent/agent.h"

enum clones_kind {
	CLONES_MAKE,   /* all parts from their working images; after an error none is left */
	CLONES_PLACE,  /* all parts get their names; after an error none of them is left, and no part either */
	CLONES_REMOVE, /* each for itself */
};

struct clones_file {
	unsigned pair;
	size_t generation; /* REMOVE: which of the session's (its time) */
	char *from, *expected, *part, *path, *identity; /* what each kind needs; identity is found by MAKE */
	uint64_t length;   /* MAKE: what `from` has to have at least; 0: not known */
	uint64_t rate;     /* MAKE: clones_pace */
	bool shared;
	int rc;            /* REMOVE */
	struct dray_error err;
};

struct clones {
	enum clones_kind kind;
	struct clones_file *files;
	size_t n;
	int rc;            /* of all */
	struct dray_error err;
};

/* A file more: texts are copied, NULL is allowed. */
void clones_add(struct clones *order, unsigned pair, size_t generation, const char *from, const char *expected, const char *part, const char *path,
	const char *identity);
/* Starts it; takes over the files. false: there is no place or no thread for it now, and nothing is taken. One at a time for a session. */
bool clones_start(struct job *job, struct clones *order);
bool clones_run(const struct job *job, enum clones_kind *kind);
/* Tells it the rates that are in force now, and what applications do. */
void clones_pace(struct job *job);
/* What holds the file of this pair back, which is being copied, in dray-iod's words for a copy: "rate"; "window", it gives way to the application of
 * the pair's own volume; "neighbour", to another's; "storage", nothing of these. NULL: it is not being copied. */
const char *clones_bound(const struct job *job, const struct dray_pair *p);
/* What runs is told to stop; its end is told as ever. */
void clones_cancel(struct job *job);
/* The core's: hands over what is done to generation_worked. */
void clones_step(struct agent *a);
/* Waits a moment for them. */
void clones_stop(struct agent *a);

#endif
