/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is dead is dead for all that lie on it.
 *
 * A disk that was taken away, a file system that was shut down, may hold the storages of many volumes. Those that somebody uses notice; idle
 * ones notice nothing, and keep a dead file system from being unmounted, repaired and mounted again. So where one leg's storage is found
 * dead, all others on the same device are looked at, each for itself, for a number may be another device's by now.
 */
#include "iod/volume.h"

#include "storage/dead.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define SECOND UINT64_C(1000000000)

bool iod_leg_wanted(const struct iod_leg *leg)
{
	const struct iod_volume *v = leg->volume;
	pthread_mutex_lock(&v->iod->lock);
	bool wanted = !leg->forgotten && !v->removed && v->served;
	pthread_mutex_unlock(&v->iod->lock);
	return wanted;
}

enum iod_looked iod_leg_look(struct iod_leg *leg, uint64_t *device)
{
	struct iod_volume *v = leg->volume;
	struct dray_error err = DRAY_ERROR_INIT;
	struct dray_storage_info info = { 0 };
	uint64_t start = 0;
	int rc = iod_volume_take(v, 10 * SECOND, &err), fd = -ENOENT;
	if (rc)
		return rc == -ENOENT ? IOD_UNWANTED : IOD_ALIVE;
	bool wanted = iod_leg_wanted(leg), open = leg->storage;
	if (wanted && open) {
		fd = dray_storage_dup(leg->storage);
		info = leg->storage->info;
		start = leg->storage->slice_offset;
	}
	iod_volume_give(v);
	if (!wanted || !open)
		return wanted ? IOD_CLOSED : IOD_UNWANTED;
	if (fd < 0)
		return IOD_ALIVE;
	bool dead = dray_storage_dead(fd, &info, start);
	close(fd);
	*device = info.device;
	return !dead ? IOD_ALIVE : info.is_block_device ? IOD_DEAD_DEVICE : IOD_DEAD_FILE;
}

bool iod_leg_may_be_looked_for(const struct iod_leg *leg)
{
	return leg->storage && leg->storage->driver->dup && leg->def->stable && !leg->opening && !leg->volume->iod->stopping;
}

/* The legs of other volumes on that device, referenced. The caller frees the array. */
static unsigned find(struct iod_leg *dead, uint64_t device, struct iod_leg ***out)
{
	struct iod *iod = dead->volume->iod;
	unsigned n = 0, most = 0;
	pthread_mutex_lock(&iod->lock);
	dray_list_for_each(at, &iod->volumes) most += dray_container(at, struct iod_volume, node)->n_legs;
	*out = calloc(most, sizeof **out);
	dray_list_for_each(at, &iod->volumes)
	{
		struct iod_volume *v = dray_container(at, struct iod_volume, node);
		for (unsigned i = 0; *out && i < v->n_legs; i++) {
			struct iod_leg *leg = v->legs[i];
			if (leg == dead || leg->info.device != device || leg->forgotten || !iod_leg_may_be_looked_for(leg))
				continue;
			leg->refs++;
			v->refs++;
			(*out)[n++] = leg;
		}
	}
	pthread_mutex_unlock(&iod->lock);
	return n;
}

void iod_neighbours_suspect(struct iod_leg *dead, uint64_t device)
{
	struct iod_leg **legs = NULL;
	unsigned n = device ? find(dead, device, &legs) : 0;
	for (unsigned i = 0; i < n; i++) {
		struct iod_volume *v = legs[i]->volume;
		pthread_mutex_lock(&v->iod->lock);
		bool primary = legs[i]->def->id == v->primary;
		pthread_mutex_unlock(&v->iod->lock);
		if (primary)
			iod_primary_suspect(legs[i]);
		else
			iod_leg_suspect(legs[i]);
		iod_leg_put(legs[i]);
		iod_volume_put(v);
	}
	free(legs);
}
