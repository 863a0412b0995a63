/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The event is put into a memory file, which becomes the program's standard input: no pipe that somebody would have to feed. What the
 * program writes comes through a pipe that is read when there is something and of which only the beginning is kept; a program that
 * writes for ever is only slow. It gets no descriptor of the agent's, default signals, and is the leader of a session
 * of its own, so that its children can be killed with it. What it leaves in the background when it ends well is its own affair.
 */
#include "agent/hook_run.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define GRACE UINT64_C(2000000000) /* from SIGTERM to SIGKILL */
#define SAID  1000

struct hook_run {
	pid_t pid;
	int pidfd, out;
	uint64_t due;
	int killed; /* 0, 1: SIGTERM, 2: SIGKILL */
	uint64_t limit_ns;
	char said[SAID];
	size_t said_len;
};

static int memory_file(const char *text)
{
	size_t len = strlen(text), at = 0;
	int fd = memfd_create("dray-event", MFD_CLOEXEC);
	while (fd >= 0 && at < len) {
		ssize_t n = write(fd, text + at, len - at);
		if (n <= 0) {
			int e = errno;
			close(fd);
			errno = e;
			return -1;
		}
		at += (size_t)n;
	}
	if (fd >= 0 && lseek(fd, 0, SEEK_SET) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static int spawn(pid_t *pid, const char *path, char *const env[], int in, int out)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none, all;
	char *argv[] = { (char *)(uintptr_t)path, NULL };
	sigemptyset(&none);
	sigfillset(&all);
	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attr);
	posix_spawn_file_actions_adddup2(&actions, in, 0);
	posix_spawn_file_actions_adddup2(&actions, out, 1);
	posix_spawn_file_actions_adddup2(&actions, out, 2);
	posix_spawn_file_actions_addclosefrom_np(&actions, 3);
	posix_spawn_file_actions_addchdir_np(&actions, "/");
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &all);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	int rc = posix_spawn(pid, path, &actions, &attr, argv, env);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attr);
	return -rc;
}

static void watch(int epoll, int fd)
{
	struct epoll_event e = { .events = EPOLLIN, .data.fd = fd };
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e) < 0)
		abort();
}

int hook_run_start(struct hook_run **out, const char *path, const char *text, char *const env[], uint64_t limit_ns, uint64_t now_ns,
	int epoll)
{
	struct hook_run *r = calloc(1, sizeof *r);
	int pipes[2] = { -1, -1 }, in = -1, rc = 0;
	if (!r)
		return -ENOMEM;
	r->pidfd = r->out = -1;
	in = memory_file(text);
	if (in < 0 || pipe2(pipes, O_CLOEXEC) < 0)
		rc = -errno;
	if (!rc)
		rc = spawn(&r->pid, path, env, in, pipes[1]);
	if (!rc && (r->pidfd = pidfd_open(r->pid, 0)) < 0) {
		rc = -errno;
		kill(-r->pid, SIGKILL);
		waitpid(r->pid, NULL, 0);
	}
	if (in >= 0)
		close(in);
	if (pipes[1] >= 0)
		close(pipes[1]);
	if (rc) {
		if (pipes[0] >= 0)
			close(pipes[0]);
		free(r);
		return rc;
	}
	r->out = pipes[0];
	fcntl(r->out, F_SETFL, O_NONBLOCK);
	watch(epoll, r->pidfd);
	watch(epoll, r->out);
	r->limit_ns = limit_ns;
	r->due = now_ns + limit_ns;
	*out = r;
	return 0;
}

/* What it wrote; at most so much at a time that one who writes for ever keeps nobody else waiting. */
static void listen_to(struct hook_run *r)
{
	char buf[4096];
	for (int i = 0; i < 16 && r->out >= 0; i++) {
		ssize_t n = read(r->out, buf, sizeof buf);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0) {
			close(r->out);
			r->out = -1;
			return;
		}
		size_t keep = SAID - 1 - r->said_len;
		if ((size_t)n < keep)
			keep = (size_t)n;
		memcpy(r->said + r->said_len, buf, keep);
		r->said_len += keep;
	}
}

static void say_how(const struct hook_run *r, const siginfo_t *info, char *how, size_t size)
{
	if (r->killed)
		snprintf(how, size, "not done after %g s: killed", (double)r->limit_ns / 1e9);
	else if (info->si_code != CLD_EXITED)
		snprintf(how, size, "killed by signal %d", info->si_status);
	else if (info->si_status)
		snprintf(how, size, "exit status %d", info->si_status);
	else
		*how = 0;
}

bool hook_run_step(struct hook_run *r, uint64_t now_ns, char *how, size_t size)
{
	siginfo_t info = { 0 };
	listen_to(r);
	if (now_ns >= r->due && r->killed < 2) {
		kill(-r->pid, r->killed ? SIGKILL : SIGTERM);
		r->killed++;
		r->due = r->killed == 1 ? now_ns + GRACE : UINT64_MAX;
	}
	/* Looked at before it is reaped: as long as it is there its number is nobody else's. */
	if (waitid(P_PIDFD, (id_t)r->pidfd, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || !info.si_pid)
		return false;
	if (r->killed)
		kill(-r->pid, SIGKILL);
	waitpid(r->pid, NULL, 0);
	r->pid = 0;
	listen_to(r);
	say_how(r, &info, how, size);
	return true;
}

const char *hook_run_said(const struct hook_run *r)
{
	return r->said;
}

uint64_t hook_run_due(const struct hook_run *r)
{
	return r->due;
}

void hook_run_free(struct hook_run *r)
{
	if (!r)
		return;
	if (r->pid) {
		kill(-r->pid, SIGKILL);
		waitpid(r->pid, NULL, 0);
	}
	/* Closed ones leave the epoll set by themselves. */
	if (r->pidfd >= 0)
		close(r->pidfd);
	if (r->out >= 0)
		close(r->out);
	free(r);
}
