/* SPDX-License-Identifier: BSD-3-Clause */
/* Lists of words, as the tables of tests have them: "pause resume read-only". */
#ifndef DRAY_TESTS_WORDS_H
#define DRAY_TESTS_WORDS_H

#include <stdbool.h>
#include <string.h>

/* Whether `word` is one of the words of `list`; '-' belongs to words. */
static inline bool among(const char *list, const char *word)
{
	size_t n = strlen(word);
	for (const char *p = list; (p = strstr(p, word)); p += n)
		if ((p == list || p[-1] == ' ') && (p[n] == ' ' || !p[n]))
			return true;
	return false;
}

#endif
