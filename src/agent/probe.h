/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Looking at the resources of a document before anything is touched. May block for long (a dead NBD server), so it is done on the
 * request's own thread and gives plain data to the core.
 */
#ifndef DRAY_AGENT_PROBE_H
#define DRAY_AGENT_PROBE_H

#include "base/error.h"
#include "session/session.h"
#include "storage/content.h"
#include "storage/lineage.h"
#include "storage/storage.h"

#include <stdbool.h>
#include <sys/types.h>

/* For an estimate (speed.h). */
struct probe_speed {
	uint64_t data_bytes; /* of a file: what is not a hole; DRAY_UNKNOWN: not known */
	uint64_t read_rate;  /* bytes a second; 0: not known */
	bool measured;       /* itself; false, and a rate: that of others on its disk */
	bool counted;        /* of a file: data_bytes are the blocks that it has, there was no time to look where they are */
};

struct probe {
	bool looked;      /* false: nothing to look at (a volume) */
	bool missing;     /* it does not exist, and may be created */
	int directory_rc;   /* of a template: 0, or why no file can be made in its directory */
	int rc;           /* of dray_storage_probe */
	struct dray_error err;
	struct dray_storage_info info;
	int content_rc;   /* of dray_storage_content */
	struct dray_error content_err;
	struct dray_content content;
	char alias[256];     /* another identity by which to compare: of an export whose host has other names; or "" */
	char process[512];   /* ... of an export here: by the process that serves it; or "" */
	char path_key[600]; /* of a file: its directory's identity and its last part, by which a missing one is locked; or "" */
	struct dray_lineage lineage; /* what it lies on, and what lies on it; owned */
	dev_t nbd_below[4]; /* the kernel's NBD devices that it is or lies on */
	unsigned n_nbd_below;
	uint64_t room_bytes; /* missing: what is free where it will be */
	char room_id[64];    /* missing: which file system that is */
	struct probe_speed speed;
};

struct retire_look;

struct probe_pair {
	struct probe source; /* of a volume: what its primary holds, with `looked`, where the volume was found */
	struct retire_look *retire; /* where the source is to be retired (retire.h), or NULL */
	struct probe *targets;
	size_t n_targets;
};

struct probe_set {
	struct probe_pair *pairs;
	size_t n;
};

/* `volumes`: dray-iod's, as the API lists them, or NULL. NULL: no memory. Problems are found later, by the core. */
struct probe_set *probe_session(const struct dray_session *s, const json_t *volumes, bool allow_faults);
/* The resource of a volume's primary in that list, which keeps it, and its slice (0, 0: all of it); NULL: not found. */
const char *probe_primary(const json_t *volumes, const char *name, uint64_t *offset, uint64_t *length);
/* Of a resource that is to be served as a volume: no locks are asked for, dray-iod takes them. probe_empty frees what it holds. */
void probe_volume(const char *resource, uint64_t offset, uint64_t length, bool allow_faults, struct probe *p);
void probe_empty(struct probe *p);
/* What it lies on in the end: the disk of a file, of a volume, of a slice; where there is none to be known, its file system, or itself. Two of one
 * place share its speed. "": not known. */
void probe_place(const struct probe *p, char *buf, size_t size);
void probe_free(struct probe_set *set);

#endif
