/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/prio.h"

#include "base/log.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define IOPRIO_CLASS_BE  2
#define IOPRIO_BY_THREAD 1 /* IOPRIO_WHO_PROCESS: as with nice, in Linux that is a thread */

void dray_prio_take(unsigned priority)
{
	id_t self = (id_t)syscall(SYS_gettid);
	int wanted = dray_prio_nice(priority);
	if (getpriority(PRIO_PROCESS, self) < wanted && setpriority(PRIO_PROCESS, self, wanted))
		dray_log(DRAY_LOG_DEBUG, "nice-refused", "%s", strerror(errno));
	if (syscall(SYS_ioprio_set, IOPRIO_BY_THREAD, 0, IOPRIO_CLASS_BE << 13 | (int)dray_prio_io_level(priority)))
		dray_log(DRAY_LOG_DEBUG, "ioprio-refused", "%s", strerror(errno));
}
