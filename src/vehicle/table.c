/* SPDX-License-Identifier: BSD-3-Clause */
/* The table of vehicles, and the choice among them. */
#include "vehicle/vehicle.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct dray_vehicle *const vehicles[] = { &dray_vehicle_host, NULL };

const struct dray_vehicle *const *dray_vehicles(void)
{
	return vehicles;
}

const char *dray_vehicle_words(void)
{
	return "auto or host";
}

const struct dray_vehicle *dray_vehicle_find(const char *name)
{
	for (size_t i = 0; vehicles[i]; i++)
		if (!strcmp(vehicles[i]->name, name))
			return vehicles[i];
	return NULL;
}

const struct dray_vehicle *dray_vehicle_choose(const char *name, const struct dray_vehicle_facts *facts,
	struct dray_error *err)
{
	struct dray_vehicle_offer offer;
	if (strcmp(name, "auto")) {
		const struct dray_vehicle *v = dray_vehicle_find(name);
		if (!v) {
			dray_error_kind(err, -ENOENT, "vehicle", "there is no vehicle %s", name);
			return NULL;
		}
		v->probe(facts, &offer);
		if (!offer.possible) {
			dray_error_kind(err, -EINVAL, "vehicle", "the vehicle %s can't move this pair: %s", name, offer.why);
			return NULL;
		}
		return v;
	}
	const struct dray_vehicle *best = NULL;
	unsigned best_rank = 0;
	char why[300] = "";
	for (size_t i = 0; vehicles[i]; i++) {
		vehicles[i]->probe(facts, &offer);
		if (!offer.possible) {
			size_t n = strlen(why);
			snprintf(why + n, sizeof why - n, "%s%s: %s", n ? "; " : "", vehicles[i]->name, offer.why);
		} else if (!best || offer.rank > best_rank) {
			best = vehicles[i];
			best_rank = offer.rank;
		}
	}
	if (!best)
		dray_error_kind(err, -EINVAL, "vehicle", "no vehicle can move this pair: %s", why);
	return best;
}

void dray_pair_view_free(struct dray_pair_view *view)
{
	free(view->targets);
	json_decref(view->volume);
	memset(view, 0, sizeof *view);
}

const char *dray_source_volume(const struct dray_resource *source)
{
	return strncmp(source->resource, "volume:", 7) ? NULL : source->resource + 7;
}

char *dray_vehicle_tag(const struct dray_session *s, const struct dray_pair *p, size_t target)
{
	char *tag;
	return asprintf(&tag, "%s/%u/%zu", s->id, p->id, target) < 0 ? NULL : tag;
}
