/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The API's two sides.
 *
 * HTTP (api_http.c) runs on threads of its own, one for each connection. Such a thread makes a `struct api_call`, does what
 * needs no state of the agent and may block (reading a document, probing storage), hands it to the core and sleeps until it is
 * answered. The core (api_dispatch and what it calls) answers at once or keeps the call and answers later; it never blocks and
 * never touches a call after answering it.
 */
#ifndef DRAY_AGENT_API_H
#define DRAY_AGENT_API_H

#include "agent/agent.h"
#include "agent/probe.h"

#include <pthread.h>

struct api;
struct api_route;
struct estimate_facts;
struct retire_look;

struct api_call {
	struct dray_list node;
	/* the request; the thread's until it is handed over, then the core's until it is answered */
	char method[8];
	char *path;            /* behind /v1, decoded: "/sessions/orders-db/pause" */
	json_t *body;          /* or NULL */
	char actor[32];        /* "uid:1000", from the socket */
	char *q_session, *q_state; /* query arguments, or NULL */
	char *q_after_session; /* GET /v1/sessions?after=, or NULL */
	uint64_t q_after, q_limit, q_past; /* q_past: one more than what was said; 0: nothing was */
	bool left_out;         /* the answer is not all there is: a header says so */
	bool dry_run, yaml, force;
	bool estimate;         /* POST /v1/estimate: a dry run that is answered with one */
	uint64_t ticket;                /* POST /v1/sessions: the order in which they came; else 0 */
	struct dray_list ticket_node;
	struct dray_session *submitted; /* POST /v1/sessions, /v1/estimate: read ... */
	struct probe_set *probes;       /* ... and probed */
	struct estimate_facts *facts;   /* of an estimate: what the core knows */
	struct probe *probe;            /* POST /v1/volumes: of its resource */
	struct retire_look *looks;      /* retire: at the sources */
	size_t n_looks;
	struct dray_problems problems;  /* found so far */

	/* who asked, and what of it is told (audit.h) */
	pid_t peer_pid;
	gid_t peer_gid;
	const struct api_route *route;  /* NULL: of our own threads */
	char *audit_session;
	const char *audit_verb;
	bool audit_asked;

	/* the answer */
	int status;
	json_t *answer;        /* or NULL */
	char *text;            /* instead of it */
	const char *type;      /* of text */
	/* the hand-over */
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool answered;
	struct dray_list audit_node; /* the core's: its answer waits for its event */
	/* the core's own, while it keeps the call */
	struct agent *agent;
	char *core_note;       /* the id of the session it will be answered with, or that has to settle first */
	enum dray_verb core_verb;
	unsigned core_found;   /* volume release: legs let go so far */
	uint64_t core_list, core_deadline; /* goes on with a list of this number, or at that time without */
	uint64_t core_patience; /* monotonic: until then it is put off; 0: it was not yet */
	void (*core_next)(struct agent *a, struct api_call *call);
};

struct api_call *api_call_new(const char *method, const char *path);
void api_call_free(struct api_call *call);

/* ---- the core's side ---- */
/* Steals `answer`. It is sent when the event that tells of it is durable: at once where there is none, else at the end of the turn. The call
 * may be gone when this returns. */
void api_reply(struct api_call *call, int status, json_t *answer);
void api_reply_text(struct api_call *call, int status, const char *type, char *text); /* steals text */
/* audit.c's: the answer is sent now. */
void api_answer_now(struct api_call *call);
/* Problem+json; `exit` as the command line uses it: 1 3 4 5 7. */
void api_problem(struct api_call *call, int status, int exit, const char *code, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));
/* As api_problem, with more members (stolen). */
void api_problem_with(struct api_call *call, int status, int exit, const char *code, json_t *more, const char *fmt, ...)
	__attribute__((format(printf, 6, 7)));
/* 422 with everything in `problems` (400 if it could not be read at all). */
void api_problems(struct api_call *call, const struct dray_problems *problems);
/* The document, as JSON or YAML as asked. */
void api_document(struct api_call *call, int status, const struct job *job, json_t *more);

/* `next` is called when dray-iod's list of volumes is newer than this call, and the session core_note (where given) has no call
 * under way; or after a while without that. */
void api_when_listed(struct agent *a, struct api_call *call, void (*next)(struct agent *a, struct api_call *call));
/* ... in so many nanoseconds. */
void api_later(struct agent *a, struct api_call *call, uint64_t ns, void (*next)(struct agent *a, struct api_call *call));

/* ---- the HTTP side ---- */
/* Listens on PATH (mode 0660). The calls go to `hand_over` on the connections' threads; `poke` wakes the core. */
int api_start(struct api **api, const char *path, bool allow_faults, void (*hand_over)(void *ctx, struct api_call *call),
	void (*poke)(void *ctx), void *ctx, struct dray_error *err);
/* No new requests, followers end; all calls must have been answered or be answered while this waits. */
void api_stop(struct api *api);
/* A submit that came before this ticket has not reached the core yet: its resources are being looked at. */
bool api_older_pending(struct api *api, uint64_t ticket);
/* How many follow the events just now. */
unsigned api_followers(struct api *api);
/* Any thread: wakes those who follow the events. NULL is allowed. */
void api_events_changed(struct api *api);

/* ---- api_routes.c and its kin, on the core ---- */
void api_volumes(struct agent *a, struct api_call *call, const char *name);
void api_sessions(struct agent *a, struct api_call *call);
/* An event as the API shows it. New reference. */
json_t *api_event_json(const struct dray_repo_event *event);
void api_events(struct agent *a, struct api_call *call);
void api_vehicles(struct agent *a, struct api_call *call);
void api_locks(struct agent *a, struct api_call *call);
void api_metrics(struct agent *a, struct api_call *call);
void api_health(struct agent *a, struct api_call *call);
/* How many there are in each state, on record. false: the repository can't be read, which is in the log. */
bool api_count_states(struct agent *a, uint64_t pairs[DRAY_PAIR_STATE_COUNT], uint64_t sessions[DRAY_PAIR_STATE_COUNT]);
void api_status(struct agent *a, struct api_call *call);
void api_shutdown(struct agent *a, struct api_call *call);

#endif
