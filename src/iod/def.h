/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is recorded of a volume and its legs (volume.json). Plain data: state.c reads and writes it, the volume
 * changes it under the registry's lock.
 */
#ifndef DRAY_IOD_DEF_H
#define DRAY_IOD_DEF_H

#include "base/name.h"
#include "engine/engine.h"

#define IOD_LEGS_MAX DRAY_MAX_LEGS
#define IOD_UUID_BYTES 16

enum iod_role { IOD_ROLE_SOURCE, IOD_ROLE_SUCCESSOR, IOD_ROLE_COPY };

struct iod_leg_def {
	unsigned id;
	unsigned peer;           /* the primary at the time it was attached; 0: the volume's first leg */
	char *resource;
	uint64_t offset, length; /* a slice; length 0: all of it */
	char *tag;               /* "" if none was given */
	char identity[256];      /* as found when it was attached (H2) */
	bool stable;             /* the identity survives a reboot */
	char boot_id[40];        /* the boot in which somebody last vouched for it; counts where `stable` is false */
	enum iod_role role;
	bool durable;            /* it has a map file */
	bool paused, set_aside;
	uint64_t size_bytes;
	/* What its storage can do, so that it can be tracked while it cannot be opened. */
	bool late_writes, extents, thin, has_zero;
};

struct iod_volume_def {
	char name[DRAY_VOLUME_NAME_MAX + 1];
	uint8_t uuid[IOD_UUID_BYTES];
	uint64_t size_bytes, region_bytes;
	uint32_t block_bytes;
	bool hidden, read_only;
	unsigned next_leg_id;
	struct dray_copy_limits limits;
	unsigned n_legs;
	struct iod_leg_def *legs[IOD_LEGS_MAX];
};

/* NULL: no memory. The strings are copied. */
struct iod_leg_def *iod_leg_def_new(const char *resource, const char *tag);
void iod_leg_def_free(struct iod_leg_def *leg);
/* Frees the legs, not `def` itself. */
void iod_volume_def_clear(struct iod_volume_def *def);
void iod_uuid_format(const uint8_t uuid[IOD_UUID_BYTES], char out[37]);
bool iod_uuid_parse(const char *text, uint8_t uuid[IOD_UUID_BYTES]);
const char *iod_role_name(enum iod_role role);
/* -1: no such role. */
int iod_role_parse(const char *name);
/* Do the two legs share a link, that is a region map about the two of them? See ONDISK.md. */
bool iod_legs_linked(const struct iod_leg_def *a, const struct iod_leg_def *b);

#endif
