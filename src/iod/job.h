/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Threads for what may wait: the verbs of the control protocol, the opening of storage.
 *
 * A verb is a sequence of steps that each may take long (open a device, wait for a lock, sync a file, wait for the last
 * operation of a stalled leg). It is written as straight code on a thread of its own for as long as it lasts; neither the
 * control socket nor an I/O thread ever waits for it. Idle threads are kept for a while and used again.
 */
#ifndef DRAY_IOD_JOB_H
#define DRAY_IOD_JOB_H

#include <stdbool.h>
#include <stdint.h>

struct iod_jobs;

/* At most `max` jobs at once. -ENOMEM. */
int iod_jobs_new(struct iod_jobs **jobs, unsigned max);
/* Any thread. 0, or -EAGAIN (too many run, or no thread could be started): the job will not run. */
int iod_jobs_run(struct iod_jobs *jobs, void (*run)(void *arg), void *arg);
/* Waits until no job runs; false if some still do after `wait_ns`. */
bool iod_jobs_drain(struct iod_jobs *jobs, uint64_t wait_ns);

#endif
