/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A table of pointers by name: finds, adds and removes in the time of one, however many there are. Names are copied. The caller owns
 * what the pointers lead to. Allocation failures end the process.
 */
#ifndef DRAY_BASE_TABLE_H
#define DRAY_BASE_TABLE_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct dray_table_entry {
	struct dray_table_entry *next;
	uint64_t hash;
	void *value;
	char name[];
};

struct dray_table { /* all zero: empty */
	struct dray_table_entry **buckets;
	size_t n_buckets, n;
};

/* FNV-1a. */
static inline uint64_t dray_table_hash(const char *name)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);
	for (; *name; name++)
		hash = (hash ^ (unsigned char)*name) * UINT64_C(0x100000001b3);
	return hash;
}

/* Where the entry of that name hangs, or would. */
static inline struct dray_table_entry **dray_table_at(const struct dray_table *t, const char *name, uint64_t hash)
{
	struct dray_table_entry **at = &t->buckets[hash % t->n_buckets];
	while (*at && ((*at)->hash != hash || strcmp((*at)->name, name)))
		at = &(*at)->next;
	return at;
}

/* NULL: there is none. */
static inline void *dray_table_get(const struct dray_table *t, const char *name)
{
	if (!t->n)
		return NULL;
	const struct dray_table_entry *e = *dray_table_at(t, name, dray_table_hash(name));
	return e ? e->value : NULL;
}

static inline void dray_table_grow(struct dray_table *t)
{
	size_t n = t->n_buckets ? t->n_buckets * 2 : 16;
	struct dray_table_entry **buckets = calloc(n, sizeof(struct dray_table_entry *));
	if (!buckets)
		abort();
	for (size_t i = 0; i < t->n_buckets; i++)
		for (struct dray_table_entry *e = t->buckets[i], *next; e; e = next) {
			next = e->next;
			e->next = buckets[e->hash % n];
			buckets[e->hash % n] = e;
		}
	free(t->buckets);
	t->buckets = buckets;
	t->n_buckets = n;
}

/* Adds or replaces; NULL removes. */
static inline void dray_table_put(struct dray_table *t, const char *name, void *value)
{
	uint64_t hash = dray_table_hash(name);
	if (value && t->n >= t->n_buckets)
		dray_table_grow(t);
	if (!t->n_buckets)
		return;
	struct dray_table_entry **at = dray_table_at(t, name, hash), *e = *at;
	if (e && !value) {
		*at = e->next;
		free(e);
		t->n--;
	} else if (e) {
		e->value = value;
	} else if (value) {
		size_t length = strlen(name) + 1;
		e = malloc(sizeof *e + length);
		if (!e)
			abort();
		*e = (struct dray_table_entry){ .hash = hash, .value = value };
		memcpy(e->name, name, length);
		*at = e;
		t->n++;
	}
}

static inline void dray_table_free(struct dray_table *t)
{
	for (size_t i = 0; i < t->n_buckets; i++)
		for (struct dray_table_entry *e = t->buckets[i], *next; e; e = next) {
			next = e->next;
			free(e);
		}
	free(t->buckets);
	*t = (struct dray_table){ 0 };
}

#endif
