/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The locks that one document needs, while it is validated: to be taken all or none (repo.h), each with the member of the document
 * that it is for, and held against each other as they are added.
 */
#ifndef DRAY_AGENT_LOCK_LIST_H
#define DRAY_AGENT_LOCK_LIST_H

#include "base/table.h"
#include "repo/repo.h"

/* A role with this in front is that of a lock beside another of the same storage, by another of its identities, and is not shown on its own: of a
 * file that was made under a name that was locked, of an NBD export by the process that serves it. */
#define LOCK_BESIDE "~"
#define LOCK_MADE   LOCK_BESIDE "target"
bool lock_is_beside(const struct dray_repo_lock *lock);
/* The role for people. */
const char *lock_role(const struct dray_repo_lock *lock);

/* Zeroed: empty. Identities are owned by the list. */
struct lock_list {
	struct dray_repo_lock *locks;
	char **pointers; /* JSON pointer of the member that each is for */
	size_t n;
	/* By the thing that they are on, of the locks and of those with `lies_on`: the place of the last one (from 1); and of the one before each. */
	struct dray_table by_thing, by_ground;
	size_t *same_thing;
};
void lock_list_free(struct lock_list *list);
/* Adds a lock on what the identity line names (a part of it, where it ends in "+OFFSET,LENGTH"), for a check. Valid until the
 * list is changed or freed. */
struct dray_repo_lock *lock_for(struct lock_list *list, const char *identity);
/* The same for a lock that is to be taken, unless one of the list excludes it: then nothing is added, and *with is that one's place.
 * The caller fills in the rest of what is returned. NULL: excluded. */
struct dray_repo_lock *lock_list_add(struct lock_list *list, const char *identity, bool lies_on, const char *pointer, size_t *with);
/* "file:fsid=..,ino=..+4096,8192" -> the thing, malloc'ed, and the part of it. */
void lock_split_identity(const char *identity, char **thing, uint64_t *start, uint64_t *end);

#endif
