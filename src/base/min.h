/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef DRAY_BASE_MIN_H
#define DRAY_BASE_MIN_H

#include <stdint.h>

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

#endif
