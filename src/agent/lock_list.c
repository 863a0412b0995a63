/* SPDX-License-Identifier: BSD-3-Clause */
#include "agent/lock_list.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *lock_role(const struct dray_repo_lock *lock)
{
	return lock->role + lock_is_beside(lock);
}

bool lock_is_beside(const struct dray_repo_lock *lock)
{
	return lock->role[0] == LOCK_BESIDE[0];
}

void lock_list_free(struct lock_list *list)
{
	for (size_t i = 0; i < list->n; i++) {
		free((char *)list->locks[i].identity);
		free(list->pointers[i]);
	}
	dray_table_free(&list->by_thing);
	dray_table_free(&list->by_ground);
	free(list->same_thing);
	free(list->locks);
	free(list->pointers);
	*list = (struct lock_list){ 0 };
}

void lock_split_identity(const char *identity, char **thing, uint64_t *start, uint64_t *end)
{
	const char *plus = strrchr(identity, '+');
	unsigned long long offset, length;
	int used = 0;
	*start = 0;
	*end = DRAY_REPO_END;
	if (plus && sscanf(plus, "+%llu,%llu%n", &offset, &length, &used) == 2 && !plus[used] && length &&
		offset < DRAY_REPO_END && length <= DRAY_REPO_END - offset) {
		*thing = strndup(identity, (size_t)(plus - identity));
		*start = offset;
		*end = offset + length;
	} else {
		*thing = strdup(identity);
	}
}

struct dray_repo_lock *lock_for(struct lock_list *l, const char *identity)
{
	struct dray_repo_lock *locks = realloc(l->locks, (l->n + 1) * sizeof *locks);
	if (locks)
		l->locks = locks;
	char **pointers = realloc(l->pointers, (l->n + 1) * sizeof *pointers);
	if (pointers)
		l->pointers = pointers;
	size_t *same = realloc(l->same_thing, (l->n + 1) * sizeof *same);
	if (same)
		l->same_thing = same;
	if (!locks || !pointers || !same)
		abort();
	char *thing;
	struct dray_repo_lock *lock = &l->locks[l->n];
	*lock = (struct dray_repo_lock){ .resource = "", .session = "", .role = "" };
	lock_split_identity(identity, &thing, &lock->start, &lock->end);
	lock->identity = thing;
	l->pointers[l->n++] = NULL;
	return lock;
}

/* The place, from 1, of one on the same thing with bytes in common; 0: none. */
static size_t meets(const struct lock_list *l, const struct dray_table *table, const struct dray_repo_lock *lock)
{
	size_t at = (uintptr_t)dray_table_get(table, lock->identity);
	while (at && (l->locks[at - 1].start >= lock->end || lock->start >= l->locks[at - 1].end))
		at = l->same_thing[at - 1];
	return at;
}

struct dray_repo_lock *lock_list_add(struct lock_list *l, const char *identity, bool lies_on, const char *pointer, size_t *with)
{
	struct dray_repo_lock *lock = lock_for(l, identity);
	struct dray_table *own = lies_on ? &l->by_ground : &l->by_thing;
	size_t at = meets(l, &l->by_thing, lock);
	if (!at && !lies_on)
		at = meets(l, &l->by_ground, lock);
	if (at) {
		*with = at - 1;
		free((char *)lock->identity);
		l->n--;
		return NULL;
	}
	l->same_thing[l->n - 1] = (uintptr_t)dray_table_get(own, lock->identity);
	dray_table_put(own, lock->identity, (void *)(uintptr_t)l->n);
	lock->lies_on = lies_on;
	l->pointers[l->n - 1] = strdup(pointer);
	return lock;
}
