/* SPDX-License-Identifier: BSD-3-Clause */
#include "iod/files.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define RESERVE 64u /* or an eighth, where there are few */
#define FOR_ONE 5u  /* a storage, its lock, a map, a folder and a file in it */

static unsigned most; /* 0: without a limit */
static atomic_uint begun;

void iod_files_init(void)
{
	struct rlimit l;
	if (getrlimit(RLIMIT_NOFILE, &l) < 0)
		return;
	rlim_t had = l.rlim_cur;
	l.rlim_cur = l.rlim_max;
	if (had != l.rlim_max && setrlimit(RLIMIT_NOFILE, &l) < 0) {
		dray_log(DRAY_LOG_WARN, "files", "at most %llu open files: the limit can't be raised: %s", (unsigned long long)had, strerror(errno));
		l.rlim_cur = had;
	}
	most = l.rlim_cur == RLIM_INFINITY || l.rlim_cur > UINT32_MAX ? 0 : (unsigned)l.rlim_cur;
	dray_log(DRAY_LOG_INFO, "files", "at most %u open files", most);
}

static void explain(struct dray_error *err, const char *before)
{
	dray_error_kind(err, -EMFILE, "too_many_files",
		"%s%sdray-iod has about as many files open as it may, %u; volumes, their legs and their clients need some each (raise the hard limit: "
		"LimitNOFILE= of its unit, or ulimit -Hn)", before, before[0] ? ": " : "", most);
}

int iod_files_begin(struct dray_error *err)
{
	unsigned reserve = most / 8 < RESERVE ? most / 8 : RESERVE;
	unsigned others = atomic_fetch_add(&begun, 1);
	/* The kernel gives the lowest number that is free. */
	int fd = most ? fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0) : -1;
	int error = errno;
	if (fd >= 0)
		close(fd);
	if (!most || (fd >= 0 ? (unsigned)fd + others * FOR_ONE + reserve < most : error != EMFILE))
		return 0;
	iod_files_end();
	explain(err, "");
	return -EMFILE;
}

void iod_files_end(void)
{
	atomic_fetch_sub(&begun, 1);
}

void iod_files_explain(struct dray_error *err)
{
	if (err->code != -EMFILE || !strcmp(err->kind, "too_many_files"))
		return;
	struct dray_error was = *err;
	explain(err, was.text);
}
