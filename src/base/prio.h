/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a session's priority (1, low, to 9, high) means to the host, for the work of moving data and for nothing else.
 *
 *   priority   I/O priority       nice
 *   1 to 3     best effort, 7     15
 *   4 to 6     best effort, 6     10
 *   7 to 9     best effort, 5      5
 *
 * What has no priority of its own runs at nice 0 and best effort, 4: so what applications ask for always goes before. The class idle is not
 * used: an application's write may have to wait for the copy step that is at its range, and that must not wait for ever.
 */
#ifndef DRAY_BASE_PRIO_H
#define DRAY_BASE_PRIO_H

/* The level in the class best effort. */
static inline unsigned dray_prio_io_level(unsigned priority)
{
	return 7 - (priority - 1) / 3;
}

static inline int dray_prio_nice(unsigned priority)
{
	return 15 - 5 * (int)((priority - 1) / 3);
}

/* The calling thread, which does nothing but such work, takes both; a process that is nicer already stays so. What the kernel refuses it
 * does without. */
void dray_prio_take(unsigned priority);

#endif
