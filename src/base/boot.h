/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which boot of the host is this?
 */
#ifndef DRAY_BASE_BOOT_H
#define DRAY_BASE_BOOT_H

#include <stdbool.h>

/* The file whose first line is another one after each boot. For tests, where faults are allowed, it may be named by the environment
 * (DRAY_BOOT_ID): so a restart of the host can be played. */
const char *dray_boot_id_path(bool faults_allowed);

#endif
