/* SPDX-License-Identifier: BSD-3-Clause */
#include "session/reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void put(struct dray_pointer *p, const char *s, size_t n)
{
	if (p->len + n + 1 > p->room) {
		p->room = (p->len + n + 1) * 2;
		p->text = realloc(p->text, p->room);
		if (!p->text)
			abort(); /* as in problem.c: nobody could be told */
	}
	memcpy(p->text + p->len, s, n);
	p->len += n;
	p->text[p->len] = 0;
}

size_t dray_pointer_key(struct dray_pointer *p, const char *key)
{
	size_t before = p->len;
	put(p, "/", 1);
	for (; *key; key++) {
		if (*key == '~')
			put(p, "~0", 2);
		else if (*key == '/')
			put(p, "~1", 2);
		else
			put(p, key, 1);
	}
	return before;
}

size_t dray_pointer_index(struct dray_pointer *p, size_t index)
{
	char buf[32];
	size_t before = p->len;
	put(p, buf, (size_t)snprintf(buf, sizeof buf, "/%zu", index));
	return before;
}

void dray_pointer_cut(struct dray_pointer *p, size_t len)
{
	p->len = len;
	if (p->text)
		p->text[len] = 0;
}

const char *dray_pointer_text(const struct dray_pointer *p)
{
	return p->text ? p->text : "";
}

void dray_pointer_free(struct dray_pointer *p)
{
	free(p->text);
	*p = (struct dray_pointer){ 0 };
}
