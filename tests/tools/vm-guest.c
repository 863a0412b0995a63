/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vm-guest: the hand of a test inside the emulated machine (tests/lib/vm.py). Reads one JSON object a line
 * from a virtio-serial port, runs the program it names, and answers with one line:
 *
 *     {"argv": ["lvcreate", ...], "stdin": "...", "env": {"NAME": "value"}}
 *     {"status": 0, "stdout": "...", "stderr": "..."}
 *
 * One program at a time. What a program leaves running in the background must not keep the pipes that it was
 * given: it is answered when the program itself ended and what it wrote by then was read. A status of 128 + N
 * is a death by signal N, as a shell says it. Bytes that are no UTF-8 come back as '?'. "ready" is the first
 * line it writes.
 *
 * Usage: vm-guest PORT
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct text {
	char *at;
	size_t n;
};

static void die(const char *what)
{
	fprintf(stderr, "vm-guest: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* Takes what is there. False at the end. */
static bool drain(int fd, struct text *t)
{
	char buf[65536];
	ssize_t n = read(fd, buf, sizeof buf);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	t->at = realloc(t->at, t->n + (size_t)n + 1);
	if (!t->at)
		die("memory");
	for (ssize_t i = 0; i < n; i++)
		t->at[t->n++] = buf[i] > 0 ? buf[i] : '?';
	t->at[t->n] = 0;
	return n > 0;
}

static pid_t child; /* the program that runs */
static volatile sig_atomic_t ended, status;

/* As the machine's last parent it also buries what was left by others. */
static void on_child(int sig)
{
	(void)sig;
	int s, e = errno;
	for (pid_t p; (p = waitpid(-1, &s, WNOHANG)) > 0;)
		if (p == child) {
			status = s;
			ended = 1;
		}
	errno = e;
}

static void run_child(const json_t *request, int in, int out, int err)
{
	const json_t *argv = json_object_get(request, "argv"), *value;
	const char *name;
	size_t n = json_array_size(argv);
	char **args = calloc(n + 1, sizeof *args);
	for (size_t i = 0; args && i < n; i++)
		args[i] = (char *)json_string_value(json_array_get(argv, i));
	json_object_foreach ((json_t *)json_object_get(request, "env"), name, value)
		setenv(name, json_string_value(value), 1);
	dup2(in, 0);
	dup2(out, 1);
	dup2(err, 2);
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setsid();
	if (args && args[0])
		execvp(args[0], args);
	fprintf(stderr, "%s: %s\n", args && args[0] ? args[0] : "argv", strerror(errno));
	_exit(127);
}

static json_t *run(const json_t *request)
{
	int out[2], err[2];
	FILE *in = tmpfile();
	const char *text = json_string_value(json_object_get(request, "stdin"));
	if (!in || pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC))
		die("pipe");
	if (text)
		fputs(text, in);
	fflush(in);
	fcntl(fileno(in), F_SETFD, FD_CLOEXEC);
	rewind(in);
	sigset_t chld, before;
	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	sigprocmask(SIG_BLOCK, &chld, &before);
	ended = 0;
	child = fork();
	if (child < 0)
		die("fork");
	if (!child)
		run_child(request, fileno(in), out[1], err[1]);
	fclose(in);
	close(out[1]);
	close(err[1]);
	fcntl(out[0], F_SETFL, O_NONBLOCK);
	fcntl(err[0], F_SETFL, O_NONBLOCK);
	struct text t[2] = {{0}};
	struct pollfd p[2] = {{.fd = out[0], .events = POLLIN}, {.fd = err[0], .events = POLLIN}};
	while (!ended) {
		/* SIGCHLD comes only here. */
		if (ppoll(p, 2, NULL, &before) < 0)
			continue;
		for (int i = 0; i < 2; i++)
			if (p[i].revents && !drain(p[i].fd, &t[i]))
				p[i].fd = -1;
	}
	sigprocmask(SIG_SETMASK, &before, NULL);
	for (int i = 0; i < 2; i++)
		while (p[i].fd >= 0 && poll(&p[i], 1, 0) > 0 && drain(p[i].fd, &t[i]))
			continue;
	close(out[0]);
	close(err[0]);
	int s = status;
	json_t *answer =
		json_pack("{s:i, s:s, s:s}", "status", WIFSIGNALED(s) ? 128 + WTERMSIG(s) : WEXITSTATUS(s),
			"stdout", t[0].at ? t[0].at : "", "stderr", t[1].at ? t[1].at : "");
	free(t[0].at);
	free(t[1].at);
	return answer;
}

static void say(int fd, const char *line)
{
	for (size_t n = strlen(line); n;) {
		ssize_t w = write(fd, line, n);
		if (w < 0 && errno != EINTR)
			die("write");
		if (w > 0) {
			line += w;
			n -= (size_t)w;
		}
	}
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: vm-guest PORT\n");
		return 2;
	}
	int fd = open(argv[1], O_RDWR | O_CLOEXEC);
	if (fd < 0)
		die(argv[1]);
	struct sigaction sa = {.sa_handler = on_child};
	sigaction(SIGCHLD, &sa, NULL);
	say(fd, "ready\n");
	char *line = NULL;
	size_t size = 0;
	for (size_t n = 0;;) {
		if (n + 65536 > size && !(line = realloc(line, size = n + (1 << 20))))
			die("memory");
		ssize_t r = read(fd, line + n, size - n - 1);
		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			die("read");
		n += (size_t)r;
		if (line[n - 1] != '\n')
			continue;
		line[n] = 0;
		n = 0;
		json_error_t e;
		json_t *request = json_loads(line, 0, &e);
		json_t *answer =
			request ? run(request)
				: json_pack("{s:i, s:s, s:s}", "status", 126, "stdout", "", "stderr", e.text);
		char *text = json_dumps(answer, JSON_COMPACT);
		if (!text)
			die("answer");
		say(fd, text);
		say(fd, "\n");
		free(text);
		json_decref(answer);
		json_decref(request);
	}
}
