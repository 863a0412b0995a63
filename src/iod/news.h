/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which volumes changed since somebody looked: `volume.list` with `since`.
 *
 * Each change of a volume gives it the next number and the last place in a list. Who asks says the number that he was told last, and gets what stands
 * behind it; so a look costs by what changed, and any number of readers may each look at their own pace.
 *
 * Whoever changes anything that describe.c shows says so, before the call that did it is answered:
 *   the engine, its storage   iod_vio_enter, which is before every call of it, keeps the volume on its thread's list; that is collected when
 *                             somebody asks
 *   what is under iod->lock   iod_news_changed; for verbs iod_volume_give does it
 *   a volume that goes        iod_news_gone keeps its name, GONE_MOST of them; who is further behind gets everything
 * What is not of the volume (how long a record takes, the kernel's NBD devices) is looked at when somebody asks, and changes all it concerns.
 * `degraded_ms` runs by itself, and so do `latency_us` and `copy_window` while nothing is asked of the volume: they are as of when the volume
 * was told.
 *
 * DRAY_CHECK_LIST in the environment (the tests have it) has each answer compared with all that was not in it, and ends the process where
 * something changed of which nobody said so.
 */
#ifndef DRAY_IOD_NEWS_H
#define DRAY_IOD_NEWS_H

#include "base/error.h"
#include "base/list.h"

#include <jansson.h>
#include <stdint.h>

struct iod;
struct iod_thread;
struct iod_volume;

/* iod->lock */
struct iod_news {
	uint64_t change;            /* the last one */
	struct dray_list by_change; /* volumes */
	struct dray_list gone;      /* names of volumes that went, oldest first */
	unsigned n_gone;
	uint64_t forgotten;         /* of those that went up to this change some are not in `gone` */
	uint64_t record_ns, record_at_ns; /* what a record takes, as last told, and when */
	uint64_t devices;           /* a hash of the kernel's NBD devices that are connected */
};

void iod_news_init(struct iod *iod);
void iod_news_free(struct iod *iod);
/* iod->lock is held. Of a volume that is not listed (yet, or any more): nothing. */
void iod_news_changed(struct iod_volume *v);
void iod_news_gone(struct iod_volume *v);
/* The answer to volume.list with that `since`. NULL: no memory. A job's thread. */
json_t *iod_news_since(struct iod *iod, const char *since);

#endif
