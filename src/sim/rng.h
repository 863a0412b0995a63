/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The simulator's only source of chance: xoshiro256** seeded through splitmix64. One seed, one run, on every machine.
 */
#ifndef DRAY_SIM_RNG_H
#define DRAY_SIM_RNG_H

#include <stdbool.h>
#include <stdint.h>

struct rng {
	uint64_t s[4];
};

static inline void rng_seed(struct rng *r, uint64_t seed)
{
	for (int i = 0; i < 4; i++) {
		uint64_t z = (seed += UINT64_C(0x9e3779b97f4a7c15));
		z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
		z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
		r->s[i] = z ^ z >> 31;
	}
}

static inline uint64_t rng_next(struct rng *r)
{
	uint64_t *s = r->s, m = s[1] * 5, t = s[1] << 17;
	uint64_t result = (m << 7 | m >> 57) * 9;
	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = s[3] << 45 | s[3] >> 19;
	return result;
}

/* 0 .. n-1; n > 0. */
static inline uint64_t rng_below(struct rng *r, uint64_t n)
{
	return rng_next(r) % n;
}

/* a .. b, both included. */
static inline uint64_t rng_range(struct rng *r, uint64_t a, uint64_t b)
{
	return a + rng_below(r, b - a + 1);
}

/* True once in n times. */
static inline bool rng_one_in(struct rng *r, uint64_t n)
{
	return rng_below(r, n) == 0;
}

#endif
