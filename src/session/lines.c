/* SPDX-License-Identifier: BSD-3-Clause */
/* Where in the text what was found wrong stands. */
#include "session/reader.h"
#include "session/session.h"

#include <stdlib.h>
#include <string.h>

/* The line of a pointer's target, or of the closest thing around it that is there. */
static unsigned line_of(const json_t *v, const struct dray_lines *lines, const char *pointer)
{
	while (*pointer == '/') {
		char key[256];
		size_t n = 0;
		for (pointer++; *pointer && *pointer != '/'; pointer++) {
			char c = *pointer;
			if (c == '~' && (pointer[1] == '0' || pointer[1] == '1'))
				c = *++pointer == '0' ? '~' : '/';
			if (n + 1 < sizeof key)
				key[n++] = c;
		}
		key[n] = 0;
		unsigned i = 0;
		const json_t *next = NULL;
		if (json_is_array(v)) {
			unsigned long at = strtoul(key, NULL, 10);
			i = at < lines->n ? (unsigned)at : lines->n;
			next = json_array_get(v, i);
		} else if (json_is_object(v)) {
			const char *name;
			json_t *member;
			json_object_foreach((json_t *)v, name, member) {
				if (!strcmp(name, key)) {
					next = member;
					break;
				}
				i++;
			}
		}
		if (!next || i >= lines->n)
			break;
		v = next;
		lines = &lines->child[i];
	}
	return lines->line;
}

void dray_session_add_lines(const struct dray_session *session, struct dray_problems *problems)
{
	if (!session->lines)
		return;
	for (size_t i = 0; i < problems->n; i++)
		if (!problems->items[i].line)
			problems->items[i].line = line_of(session->doc, session->lines, problems->items[i].pointer);
}
