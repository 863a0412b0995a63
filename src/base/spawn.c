/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ENV_MOST 16
#define KILL_NS  UINT64_C(5000000000)

static uint64_t clock_ns(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec;
}

int dray_spawn_find(const char *name, char *buf, size_t size)
{
	static const char *const where[] = { "/usr/sbin", "/usr/bin", "/sbin", "/bin" };
	for (size_t i = 0; i < sizeof where / sizeof where[0]; i++)
		if ((size_t)snprintf(buf, size, "%s/%s", where[i], name) < size && !access(buf, X_OK))
			return 0;
	return -ENOENT;
}

struct pipes {
	int out[2], err[2];
};

static void close_both(int fds[2])
{
	for (int i = 0; i < 2; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

static int start(const struct dray_spawn *s, const char *path, const struct pipes *p, pid_t *pid)
{
	char *env[ENV_MOST + 3], *kept[ENV_MOST];
	size_t n = 0, n_kept = 0;
	env[n++] = (char *)(uintptr_t)"PATH=/usr/sbin:/usr/bin:/sbin:/bin";
	env[n++] = (char *)(uintptr_t)"LC_ALL=C";
	for (size_t i = 0; s->keep && s->keep[i] && n_kept < ENV_MOST; i++) {
		const char *value = getenv(s->keep[i]);
		if (value && asprintf(&kept[n_kept], "%s=%s", s->keep[i], value) >= 0)
			env[n++] = kept[n_kept++];
	}
	env[n] = NULL;
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	sigset_t none, all;
	sigemptyset(&none);
	sigfillset(&all);
	posix_spawn_file_actions_init(&files);
	posix_spawnattr_init(&attr);
	int rc = posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
	if (!rc)
		rc = posix_spawn_file_actions_adddup2(&files, p->out[1], 1);
	if (!rc)
		rc = posix_spawn_file_actions_adddup2(&files, p->err[1], 2);
	if (!rc)
		rc = posix_spawn_file_actions_addclosefrom_np(&files, 3);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &all);
	posix_spawnattr_setpgroup(&attr, 0);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
	if (!rc)
		rc = posix_spawn(pid, path, &files, &attr, (char **)(uintptr_t)s->argv, env);
	posix_spawn_file_actions_destroy(&files);
	posix_spawnattr_destroy(&attr);
	for (size_t i = 0; i < n_kept; i++)
		free(kept[i]);
	return -rc;
}

/* Takes what is there; what does not fit is thrown away. false: its end. */
static bool take(int fd, char *buf, size_t size, size_t *n)
{
	char rest[4096];
	size_t room = size - 1 - *n;
	ssize_t got = room ? read(fd, buf + *n, room) : read(fd, rest, sizeof rest);
	if (got > 0 && room)
		*n += (size_t)got;
	return got > 0 || (got < 0 && (errno == EINTR || errno == EAGAIN));
}

/* Reads both until they end or the time is over. Returns whether they ended. */
static bool listen_to(const struct pipes *p, uint64_t until, char *out, size_t out_size, size_t *out_n, char *err, size_t err_size,
	size_t *err_n, bool open[2])
{
	while (open[0] || open[1]) {
		uint64_t now = clock_ns();
		if (now >= until)
			return false;
		uint64_t left = (until - now) / 1000000 + 1;
		struct pollfd fds[2] = { { open[0] ? p->out[0] : -1, POLLIN, 0 }, { open[1] ? p->err[0] : -1, POLLIN, 0 } };
		if (poll(fds, 2, left > 60000 ? 60000 : (int)left) <= 0)
			continue;
		if (fds[0].revents)
			open[0] = take(p->out[0], out, out_size, out_n);
		if (fds[1].revents)
			open[1] = take(p->err[0], err, err_size, err_n);
	}
	return true;
}

/* Whether it ended by then. It may have closed its output long before. */
static bool ended(pid_t pid, uint64_t until, int *status)
{
	for (;;) {
		pid_t got = waitpid(pid, status, WNOHANG);
		if (got == pid || (got < 0 && errno != EINTR))
			return true;
		if (clock_ns() >= until)
			return false;
		nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
	}
}

int dray_spawn(const struct dray_spawn *s, struct dray_error *err)
{
	char path[300], scrap[2], said[400];
	char *out = s->out ? s->out : scrap;
	size_t out_size = s->out ? s->out_size : sizeof scrap, out_n = 0, said_n = 0;
	struct pipes p = { { -1, -1 }, { -1, -1 } };
	pid_t pid = 0;
	int status = 0, rc;
	out[0] = 0;
	if (dray_spawn_find(s->argv[0], path, sizeof path))
		return dray_error_set(err, -ENOENT, "%s is not installed", s->argv[0]);
	rc = pipe2(p.out, O_CLOEXEC) || pipe2(p.err, O_CLOEXEC) ? -errno : start(s, path, &p, &pid);
	if (rc) {
		close_both(p.out);
		close_both(p.err);
		return dray_error_errno(err, rc, "%s", path);
	}
	close(p.out[1]);
	close(p.err[1]);
	p.out[1] = p.err[1] = -1;
	bool open[2] = { true, true };
	uint64_t until = clock_ns() + s->timeout_ns;
	bool late = !listen_to(&p, until, out, out_size, &out_n, said, sizeof said, &said_n, open) || !ended(pid, until, &status);
	if (late) {
		kill(-pid, SIGTERM);
		listen_to(&p, clock_ns() + KILL_NS, out, out_size, &out_n, said, sizeof said, &said_n, open);
		if (!ended(pid, clock_ns() + KILL_NS, &status)) {
			kill(-pid, SIGKILL);
			while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
			}
		}
	}
	close_both(p.out);
	close_both(p.err);
	out[out_n] = 0;
	said[said_n] = 0;
	said[strcspn(said, "\n")] = 0;
	const char *words = said + strspn(said, " \t");
	if (late)
		return dray_error_set(err, -ETIMEDOUT, "%s: not done after %u s%s%s", path, (unsigned)(s->timeout_ns / 1000000000),
			*words ? ": " : "", words);
	if (WIFSIGNALED(status))
		return dray_error_set(err, -EIO, "%s: ended by signal %d", path, WTERMSIG(status));
	if (WEXITSTATUS(status))
		return dray_error_set(err, -EIO, "%s: %s%s(status %d)", path, words, *words ? " " : "", WEXITSTATUS(status));
	return 0;
}
