/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a negotiation fixed for the rest of a connection.
 */
#ifndef DRAY_NBD_SESSION_H
#define DRAY_NBD_SESSION_H

#include "nbd/backend.h"

struct dray_nbd_session {
	struct dray_nbd_export_info info;
	uint16_t tflags;            /* transmission flags as sent (NBD_TF_*) */
	uint32_t max_payload_bytes; /* of one READ or WRITE */
	bool structured;            /* structured replies */
	bool allocation;            /* base:allocation was selected */
};

/* The transmission flags of an export. */
uint16_t dray_nbd_transmission_flags(const struct dray_nbd_export_info *info, bool structured);

#endif
