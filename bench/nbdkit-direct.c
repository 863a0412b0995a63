/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The nbdkit plugin that dray-iod is measured against: one file, preadv and pwritev with O_DIRECT, any number
 * of requests at once on nbdkit's threads. nbdkit's buffers are not aligned for O_DIRECT, so each thread has
 * one that is.
 *
 *     nbdkit -f -U SOCKET nbdkit-direct.so file=PATH
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

static char *path;
static int fd = -1;

static int direct_config(const char *key, const char *value)
{
	if (strcmp(key, "file") != 0) {
		nbdkit_error("unknown parameter '%s'", key);
		return -1;
	}
	path = nbdkit_realpath(value);
	return path ? 0 : -1;
}

static int direct_get_ready(void)
{
	fd = path ? open(path, O_RDWR | O_DIRECT | O_CLOEXEC) : -1;
	if (fd < 0)
		nbdkit_error("file=%s: %m", path ? path : "");
	return fd < 0 ? -1 : 0;
}

static void *direct_open(int readonly)
{
	return NBDKIT_HANDLE_NOT_NEEDED;
}

static int64_t direct_get_size(void *handle)
{
	return lseek(fd, 0, SEEK_END);
}

static int direct_can_multi_conn(void *handle)
{
	return 1;
}

static void *aligned(size_t bytes)
{
	static __thread void *buf;
	static __thread size_t has;
	if (bytes > has) {
		free(buf);
		has = (bytes + 4095) / 4096 * 4096;
		buf = aligned_alloc(4096, has);
	}
	return buf;
}

static int whole(ssize_t did, size_t bytes)
{
	if (did == (ssize_t)bytes)
		return 0;
	nbdkit_error("%s: %m", path);
	nbdkit_set_error(did < 0 ? errno : EIO);
	return -1;
}

static int direct_pread(void *handle, void *buf, uint32_t count, uint64_t offset, uint32_t flags)
{
	struct iovec iov = {aligned(count), count};
	int rc = whole(preadv(fd, &iov, 1, (off_t)offset), count);
	if (rc == 0)
		memcpy(buf, iov.iov_base, count);
	return rc;
}

static int direct_flush(void *handle, uint32_t flags)
{
	return fdatasync(fd);
}

static int direct_pwrite(void *handle, const void *buf, uint32_t count, uint64_t offset, uint32_t flags)
{
	struct iovec iov = {aligned(count), count};
	memcpy(iov.iov_base, buf, count);
	int rc = whole(pwritev(fd, &iov, 1, (off_t)offset), count);
	return rc == 0 && (flags & NBDKIT_FLAG_FUA) ? direct_flush(handle, 0) : rc;
}

static struct nbdkit_plugin plugin = {
	.name = "direct",
	.config = direct_config,
	.get_ready = direct_get_ready,
	.open = direct_open,
	.get_size = direct_get_size,
	.can_multi_conn = direct_can_multi_conn,
	.pread = direct_pread,
	.pwrite = direct_pwrite,
	.flush = direct_flush,
};

NBDKIT_REGISTER_PLUGIN(plugin)
