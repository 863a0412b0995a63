/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/boot.h"

#include <stdlib.h>

const char *dray_boot_id_path(bool faults_allowed)
{
	const char *other = faults_allowed ? getenv("DRAY_BOOT_ID") : NULL;
	return other && *other ? other : "/proc/sys/kernel/random/boot_id";
}
