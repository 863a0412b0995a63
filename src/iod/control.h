/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The control socket: lines in, lines out, on the main loop.
 *
 * Calls are run by jobs; their answers come back as messages. A connection has a bounded input (one line), a bounded number of
 * calls under way (then it is not read), and a bounded output: who does not read what is sent is disconnected.
 */
#ifndef DRAY_IOD_CONTROL_H
#define DRAY_IOD_CONTROL_H

#include "iod/iod.h"
#include "iod/rpc.h"

struct iod_control;

/* One call under way; what a verb sees of it. */
struct iod_call {
	struct iod *iod;
	const char *method;
	json_t *params;        /* checked against the method's table */
	struct dray_error err; /* set by a verb that returns NULL */
	int code;              /* JSON-RPC code; 0: by the error's kind */
	json_t *data;          /* further members of the error's data, or NULL */
	/* control.c's */
	struct dray_loop_msg msg;
	struct iod_conn *conn;
	json_t *id;
	char *line;
	bool stop_after;       /* the process is to end once this was answered */
};

/* A verb: returns its result (owned by the caller), or NULL with call->err set. Runs on a job's thread. */
typedef json_t *(*iod_verb)(struct iod_call *call);
/* verbs.c. NULL for the calls that control.c answers itself (hello, events.subscribe). */
iod_verb iod_verb_find(const char *method);
/* verbs.c: the answer to hello. */
json_t *iod_hello(struct iod *iod);

/* Opens the socket (a stale one is replaced, a living one refused) and serves it on iod->loop. */
int iod_control_start(struct iod *iod, struct dray_error *err);
/* Main thread: no new calls; ends the connections (what can be sent at once is sent), removes the socket. */
void iod_control_stop(struct iod *iod);

#endif
