/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Applications: each keeps some requests in flight on one volume.
 */
#ifndef DRAY_SIM_APP_H
#define DRAY_SIM_APP_H

#include "sim/sim.h"

/* Draws the volume's applications from the seed. */
void app_draw(struct sim_vol *v);
/* They begin (again): at the start, and after a recovery. */
void app_start(struct sim_vol *v);
/* The process died: every request under way is over, its outcome open. */
void app_crash(struct sim_vol *v);

void app_reply(struct sim_vol *v, struct sim_req *r, int error);
void app_release(struct sim_vol *v, struct sim_req *r);
/* An unanswered changing request lies in these blocks. */
bool app_writing(const struct sim_vol *v, unsigned first, unsigned n);

#endif
