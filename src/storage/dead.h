/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Is what a descriptor was opened on dead for good?
 *
 * An error of one operation says little: a bad sector, a moment without a path. A device that was taken away, or a file system that was shut
 * down, is dead: through descriptors that were opened before, it fails for ever, whatever comes back under its name. Only then is it right
 * to close them and look for it again, for what was not flushed is given up with that (H13).
 */
#ifndef DRAY_STORAGE_DEAD_H
#define DRAY_STORAGE_DEAD_H

#include "storage/storage.h"

/* A second descriptor of what is open, for dray_storage_dead: it may be looked at while somebody closes the storage. The caller closes it soon: it
 * keeps the lock alive. -ENOTSUP: the driver has nothing that could be dead in this sense (NBD connects anew by itself); or -errno.
 * Any thread, while the storage is open. */
int dray_storage_dup(const struct dray_storage *st);

/* `info` and `slice_offset` are the storage's. False in doubt: what can still be read is alive, and so is what only lacks its answers. Blocks for
 * as long as the device likes. Any thread but a loop's. */
bool dray_storage_dead(int fd, const struct dray_storage_info *info, uint64_t slice_offset);

#endif
