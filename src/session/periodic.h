/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the document says of a periodic session: `start: {every:, at:, keep:}`, and targets that are templates of file names.
 *
 * A target is a directory, DIR, which means DIR/VOLUME-{time}.img, or a path in whose last part {time} stands once. {time} becomes the instant in
 * UTC, 20261123T020000Z. The leg that is copied to and mirrored is the working image, ".VOLUME-base.img" beside the generations: the same name
 * with a dot in front and "base" for the time.
 */
#ifndef DRAY_SESSION_PERIODIC_H
#define DRAY_SESSION_PERIODIC_H

#include "session/check.h"
#include "session/session.h"

/* Of a document that was walked: checks what a periodic session needs, and makes its targets templates. */
void dray_periodic_check(struct dray_check *c, struct dray_session *s);
/* {every:, at:, keep:, hook_timeout:, on_hook_failure:}, `found` as the walk has it. */
bool dray_periodic_start(struct dray_check *c, const struct dray_key *key, const json_t *v, unsigned line, struct dray_session *found);
/* The file of an instant, malloc'ed. */
char *dray_periodic_path(const struct dray_target *target, time_t instant);

#endif
