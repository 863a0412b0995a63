/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The agent's connection to dray-iod: JSON-RPC as docs/PROTOCOL.md has it, asynchronous, made again when it was lost.
 *
 * Everything happens on the agent's thread, inside iod_step; no callback is made inside another function. A call whose
 * connection is lost ends with -ENOTCONN: whether it was carried out is then not known. A call made while there is no connection ends the
 * same way. Connecting is tried again every 200 ms at first, up to every 2 s, for ever; nothing that takes long is an error.
 */
#ifndef DRAY_AGENT_IOD_CLIENT_H
#define DRAY_AGENT_IOD_CLIENT_H

#include "base/error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct iod;

/* As dray_vehicle_done: err NULL: success, `result` borrowed. err->kind: the word dray-iod gives, or "unreachable". */
typedef void iod_done(void *arg, const struct dray_error *err, json_t *result);

struct iod_ops {
	void (*up)(void *ctx);   /* hello was answered; calls may be made */
	void (*down)(void *ctx); /* after every open call ended with -ENOTCONN */
	void (*event)(void *ctx, const json_t *params);
	/* Nobody listens there: the time to start one. */
	void (*absent)(void *ctx);
};

/* `path` is copied. NULL: no memory. */
struct iod *iod_new(const char *path, const struct iod_ops *ops, void *ctx);
/* Open calls end with -ECANCELED inside this. */
void iod_free(struct iod *iod);

int iod_fd(const struct iod *iod); /* -1: none now */
short iod_events(const struct iod *iod);
/* Reads, writes, connects, calls back. */
void iod_step(struct iod *iod, uint64_t now_ns);
/* Monotonic time at which iod_step is due without anything to read. */
uint64_t iod_due(const struct iod *iod);
/* Try to connect at once. */
void iod_poke(struct iod *iod);

bool iod_ready(const struct iod *iod);
/* What hello said, or NULL: version, incarnation, pid ... */
const json_t *iod_hello(const struct iod *iod);
const char *iod_incarnation(const struct iod *iod); /* "" while not connected */

/* Steals `params` (NULL: none). */
void iod_call(struct iod *iod, const char *method, json_t *params, iod_done *done, void *arg);

#endif
