/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The calls of the control protocol (docs/PROTOCOL.md), one function each. They run on a job's thread.
 */
#ifndef DRAY_IOD_VERBS_H
#define DRAY_IOD_VERBS_H

#include "iod/control.h"
#include "iod/volume.h"

/* verbs-volume.c */
json_t *iod_do_volume_add(struct iod_call *call);
json_t *iod_do_volume_remove(struct iod_call *call);
json_t *iod_do_volume_list(struct iod_call *call);
json_t *iod_do_volume_accept(struct iod_call *call);
json_t *iod_do_volume_get(struct iod_call *call);
json_t *iod_do_copy_set(struct iod_call *call);
/* verbs-leg.c */
json_t *iod_do_leg_attach(struct iod_call *call);
json_t *iod_do_leg_detach(struct iod_call *call);
json_t *iod_do_leg_pause(struct iod_call *call);
json_t *iod_do_leg_retry(struct iod_call *call);
json_t *iod_do_verify_start(struct iod_call *call);
json_t *iod_do_verify_stop(struct iod_call *call);
/* verbs-switch.c */
int iod_switch_log_new(struct iod *iod);
json_t *iod_do_switch(struct iod_call *call);
json_t *iod_do_switch_status(struct iod_call *call);
json_t *iod_do_split(struct iod_call *call);

/* What a verb may wait for another one on the same volume. */
#define IOD_TAKE_WAIT UINT64_C(5000000000)

const char *iod_arg_text(const struct iod_call *call, const char *name, const char *otherwise);
bool iod_arg_bool(const struct iod_call *call, const char *name, bool otherwise);
uint64_t iod_arg_count(const struct iod_call *call, const char *name, uint64_t otherwise);
/* The leg definition for the parameter `resource`; NULL with call->err set. */
struct iod_leg_def *iod_arg_leg(struct iod_call *call);

#endif
