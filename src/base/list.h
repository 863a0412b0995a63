/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An intrusive doubly linked list: the node lives inside the thing listed, so that nothing is allocated.
 * A node that is on no list points to itself; removing it again does nothing.
 */
#ifndef DRAY_BASE_LIST_H
#define DRAY_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct dray_list {
	struct dray_list *prev, *next;
};

#define dray_container(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

static inline void dray_list_init(struct dray_list *n)
{
	n->prev = n->next = n;
}

static inline bool dray_list_empty(const struct dray_list *head)
{
	return head->next == head;
}

static inline void dray_list_add_tail(struct dray_list *head, struct dray_list *n)
{
	n->prev = head->prev;
	n->next = head;
	head->prev->next = n;
	head->prev = n;
}

static inline void dray_list_add_head(struct dray_list *head, struct dray_list *n)
{
	dray_list_add_tail(head->next, n);
}

static inline void dray_list_del(struct dray_list *n)
{
	n->prev->next = n->next;
	n->next->prev = n->prev;
	dray_list_init(n);
}

/* Takes the first node off the list; NULL if it is empty. */
static inline struct dray_list *dray_list_pop(struct dray_list *head)
{
	if (dray_list_empty(head))
		return NULL;
	struct dray_list *n = head->next;
	dray_list_del(n);
	return n;
}

#define dray_list_for_each(n, head) for (struct dray_list *n = (head)->next; n != (head); n = n->next)

/* As above; the current node may be removed inside the loop. */
#define dray_list_for_each_safe(n, head)                                                                       \
	for (struct dray_list *n = (head)->next, *n##_next = n->next; n != (head); n = n##_next, n##_next = n->next)

#endif
