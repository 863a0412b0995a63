/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Generations: the point-in-time copies that a periodic session has made, and the one that it is making.
 *
 * A generation is one instant of all volumes of the session, a file for each. What is here is the record: what the document shows, and by which
 * a file is told from any other before it is touched. The process is agent/generation.c's.
 */
#ifndef DRAY_SESSION_GENERATIONS_H
#define DRAY_SESSION_GENERATIONS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <time.h>

struct dray_session;

struct dray_generation_file {
	unsigned pair;  /* its id */
	char *path;
	char *part;     /* the path that it has until it is whole and durable; nobody else has such a name */
	char *identity; /* as storage/identity.h has it; NULL: it is not made yet */
};

struct dray_generation {
	time_t time;    /* the instant */
	bool complete;  /* all its files are there, durably */
	bool removing;  /* it is no generation any more: its files are being removed */
	bool left;      /* ... which was tried, and did not go; not on record */
	int quiesced;   /* by the hooks before the split: 1, 0: one of them failed, -1: there were none */
	int shared;     /* each of its files was made of its working image's blocks: 1, 0: they were copied, -1: not made yet, or of a record that does not say */
	struct dray_generation_file *files;
	size_t n_files;
};

enum dray_making_step {
	DRAY_MAKING_NOTHING,
	DRAY_MAKING_HOOKS, /* those before the split run */
	DRAY_MAKING_SPLIT, /* its intent is on record */
	DRAY_MAKING_CLONE, /* the working images are as of the instant, and are being cloned */
	DRAY_MAKING_PLACE, /* the clones are durable, and get their names */
	DRAY_MAKING_COUNT
};

struct dray_making {
	enum dray_making_step step;
	bool thaw;        /* the hooks after the split are owed */
	bool split;       /* ... and are told that there was one */
	time_t due;       /* the moment that it is made for */
	char *boot;       /* the host's boot id at the split */
	char *actor;      /* who asked for it */
	struct dray_generation g;
};

struct dray_generations {
	struct dray_generation *list; /* the oldest first */
	size_t n;
	struct dray_making making;
	time_t anchor;    /* when the row of moments begins; 0: not yet */
	time_t last;      /* no moment up to this one is due any more */
	unsigned long made; /* so many were completed since the session began */
	char *why;        /* why the last moment has no generation, or has it late; or NULL */
};

void dray_generation_clear(struct dray_generation *g);
void dray_making_clear(struct dray_making *making);
void dray_generations_clear(struct dray_generations *all);
/* A file more. Takes over the texts. */
void dray_generation_add(struct dray_generation *g, unsigned pair, char *path, char *part);
/* Moves `g` behind the others. */
void dray_generations_add(struct dray_generations *all, struct dray_generation *g);
void dray_generations_drop(struct dray_generations *all, size_t i);
/* How many are complete. */
size_t dray_generations_complete(const struct dray_generations *all);

/* For the repository. NULL: nothing to keep. */
json_t *dray_generations_save(const struct dray_generations *all);
void dray_generations_load(const json_t *saved, struct dray_generations *all);
/* As the document shows them: [{time, complete, paths, quiesced, shared}]; the one that is being made is the last, once there is anything of it. */
json_t *dray_generations_json(const struct dray_generations *all);

#endif
