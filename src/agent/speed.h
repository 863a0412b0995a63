/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How fast sources can be read, and how much of them holds anything: a few reads, here and there, for a moment. Nothing is written, and no
 * lock is taken. May block: on a request's own thread.
 *
 * However many sources there are, no more than SPEED_PROBES of them are read, and of those on one disk no more than SPEED_OF_A_DISK, far apart in the
 * document, each disk once before any is read twice; the others of that disk are taken to be as fast as these. And no longer than a few seconds in all.
 */
#ifndef DRAY_AGENT_SPEED_H
#define DRAY_AGENT_SPEED_H

#include "agent/probe.h"

#define SPEED_PROBES    32
#define SPEED_OF_A_DISK 4

/* Sets `speed` of the sources of a session's probes. A server that does not answer is not waited for: for a few seconds in all, and
 * what it takes to connect to one server. */
void speed_of_session(const struct dray_session *s, const json_t *volumes, struct probe_set *probes);

/* The choice: a pure function. */
struct speed_candidate {
	size_t pair;
	bool tiny;     /* too little is in it to be read for a time that says anything */
	unsigned turn; /* out: of its disk, 0 is read first; SPEED_OF_A_DISK: not at all */
	char place[300];
};
/* Sorts the list by place, and says which of it are to be read, in order. How many. */
size_t speed_choose(struct speed_candidate *list, size_t n, size_t chosen[SPEED_PROBES]);

#endif
