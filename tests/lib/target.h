/* SPDX-License-Identifier: BSD-3-Clause */
/* Something to read blocks from: a file, a device or an NBD export. Errors are told on stderr. */
#ifndef TESTS_LIB_TARGET_H
#define TESTS_LIB_TARGET_H

#include <libnbd.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct target {
	const char *name;
	struct nbd_handle *nbd;
	int fd;
	uint64_t size_bytes;
};

bool target_open(struct target *t, const char *name);
bool target_read(struct target *t, void *buf, size_t bytes, uint64_t offset);
void target_close(struct target *t);

#endif
