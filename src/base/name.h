/* SPDX-License-Identifier: BSD-3-Clause */
/* What a volume may be called: its name is that of a directory, of an NBD export, and part of a URI. */
#ifndef DRAY_BASE_NAME_H
#define DRAY_BASE_NAME_H

#include <stdbool.h>
#include <string.h>

#define DRAY_VOLUME_NAME_MAX 128
#define DRAY_VOLUME_NAME_LEGAL "1 to 128 of A-Z a-z 0-9 . _ -, beginning with none of . -"

static inline bool dray_volume_name_ok(const char *name)
{
	size_t n = strlen(name);
	return n >= 1 && n <= DRAY_VOLUME_NAME_MAX && name[0] != '.' && name[0] != '-' &&
	       strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == n;
}

#endif
