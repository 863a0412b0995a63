/* SPDX-License-Identifier: BSD-3-Clause */
#include "agent/supervisor.h"

#include "base/log.h"
#include "storage/busy.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SECOND UINT64_C(1000000000)

struct supervisor {
	const struct agent_config *config;
	uint64_t next_at, backoff;
	unsigned starts;
	int process; /* a pidfd of the one that was started last; -1: none */
	bool stopped;
	char trouble[256];
};

struct supervisor *supervisor_new(const struct agent_config *config)
{
	struct supervisor *s = calloc(1, sizeof *s);
	if (s) {
		s->config = config;
		s->process = -1;
	}
	return s;
}

static void forget(struct supervisor *s)
{
	if (s->process >= 0)
		close(s->process);
	s->process = -1;
}

void supervisor_free(struct supervisor *s)
{
	if (s)
		forget(s);
	free(s);
}

void supervisor_alive(struct supervisor *s)
{
	s->next_at = s->backoff = 0;
	s->trouble[0] = 0;
}

void supervisor_stop(struct supervisor *s)
{
	s->stopped = true;
}

void supervisor_go_on(struct supervisor *s)
{
	s->stopped = false;
}

unsigned supervisor_starts(const struct supervisor *s)
{
	return s->starts;
}

const char *supervisor_trouble(const struct supervisor *s)
{
	return s->trouble;
}

/* What the second child tells before its exec, and, with an error, after one that failed. */
struct started {
	pid_t pid;
	int error;
};

/* In the second child. Only async-signal-safe calls: the parent has threads. */
static void become_iod(const struct agent_config *c, char *const argv[], int log_fd, int report)
{
	int null = open("/dev/null", O_RDWR);
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (null >= 0) {
		dup2(null, 0);
		dup2(null, 1);
	}
	/* A file (or the journal), never the agent's own stderr: that may be a pipe nobody reads one day, and a full pipe
	 * must not stop the I/O path. */
	if (log_fd >= 0)
		dup2(log_fd, 2);
	if (null > 2)
		close(null);
	if (log_fd > 2)
		close(log_fd);
	struct started started = { .pid = getpid() };
	if (write(report, &started, sizeof started) != sizeof started)
		_exit(126);
	if (chdir("/") == 0)
		execv(c->iod_program, argv);
	started.error = errno;
	if (write(report, &started, sizeof started) != sizeof started)
		_exit(126);
	_exit(127);
}

static int spawn(struct supervisor *s)
{
	const struct agent_config *c = s->config;
	char state[4096], log[4200], seen[4200], threads[16];
	snprintf(state, sizeof state, "%s/iod", c->state_dir);
	snprintf(log, sizeof log, "%s/iod.log", c->state_dir);
	snprintf(seen, sizeof seen, "%s/volumes-seen", c->state_dir);
	snprintf(threads, sizeof threads, "%u", c->iod_threads);
	char *argv[16];
	int n = 0;
	argv[n++] = (char *)"dray-iod";
	argv[n++] = (char *)"--state-dir";
	argv[n++] = state;
	argv[n++] = (char *)"--run-dir";
	argv[n++] = c->run_dir;
	argv[n++] = (char *)"--seen";
	argv[n++] = seen;
	argv[n++] = (char *)"--log";
	argv[n++] = (char *)(uintptr_t)dray_log_word(c->log_level);
	if (c->iod_threads) {
		argv[n++] = (char *)"--threads";
		argv[n++] = threads;
	}
	if (c->allow_faults)
		argv[n++] = (char *)"--allow-faults";
	argv[n] = NULL;

	int log_fd = dray_log_to_journal() ? -1 : open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
	int report[2];
	if (pipe2(report, O_CLOEXEC) < 0) {
		int e = errno;
		if (log_fd >= 0)
			close(log_fd);
		return -e;
	}
	pid_t child = fork();
	if (child == 0) {
		/* Twice: the second one is nobody's child, and no session leader that could get a terminal. */
		if (setsid() < 0 || (child = fork()) < 0)
			_exit(126);
		if (child > 0)
			_exit(0);
		become_iod(c, argv, log_fd, report[1]);
	}
	int failed = child < 0 ? errno : 0;
	close(report[1]);
	if (log_fd >= 0)
		close(log_fd);
	if (child > 0) {
		struct started started;
		while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
			;
		forget(s);
		/* Ends at the exec, which closes the other end: short. */
		while (read(report[0], &started, sizeof started) == sizeof started)
			if (started.error)
				failed = started.error;
			else
				s->process = pidfd_open(started.pid, 0);
	}
	close(report[0]);
	return -failed;
}

/* One is there, and only does not listen yet: ours, or one that a drayd before us started a moment ago. */
static bool comes(struct supervisor *s)
{
	struct pollfd alive = { .fd = s->process, .events = POLLIN };
	char lock[4200], who[200];
	struct stat st;
	if (s->process >= 0 && poll(&alive, 1, 0) == 0) {
		snprintf(s->trouble, sizeof s->trouble, "started %u times, it does not answer yet", s->starts);
		return true;
	}
	forget(s);
	snprintf(lock, sizeof lock, "%s/iod/lock", s->config->state_dir);
	if (stat(lock, &st) || !dray_busy_locker(&st, who, sizeof who))
		return false;
	snprintf(s->trouble, sizeof s->trouble, "it does not answer yet, but has its state directory: %s", who);
	return true;
}

void supervisor_absent(struct supervisor *s, uint64_t now)
{
	if (s->stopped || s->config->no_iod || now < s->next_at || comes(s))
		return;
	int rc = spawn(s);
	s->starts++;
	s->backoff = s->backoff ? s->backoff * 2 : SECOND / 2;
	if (s->backoff > 30 * SECOND)
		s->backoff = 30 * SECOND;
	s->next_at = now + s->backoff;
	if (rc) {
		snprintf(s->trouble, sizeof s->trouble, "%s: %s", s->config->iod_program, strerror(-rc));
		dray_log(DRAY_LOG_ERROR, "iod-start-failed", "%s", s->trouble);
	} else {
		snprintf(s->trouble, sizeof s->trouble, "started %u times, it does not answer yet", s->starts);
		dray_log(DRAY_LOG_INFO, "iod-started", "%s", s->config->iod_program);
	}
}
