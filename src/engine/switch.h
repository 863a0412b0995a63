/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The switch of a group of volumes at one instant (H8, H10).
 *
 * A pure state machine above the volumes' engines, which may live on other threads: it asks through `ops` and is told the
 * answers through the on_ functions, one call each, never inside the ask. One durable record is the commit point of the
 * whole group; no volume resumes on the new side before that record is durable, and none on the old side after it.
 *
 *   PREPARE  every volume: leg clean? flush all legs, application running  -> any "no": DONE(refused)
 *   SUSPEND  every volume: queue, drain, flush new primary, recount        -> any "no" or deadline: ABORT all
 *   SEAL     every volume: from here the deadline means "in doubt"         -> any "void": ABORT all
 *   RECORD   host: write the record (new primaries, epoch + 1) durably
 *              ok              -> APPLY all -> DONE(switched)
 *              error (settled) -> SUPERSEDE: write a record that says "old side", repeated until it is durable,
 *                                 the volumes in doubt (resumed, strictly mirrored) once their deadline passes
 *                              -> ABORT all -> DONE(rolled back)
 *              hangs           -> nothing; the volumes go in doubt by themselves at their deadline; when the answer comes:
 *                                 as above
 *   ABORT    every volume: resume on the old side -> DONE(rolled back, reason)
 *
 * A restart in the middle needs no help from here: the record on disk is the authority, both legs are equal for
 * everything acknowledged until it is superseded.
 */
#ifndef DRAY_ENGINE_SWITCH_H
#define DRAY_ENGINE_SWITCH_H

#include <stdbool.h>
#include <stdint.h>

struct dray_switch;

enum dray_switch_outcome {
	DRAY_SWITCH_REFUSED,     /* nothing was suspended */
	DRAY_SWITCH_ROLLED_BACK, /* suspended, resumed on the old side */
	DRAY_SWITCH_SWITCHED,
};

struct dray_switch_ops {
	void (*prepare)(void *ctx, unsigned vol);
	void (*suspend)(void *ctx, unsigned vol, uint64_t deadline_ns);
	void (*seal)(void *ctx, unsigned vol);
	/* Write the group's record: to_new: all volumes on their new primary; else all on their old one, superseding. Answer
	 * with dray_switch_on_recorded only once the write has settled, however long that takes. */
	void (*record)(void *ctx, bool to_new);
	void (*apply)(void *ctx, unsigned vol);
	void (*abort)(void *ctx, unsigned vol);
	/* Last call. `culprit`: the volume that refused or failed, or -1; error 0 or why. */
	void (*done)(void *ctx, enum dray_switch_outcome outcome, int culprit, int error);
	/* A superseding record failed: the host calls dray_switch_retry after a pause of its choice. */
	void (*backoff)(void *ctx);
};

/* 0 or -ENOMEM. `split`: no record and no new primary; used for point-in-time copies. `deadline_in_ns`: counted from the
 * moment of the first suspend. */
int dray_switch_new(struct dray_switch **sw, unsigned n_vols, bool split, uint64_t deadline_in_ns,
	const struct dray_switch_ops *ops, void *ctx);
void dray_switch_free(struct dray_switch *sw);

void dray_switch_start(struct dray_switch *sw, uint64_t now_ns);
void dray_switch_on_prepared(struct dray_switch *sw, unsigned vol, int error, uint64_t now_ns);
void dray_switch_on_drained(struct dray_switch *sw, unsigned vol, int error, uint64_t now_ns);
void dray_switch_on_sealed(struct dray_switch *sw, unsigned vol, int error, uint64_t now_ns);
void dray_switch_on_recorded(struct dray_switch *sw, int error, uint64_t now_ns);
void dray_switch_retry(struct dray_switch *sw, uint64_t now_ns);

#endif
