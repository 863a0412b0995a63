/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of the HTTP side share: its threads' world, apart from the core. */
#ifndef DRAY_AGENT_API_HTTP_H
#define DRAY_AGENT_API_HTTP_H

#include "agent/api.h"

#include <microhttpd.h>

struct api {
	struct MHD_Daemon *daemon;
	char *path;
	bool allow_faults;
	void (*hand_over)(void *ctx, struct api_call *call);
	void (*poke)(void *ctx);
	void *ctx;
	uint64_t tickets;
	struct dray_list pending; /* submits that are being looked at, in the order in which they came */
	pthread_mutex_t lock;
	pthread_cond_t cond;
	uint64_t changes; /* of the events */
	unsigned followers;
	unsigned open;    /* requests that came and whose answers have not left */
	bool stopping;
};

/* Hands the call over and waits for its answer. */
void api_call_run(struct api *api, struct api_call *call);
enum MHD_Result api_send_answer(struct MHD_Connection *c, struct api_call *call);
enum MHD_Result api_bad_request(struct MHD_Connection *c, int status, int exit_code, const char *code, const char *detail);
/* Answers with a stream of events, as `call` asks (api_follow.c). */
enum MHD_Result api_follow(struct api *api, struct MHD_Connection *c, const struct api_call *call);

#endif
