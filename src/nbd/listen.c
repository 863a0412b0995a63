/* SPDX-License-Identifier: BSD-3-Clause */
/* Listening sockets. */
#include "nbd/conn.h"

#include <errno.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define BACKLOG 128

bool nbd_address_text(const struct sockaddr_storage *ss, socklen_t len, char *host, size_t host_size,
	char *port, size_t port_size)
{
	return getnameinfo((const struct sockaddr *)ss, len, host, (socklen_t)host_size, port,
		       (socklen_t)port_size, NI_NUMERICHOST | NI_NUMERICSERV) == 0;
}

/* A server that was killed listens a moment longer: the kernel takes down its io_uring, which holds the
 * socket, after the process is gone. So one that answers is asked again for a while. */
#define PROBE_MS 20
#define PROBES   100

static int probe(const struct sockaddr_un *sun)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	int rc = connect(fd, (const struct sockaddr *)sun, sizeof *sun) < 0 ? -errno : 0;
	close(fd);
	return rc;
}

/* 0: there is nothing, or it was a socket that nobody listens on and is removed. */
static int clear_stale(const char *path, const struct sockaddr_un *sun, struct dray_error *err)
{
	struct stat st;
	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : dray_error_errno(err, -errno, "socket %s", path);
	if (!S_ISSOCK(st.st_mode))
		return dray_error_set(
			err, -EEXIST, "socket %s: something that is no socket has this name", path);
	int rc = probe(sun);
	/* EAGAIN: somebody listens, and is busy. */
	for (int i = 0; i < PROBES && (rc == 0 || rc == -EAGAIN); i++) {
		nanosleep(&(struct timespec){.tv_nsec = PROBE_MS * 1000000}, NULL);
		rc = probe(sun);
	}
	if (rc == 0 || rc == -EAGAIN)
		return dray_error_set(err, -EADDRINUSE, "socket %s: another server answers there", path);
	if (rc != -ECONNREFUSED && rc != -ENOENT)
		return dray_error_errno(err, rc, "socket %s", path);
	if (unlink(path) < 0 && errno != ENOENT)
		return dray_error_errno(err, -errno, "socket %s: removing a stale one", path);
	return 0;
}

int dray_nbd_listen_unix(const char *path, struct dray_error *err)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof sun.sun_path)
		return dray_error_set(err, -ENAMETOOLONG, "socket %s: the path is longer than %zu bytes",
			path, sizeof sun.sun_path - 1);
	strcpy(sun.sun_path, path);
	int rc = clear_stale(path, &sun, err);
	if (rc)
		return rc;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return dray_error_errno(err, -errno, "socket %s", path);
	/* Nobody can connect between bind and chmod: that takes write permission, which the mode given here
	 * already denies to others. chmod then undoes what the umask took from the group. */
	if (fchmod(fd, 0660) < 0 || bind(fd, (struct sockaddr *)&sun, sizeof sun) < 0 ||
		chmod(path, 0660) < 0 || listen(fd, BACKLOG) < 0) {
		rc = dray_error_errno(err, -errno, "socket %s", path);
		close(fd);
		return rc;
	}
	return fd;
}

int dray_nbd_listen_tcp(const char *host, const char *port, struct dray_error *err)
{
	struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE},
			*list;
	const char *name = host ? host : "*";
	int rc = getaddrinfo(host, port, &hints, &list);
	if (rc)
		return dray_error_set(err, -EINVAL, "address %s:%s: %s", name, port, gai_strerror(rc));
	int fd = -1, error = EADDRNOTAVAIL, on = 1;
	for (struct addrinfo *a = list; a && fd < 0; a = a->ai_next) {
		fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
		if (fd < 0) {
			error = errno;
			continue;
		}
		if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
			bind(fd, a->ai_addr, a->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0) {
			error = errno;
			close(fd);
			fd = -1;
		}
	}
	freeaddrinfo(list);
	return fd >= 0 ? fd : dray_error_errno(err, -error, "address %s:%s", name, port);
}
