/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who the clients are, and which of the kernel's NBD devices are exports of this process (H29).
 */
#ifndef DRAY_IOD_PEERS_H
#define DRAY_IOD_PEERS_H

#include "iod/iod.h"

#include <jansson.h>

struct iod_volume;

/* A client came or went, as the NBD server describes it ("unix:pid=7,uid=0", "tcp:192.0.2.1:7777"). Any thread. */
void iod_peers_note(struct iod_volume *v, bool connected, const char *peer);

/* The kernel's NBD devices ("43:0") that are this volume, or may be: an array, owned by the caller. Any thread, without iod->lock. */
json_t *iod_peers_devices(struct iod_volume *v);

/* Volumes with clients are changed (news.h) where NBD devices are connected, or were when `*seen` was kept, which it is here: whose those are
 * depends on which processes live. iod->lock guards `*seen`, and is not held. */
void iod_peers_news(struct iod *iod, uint64_t *seen);

/* Is a host name or address (""; then localhost) one of this host? May ask a name server. */
bool iod_address_is_ours(const char *host);

/* -ELOOP "self_export", if the path is, or lies on, such a device of any volume: directly, or below device-mapper, md, loop, a
 * partition, a file system. Any thread, without iod->lock. */
int iod_peers_check(struct iod *iod, const char *resource, struct dray_error *err);

#endif
