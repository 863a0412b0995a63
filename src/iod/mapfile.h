/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The region map of a link: the file volumes/NAME/map-A-B; and the list of a volume's bad ranges: volumes/NAME/bad. The essay is in
 * mapfile.c; what is inside a page or a slot is the engine's (engine.h, dray_map_page_format, dray_bad_slot_format; docs/ONDISK.md).
 */
#ifndef DRAY_IOD_MAPFILE_H
#define DRAY_IOD_MAPFILE_H

#include "base/error.h"
#include "iod/state.h"

#include <stdint.h>

/* The identity in each page of the link's map: the same whichever of the two legs is primary. */
void iod_map_id(const uint8_t uuid[IOD_UUID_BYTES], unsigned leg_a, unsigned leg_b, uint8_t map_id[16]);

/* Makes the names of what was made here durable, as every iod_volume_save does. After a crash before that a map is missing, which means "all
 * dirty", or the list of bad ranges, which is made anew, empty: as they were made. So nobody may have used them. */
int iod_map_sync_names(struct iod_state *state, const char *volume, struct dray_error *err);

/* Makes the map of a new link, all dirty, allocated and durable but for its name; returns its descriptor or a negative errno. */
int iod_map_create(struct iod_state *state, const struct iod_volume_def *def, unsigned leg_a, unsigned leg_b,
	struct dray_error *err);

/* What was read of a map: a pointer a page, NULL where it could not be read. */
struct iod_map_pages {
	void *memory;
	const void **page;
	uint64_t n;
};

/* Opens the map of a link and reads it; returns its descriptor. -ENOENT: there is none. Pages beyond a file cut short
 * count as unreadable, and the file gets its full length again. `pages` is filled on success. */
int iod_map_open(struct iod_state *state, const struct iod_volume_def *def, unsigned leg_a, unsigned leg_b,
	struct iod_map_pages *pages, struct dray_error *err);
void iod_map_pages_free(struct iod_map_pages *pages);

/* Makes an empty list of bad ranges, durable but for its name, in place of any that is there; returns its descriptor. */
int iod_bad_create(struct iod_state *state, const struct iod_volume_def *def, struct dray_error *err);
/* Opens and reads it; returns its descriptor. -ENOENT: there is none. `slot[i]` points into `memory` (2 * DRAY_BAD_SLOT_BYTES), or is NULL
 * where it could not be read. */
int iod_bad_open(struct iod_state *state, const struct iod_volume_def *def, uint8_t *memory, const void *slot[2],
	struct dray_error *err);

/* Removes the file; that it was not there is no error, that it can't be removed is only untidy. */
void iod_map_remove(struct iod_state *state, const char *volume, unsigned leg_a, unsigned leg_b);

#endif
