/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * dray-iod, the host of the engine: what its files share.
 *
 * Threads, and who may touch what
 *   main         the control socket, accepting and negotiating NBD clients, signals. Never waits.
 *   io-N         the I/O threads: a volume's engine, its storage, its connections. No lock on the data path; a field
 *                under "its I/O thread" is touched by that thread alone.
 *   jobs         one per verb under way (job.h), and some that open storage for as long as that takes (attempts.h). They may wait. They
 *                reach a volume's engine by iod_thread_call.
 *
 * Locks, in the order in which they may be taken together
 *   verb right   iod_volume_take: one changing verb a volume at a time; held over disk writes and long waits
 *   pen          iod_epochs_begin: one epoch record at a time; held over a switch
 *   iod->lock    the registry and all fields marked so; held for moments, never while the disk or a thread is waited for
 *   v->wait_lock what the engine's events say to a waiting verb; the innermost
 */
#ifndef DRAY_IOD_IOD_H
#define DRAY_IOD_IOD_H

#include "base/list.h"
#include "base/table.h"
#include "iod/attempts.h"
#include "iod/disks.h"
#include "iod/epochs.h"
#include "iod/job.h"
#include "iod/news.h"
#include "iod/state.h"
#include "iod/thread.h"
#include "nbd/server.h"
#include "storage/storage.h"

#include <jansson.h>
#include <stdatomic.h>

struct iod_control;
struct iod_switch_log;

struct iod_options {
	const char *state_dir, *run_dir, *tcp;
	const char *seen; /* the agent's list of the epochs that it saw (seen.h), or NULL */
	unsigned threads;
	bool allow_faults;
};

struct iod {
	/* Fixed once started. */
	struct iod_options options;
	struct iod_state state;
	struct iod_epochs *epochs;
	struct iod_jobs *jobs;
	struct iod_thread *threads;
	unsigned n_threads;
	struct dray_loop *loop; /* main's */
	struct dray_nbd_server *nbd;
	struct iod_control *control;
	struct iod_switch_log *switches;
	char nbd_socket[108], control_socket[108];
	char incarnation[33];
	uint64_t started_ns;
	struct iod_disks disks; /* their contents: any thread */

	pthread_mutex_t lock;
	pthread_cond_t changed; /* something under the lock changed that a job may wait for */
	/* iod->lock */
	struct dray_list volumes;
	struct dray_table by_name; /* the same */
	struct iod_news news;
	bool stopping;
	struct iod_peer *peers; /* peers.c's */
	struct iod_attempts starts, opens; /* of volumes, of secondaries */

	atomic_uint clients;
	atomic_uint_fast64_t next_token;
};

/* Sleeps until `ns` have passed or the process is to stop; false: stop. A job's thread. */
bool iod_sleep(struct iod *iod, uint64_t ns);
uint64_t iod_now(void);

/* Asks the main thread to begin the orderly stop. Any thread. */
void iod_stop(struct iod *iod);

/* A notification for subscribers; any thread. `leg` 0: null. `error` and `state` may be NULL. */
void iod_notify(struct iod *iod, const char *event, const char *volume, unsigned leg, const char *state,
	const char *error);

#endif
