/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Does anybody have a file or device open? Asked before something is done to it that its user would not survive.
 */
#ifndef DRAY_STORAGE_HELD_H
#define DRAY_STORAGE_HELD_H

#include "base/error.h"

/* `fd`: the regular file or block device, open for reading and nowhere else in this process. 0: nobody was seen to have it
 * open. -EBUSY with kind "held" and who: another process, or the kernel (a loop device, swap). Blocks for as long as it takes to
 * look at all processes. What can't be seen: for a device, processes of other users where we are not root, and other
 * PID namespaces. */
int dray_storage_held(int fd, const char *path, struct dray_error *err);

#endif
