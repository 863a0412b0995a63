/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Start: the lock of the state directory, the epoch records, the threads, the sockets; then each volume found is
 * registered and brought up by a job of its own, while the control socket answers already.
 *
 * Stop (SIGTERM, `shutdown`): no new verbs; the NBD server stops accepting and lets requests end; the verbs under way end; each
 * volume is put to rest; then the loop ends. Each wait is bounded: a stuck device must not keep the process (and with it
 * the lock of the state directory) for ever. Ending without an orderly rest is safe, it only costs comparing after the
 * restart.
 */
#include "iod/process.h"

#include "base/boot.h"
#include "base/log.h"
#include "iod/control.h"
#include "iod/mapfile.h"
#include "iod/runs.h"
#include "iod/seen.h"
#include "iod/splits.h"
#include "iod/verbs.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

#define SECOND UINT64_C(1000000000)
#define JOBS_MOST 1024
#define STARTS_MOST 256 /* threads that bring up volumes, each of which may wait for a lock or a server */
#define OPENS_MOST  128 /* that open secondaries */

uint64_t iod_now(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * SECOND + (uint64_t)ts.tv_nsec;
}

bool iod_sleep(struct iod *iod, uint64_t ns)
{
	struct timespec until;
	uint64_t at = iod_now() + ns;
	until.tv_sec = (time_t)(at / SECOND);
	until.tv_nsec = (long)(at % SECOND);
	int rc = 0;
	pthread_mutex_lock(&iod->lock);
	while (!iod->stopping && rc != ETIMEDOUT)
		rc = pthread_cond_timedwait(&iod->changed, &iod->lock, &until);
	bool go_on = !iod->stopping;
	pthread_mutex_unlock(&iod->lock);
	return go_on;
}

/* ---- volumes found in the state directory ---- */

struct loading {
	struct iod *iod;
	struct iod_seen *seen, *copy; /* by the agent: in its own directory, and in the run directory */
};

static void load_volume(void *arg, const char *name)
{
	const struct loading *l = arg;
	struct iod *iod = l->iod;
	struct iod_volume_def def;
	struct iod_epoch epoch;
	struct dray_error err = DRAY_ERROR_INIT;

	int rc = iod_state_volume_read(&iod->state, name, &def, &err);
	bool exists = !rc && iod_epochs_get(iod->epochs, def.uuid, &epoch);
	if (rc == -ENOENT || (!rc && !exists)) {
		/* The rest of an add or a remove that a crash cut off (state.c). */
		dray_log(DRAY_LOG_INFO, "volume-remains", "%s: removed: no record says that it exists", name);
		iod_volume_def_clear(&def);
		if (iod_state_volume_remove(&iod->state, name, &err))
			dray_log(DRAY_LOG_WARN, "volume-remains", "%s", err.text);
		return;
	}
	if (rc) { /* known by name, and not served */
		memset(&def, 0, sizeof def);
		snprintf(def.name, sizeof def.name, "%s", name);
		dray_log(DRAY_LOG_ERROR, "volume-json", "%s", err.text);
	}
	struct iod_volume *v = iod_volume_new(iod, &def);
	if (!v) {
		iod_volume_def_clear(&def);
		dray_log(DRAY_LOG_ERROR, "volume", "%s: no memory", name);
		return;
	}
	if (rc) {
		iod_volume_reason(v, "%s", err.text);
		iod_volume_register(v);
		return;
	}
	v->epoch = epoch.epoch;
	v->primary = epoch.primary;
	v->let_go = epoch.let_go;
	memcpy(v->token, epoch.token, sizeof v->token);
	iod_volume_register(v);
	if (iod_seen_check(l->seen, false, &v->def, v->epoch, &err) || iod_seen_check(l->copy, true, &v->def, v->epoch, &err)) {
		dray_log(DRAY_LOG_ERROR, "volume-not-served", "%s", err.text);
		iod_volume_reason(v, "%s", err.text);
		v->refused = true;
		return;
	}
	iod_volume_start_later(v);
}

static int load_volumes(struct iod *iod, struct dray_error *err)
{
	char copy[4200];
	snprintf(copy, sizeof copy, "%s/volumes-seen", iod->options.run_dir);
	struct loading l = { .iod = iod, .seen = iod_seen_read(iod->options.seen), .copy = iod_seen_read(copy) };
	int rc = l.seen && l.copy ? iod_state_list(&iod->state, load_volume, &l, err) : dray_error_set(err, -ENOMEM, "no memory");
	iod_seen_free(l.seen);
	iod_seen_free(l.copy);
	return rc;
}

static void count_volume(void *arg, const char *name)
{
	++*(unsigned *)arg;
}

static int open_state(struct iod *iod, struct dray_error *err)
{
	int rc = iod_state_open(&iod->state, iod->options.state_dir, dray_boot_id_path(iod->options.allow_faults), err);
	if (!rc)
		rc = iod_epochs_open(&iod->epochs, iod->state.dir_fd, err);
	if (rc || iod_epochs_known(iod->epochs))
		return rc;
	unsigned volumes = 0;
	rc = iod_state_list(&iod->state, count_volume, &volumes, err);
	if (rc)
		return rc;
	if (volumes)
		return dray_error_set(err, -EBADMSG,
			"%s: neither epochs.0 nor epochs.1 holds a valid record, and there are %u volumes: which leg of each is "
			"primary cannot be known",
			iod->state.path, volumes);
	return iod_epochs_change(iod->epochs, NULL, 0, err);
}

/* ---- start ---- */

static int start_nbd(struct iod *iod, struct dray_error *err)
{
	int rc = dray_nbd_server_new(&iod->nbd, iod->loop, NULL, &iod_export_ops, iod);
	if (rc)
		return dray_error_errno(err, rc, "NBD server");
	int fd = dray_nbd_listen_unix(iod->nbd_socket, err);
	if (fd < 0)
		return fd;
	rc = dray_nbd_server_listen(iod->nbd, fd, err);
	if (rc || !iod->options.tcp)
		return rc;
	char host[256];
	const char *colon = strrchr(iod->options.tcp, ':');
	size_t n = colon ? (size_t)(colon - iod->options.tcp) : strlen(iod->options.tcp);
	snprintf(host, sizeof host, "%.*s", (int)n, iod->options.tcp);
	if (host[0] == '[' && n > 2 && host[n - 1] == ']') {
		memmove(host, host + 1, n);
		host[n - 2] = '\0';
	}
	fd = dray_nbd_listen_tcp(host, colon ? colon + 1 : "10809", err);
	return fd < 0 ? fd : dray_nbd_server_listen(iod->nbd, fd, err);
}

static int make_run_dir(struct iod *iod, struct dray_error *err)
{
	const char *dir = iod->options.run_dir;
	if (mkdir(dir, 0755) < 0 && errno != EEXIST)
		return dray_error_errno(err, -errno, "make run directory %s", dir);
	char *path = realpath(dir, NULL);
	if (!path)
		return dray_error_errno(err, -errno, "run directory %s", dir);
	int a = snprintf(iod->nbd_socket, sizeof iod->nbd_socket, "%s/nbd.sock", path);
	int b = snprintf(iod->control_socket, sizeof iod->control_socket, "%s/iod.sock", path);
	free(path);
	if (a >= (int)sizeof iod->nbd_socket || b >= (int)sizeof iod->control_socket)
		return dray_error_set(err, -ENAMETOOLONG, "run directory %s: too long for a socket's name", dir);
	return 0;
}

static int make_incarnation(struct iod *iod, struct dray_error *err)
{
	unsigned char random[16];
	if (getrandom(random, sizeof random, 0) != sizeof random)
		return dray_error_set(err, -EIO, "no random bytes");
	for (int i = 0; i < 16; i++)
		sprintf(iod->incarnation + 2 * i, "%02x", random[i]);
	return 0;
}

int iod_start(struct iod *iod, struct dray_error *err)
{
	iod->started_ns = iod_now();
	pthread_condattr_t attr;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_mutex_init(&iod->lock, NULL);
	pthread_cond_init(&iod->changed, &attr);
	pthread_condattr_destroy(&attr);
	dray_list_init(&iod->volumes);
	iod_news_init(iod);
	iod->starts.most = STARTS_MOST;
	iod->opens.most = OPENS_MOST;
	dray_list_init(&iod->starts.waiting);
	dray_list_init(&iod->opens.waiting);
	atomic_store(&iod->next_token, 1);

	int rc = make_incarnation(iod, err);
	if (!rc)
		rc = open_state(iod, err);
	if (!rc)
		rc = make_run_dir(iod, err);
	if (!rc)
		rc = dray_loop_new(&iod->loop, DRAY_LOOP_AUTO, 256, err);
	if (!rc && (iod_jobs_new(&iod->jobs, JOBS_MOST) || iod_switch_log_new(iod)))
		rc = dray_error_set(err, -ENOMEM, "no memory");
	if (rc)
		return rc;
	iod->threads = calloc(iod->options.threads, sizeof *iod->threads);
	if (!iod->threads)
		return dray_error_set(err, -ENOMEM, "no memory");
	for (; iod->n_threads < iod->options.threads; iod->n_threads++) {
		rc = iod_thread_start(&iod->threads[iod->n_threads], iod->n_threads, err);
		if (rc)
			return rc;
	}
	rc = start_nbd(iod, err);
	if (!rc)
		rc = iod_control_start(iod, err);
	if (!rc)
		rc = iod_splits_redo(&iod->state, err);
	if (!rc)
		rc = iod_runs_check(&iod->state, iod->options.run_dir, err);
	if (!rc) {
		iod_runs_note(&iod->state, iod->options.run_dir, iod->incarnation);
		rc = load_volumes(iod, err);
	}
	return rc;
}

/* ---- run and stop ---- */

struct stopping {
	struct iod *iod;
	bool begun, resting, rested;
	struct dray_loop_msg begin, end;
	struct dray_loop_timer late;
	struct dray_ioc signals;
	int signal_fd;
	pthread_t thread;
};

static struct stopping stopping; /* of the one process */

static void stop_end(struct dray_loop_msg *msg)
{
	iod_control_stop(stopping.iod);
	dray_loop_cancel(stopping.iod->loop, &stopping.signals);
	dray_loop_stop(stopping.iod->loop);
}

/* The last thread to act: everything it waits for goes on beside it. */
static void *rest_all(void *arg)
{
	struct iod *iod = stopping.iod;
	iod_attempts_stop(iod, &iod->starts);
	iod_attempts_stop(iod, &iod->opens);
	bool rested = iod_jobs_drain(iod->jobs, 10 * SECOND);
	if (!rested)
		dray_log(DRAY_LOG_WARN, "stop", "some calls have not ended");
	dray_list_for_each(n, &iod->volumes)
	{
		struct iod_volume *v = dray_container(n, struct iod_volume, node);
		if (!iod_volume_stop(v, true, 5 * SECOND)) {
			dray_log(DRAY_LOG_WARN, "stop", "%s: its storage has not settled", v->def.name);
			rested = false;
		}
	}
	stopping.rested = rested;
	stopping.end.run = stop_end;
	dray_loop_post(iod->loop, &stopping.end);
	return NULL;
}

static void begin_rest(void *arg)
{
	struct iod *iod = stopping.iod;
	if (stopping.resting)
		return;
	stopping.resting = true;
	dray_loop_timer_cancel(iod->loop, &stopping.late);
	if (pthread_create(&stopping.thread, NULL, rest_all, NULL)) {
		stopping.resting = false;
		dray_loop_stop(iod->loop);
	}
}

static void late(struct dray_loop_timer *timer)
{
	dray_log(DRAY_LOG_WARN, "stop", "clients have not gone");
	begin_rest(NULL);
}

static void stop_begin(struct dray_loop_msg *msg)
{
	struct iod *iod = stopping.iod;
	sd_notify(0, "STOPPING=1");
	dray_log(DRAY_LOG_INFO, "stop", "orderly stop");
	pthread_mutex_lock(&iod->lock);
	iod->stopping = true;
	pthread_cond_broadcast(&iod->changed);
	pthread_mutex_unlock(&iod->lock);
	dray_loop_timer_init(&stopping.late, late);
	dray_loop_timer_set(iod->loop, &stopping.late, iod_now() + 15 * SECOND);
	dray_nbd_server_stop(iod->nbd, begin_rest, NULL);
}

void iod_stop(struct iod *iod)
{
	pthread_mutex_lock(&iod->lock);
	bool first = !stopping.begun;
	stopping.begun = true;
	pthread_mutex_unlock(&iod->lock);
	if (!first)
		return;
	stopping.begin.run = stop_begin;
	dray_loop_post(iod->loop, &stopping.begin);
}

static void on_signal(struct dray_ioc *ioc, int res)
{
	struct signalfd_siginfo info;
	if (res == -ECANCELED)
		return;
	if (read(stopping.signal_fd, &info, sizeof info) == sizeof info)
		iod_stop(stopping.iod);
	dray_loop_poll(stopping.iod->loop, &stopping.signals, stopping.signal_fd, POLLIN);
}

static void clean_up(struct iod *iod)
{
	for (int i = 0; i < 100; i++) /* what was cancelled ends */
		dray_loop_once(iod->loop, 1000000);
	for (unsigned i = 0; i < iod->n_threads; i++)
		iod_thread_stop(&iod->threads[i]);
	dray_nbd_server_free(iod->nbd);
	while (!dray_list_empty(&iod->volumes))
		iod_volume_unregister(dray_container(iod->volumes.next, struct iod_volume, node));
	dray_table_free(&iod->by_name);
	iod_news_free(iod);
	free(iod->threads);
	iod_epochs_close(iod->epochs);
	iod_state_close(&iod->state);
}

bool iod_run(struct iod *iod)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	stopping.iod = iod;
	stopping.signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	stopping.signals.done = on_signal;
	dray_loop_poll(iod->loop, &stopping.signals, stopping.signal_fd, POLLIN);
	sd_notify(0, "READY=1");
	dray_loop_run(iod->loop);
	if (stopping.resting)
		pthread_join(stopping.thread, NULL);
	unlink(iod->nbd_socket);
	if (stopping.rested)
		clean_up(iod);
	return stopping.rested;
}
