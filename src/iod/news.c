/* SPDX-License-Identifier: BSD-3-Clause */
#include "iod/news.h"

#include "base/log.h"
#include "iod/peers.h"
#include "iod/volume.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define PAGE      1000u /* volumes in one answer: some 2 MB */
#define GONE_MOST 20000u
#define CHECKED_AT_ONCE 64u /* by DRAY_CHECK_LIST */
#define RECORD_EVERY UINT64_C(10000000000)
#define RECORD_LEAST UINT64_C(2000000) /* a smaller difference is no news */

struct gone {
	struct dray_list node;
	uint64_t change;
	char name[];
};

void iod_news_init(struct iod *iod)
{
	dray_list_init(&iod->news.by_change);
	dray_list_init(&iod->news.gone);
}

static void forget_first(struct iod_news *news)
{
	struct gone *g = dray_container(dray_list_pop(&news->gone), struct gone, node);
	news->forgotten = g->change;
	news->n_gone--;
	free(g);
}

void iod_news_free(struct iod *iod)
{
	while (iod->news.n_gone)
		forget_first(&iod->news);
}

void iod_news_changed(struct iod_volume *v)
{
	struct iod_news *news = &v->iod->news;
	if (v->adding || v->removed || dray_list_empty(&v->node))
		return;
	dray_list_del(&v->change_node);
	v->change = ++news->change;
	dray_list_add_tail(&news->by_change, &v->change_node);
}

void iod_news_gone(struct iod_volume *v)
{
	struct iod_news *news = &v->iod->news;
	bool told = v->change;
	dray_list_del(&v->change_node);
	if (!told)
		return;
	size_t length = strlen(v->def.name) + 1;
	struct gone *g = malloc(sizeof *g + length);
	news->change++;
	if (!g) {
		news->forgotten = news->change;
		return;
	}
	g->change = news->change;
	memcpy(g->name, v->def.name, length);
	dray_list_add_tail(&news->gone, &g->node);
	if (++news->n_gone > GONE_MOST)
		forget_first(news);
}

/* ---- what is found out when somebody asks ---- */

struct collecting {
	struct iod *iod;
	struct iod_thread *thread;
};

static void collect(void *arg)
{
	struct collecting *c = arg;
	struct dray_list *n;
	pthread_mutex_lock(&c->iod->lock);
	while ((n = dray_list_pop(&c->thread->news)))
		iod_news_changed(dray_container(n, struct iod_volume, vio.news_node));
	pthread_mutex_unlock(&c->iod->lock);
}

static uint64_t apart(uint64_t a, uint64_t b)
{
	return a > b ? a - b : b - a;
}

/* A prediction of a blackout has in it what a record takes. */
static bool record_is_news(struct iod *iod, uint64_t now_ns)
{
	struct iod_news *news = &iod->news;
	uint64_t ns = iod_epochs_ewma_ns(iod->epochs);
	pthread_mutex_lock(&iod->lock);
	bool is = apart(ns, news->record_ns) > RECORD_LEAST && (ns > 2 * news->record_ns || news->record_ns > 2 * ns) &&
		now_ns >= news->record_at_ns + RECORD_EVERY;
	if (is) {
		news->record_ns = ns;
		news->record_at_ns = now_ns;
	}
	pthread_mutex_unlock(&iod->lock);
	return is;
}

static void find_news(struct iod *iod)
{
	for (unsigned i = 0; i < iod->n_threads; i++) {
		struct collecting c = { iod, &iod->threads[i] };
		iod_thread_call(c.thread, collect, &c);
	}
	iod_peers_news(iod, &iod->news.devices);
	if (!record_is_news(iod, iod_now()))
		return;
	pthread_mutex_lock(&iod->lock);
	dray_list_for_each (n, &iod->volumes)
		iod_news_changed(dray_container(n, struct iod_volume, node));
	pthread_mutex_unlock(&iod->lock);
}

/* ---- the answer ---- */

struct answer {
	bool all, more;
	uint64_t from, upto; /* changes */
	struct iod_volume *volumes[PAGE];
	unsigned n;
	json_t *removed;
};

/* iod->lock is held. */
static void choose(struct iod *iod, struct answer *a)
{
	struct iod_news *news = &iod->news;
	struct dray_list *n = news->by_change.prev;
	while (n != &news->by_change && dray_container(n, struct iod_volume, change_node)->change > a->from)
		n = n->prev;
	a->upto = news->change;
	for (n = n->next; n != &news->by_change && a->n < PAGE; n = n->next) {
		struct iod_volume *v = dray_container(n, struct iod_volume, change_node);
		v->refs++;
		a->volumes[a->n++] = v;
	}
	a->more = n != &news->by_change;
	if (a->more)
		a->upto = a->volumes[a->n - 1]->change;
	/* Of those that went before there is nothing to be taken back. */
	for (n = news->gone.prev; !a->all && n != &news->gone; n = n->prev) {
		const struct gone *g = dray_container(n, struct gone, node);
		if (g->change <= a->from)
			break;
		if (g->change <= a->upto)
			json_array_append_new(a->removed, json_string(g->name));
	}
}

/* The change that the cursor stands for. false: none of this process, or too old a one. */
static bool read_cursor(const struct iod *iod, const char *since, uint64_t *change)
{
	size_t n = strlen(iod->incarnation);
	char *end;
	if (strncmp(since, iod->incarnation, n) || since[n] != '.' || since[n + 1] < '0' || since[n + 1] > '9')
		return false;
	*change = strtoull(since + n + 1, &end, 10);
	return !*end && *change <= iod->news.change && *change >= iod->news.forgotten;
}

/* ---- the check ---- */

/* What has no part in it: see above. */
static uint64_t hash_of(json_t *volume)
{
	json_t *copy = json_deep_copy(volume), *leg;
	size_t k;
	json_object_del(copy, "predicted_blackout_us");
	json_object_del(copy, "nbd_devices");
	json_object_del(copy, "latency_us");
	json_object_del(copy, "copy_window");
	json_array_foreach (json_object_get(copy, "legs"), k, leg)
		json_object_del(leg, "degraded_ms");
	char *text = json_dumps(copy, JSON_COMPACT | JSON_SORT_KEYS);
	uint64_t hash = text ? XXH64(text, strlen(text), 0) : 0;
	free(text);
	json_decref(copy);
	return hash;
}

static bool check_wanted(void)
{
	static int wanted = -1;
	if (wanted < 0)
		wanted = getenv("DRAY_CHECK_LIST") != NULL;
	return wanted;
}

struct checking {
	struct iod_volume *v;
	bool touched;
};

static void look_touched(void *arg)
{
	struct checking *c = arg;
	c->touched = !dray_list_empty(&c->v->vio.news_node);
}

/* It is as it was told, or somebody says that it is not, if not at once. */
static bool as_told(struct iod_volume *v, uint64_t upto, uint64_t told)
{
	for (int tries = 0; tries < 50; tries++) {
		struct checking c = { .v = v };
		json_t *now = iod_volume_json(v);
		uint64_t hash = hash_of(now);
		json_decref(now);
		iod_thread_call(v->thread, look_touched, &c);
		pthread_mutex_lock(&v->iod->lock);
		bool known = v->removed || v->taken || v->change > upto || v->told != told || v->iod->stopping;
		pthread_mutex_unlock(&v->iod->lock);
		if (hash == told || c.touched || known || !iod_sleep(v->iod, UINT64_C(100000000)))
			return true;
	}
	return false;
}

/* Some of those that were not in the answer, in turn. */
static void check_others(struct iod *iod, uint64_t upto)
{
	struct {
		struct iod_volume *v;
		uint64_t told;
	} some[CHECKED_AT_ONCE];
	static atomic_uint turn;
	unsigned n = 0, i = 0;
	pthread_mutex_lock(&iod->lock);
	unsigned first = iod->by_name.n > CHECKED_AT_ONCE ? atomic_fetch_add(&turn, CHECKED_AT_ONCE) % iod->by_name.n : 0;
	dray_list_for_each (at, &iod->volumes) {
		struct iod_volume *v = dray_container(at, struct iod_volume, node);
		if (i++ < first || n == CHECKED_AT_ONCE || !v->told || v->change > upto || v->taken || v->adding)
			continue;
		v->refs++;
		some[n].v = v;
		some[n++].told = v->told;
	}
	pthread_mutex_unlock(&iod->lock);
	for (i = 0; i < n; i++) {
		if (!as_told(some[i].v, upto, some[i].told)) {
			char *text = json_dumps(iod_volume_json(some[i].v), JSON_COMPACT);
			dray_log(DRAY_LOG_ERROR, "not-told", "%s: it changed, and nobody said so: %s", some[i].v->def.name, text ? text : "");
			abort();
		}
		iod_volume_put(some[i].v);
	}
}

json_t *iod_news_since(struct iod *iod, const char *since)
{
	struct answer *a = calloc(1, sizeof *a);
	if (!a)
		return NULL;
	find_news(iod);
	a->removed = json_array();
	pthread_mutex_lock(&iod->lock);
	a->all = !read_cursor(iod, since, &a->from);
	if (a->all)
		a->from = 0;
	choose(iod, a);
	pthread_mutex_unlock(&iod->lock);
	json_t *volumes = json_array();
	for (unsigned i = 0; i < a->n; i++) {
		json_t *volume = iod_volume_json(a->volumes[i]);
		if (check_wanted()) {
			uint64_t hash = hash_of(volume);
			pthread_mutex_lock(&iod->lock);
			a->volumes[i]->told = hash;
			pthread_mutex_unlock(&iod->lock);
		}
		json_array_append_new(volumes, volume);
		iod_volume_put(a->volumes[i]);
	}
	if (check_wanted() && !a->more)
		check_others(iod, a->upto);
	json_t *answer = json_pack("{s:o s:b s:b s:o s:o}", "cursor", json_sprintf("%s.%" PRIu64, iod->incarnation, a->upto), "all", a->all,
		"more", a->more, "removed", a->removed, "volumes", volumes);
	free(a);
	return answer;
}
