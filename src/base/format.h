/* SPDX-License-Identifier: BSD-3-Clause */
/* Texts of any length. */
#ifndef DRAY_BASE_FORMAT_H
#define DRAY_BASE_FORMAT_H

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* The text, for the caller to free. Never NULL: no memory ends the process. Any thread. */
__attribute__((format(printf, 1, 0))) static inline char *dray_vformat(const char *fmt, va_list ap)
{
	char *text;
	if (vasprintf(&text, fmt, ap) < 0)
		abort();
	return text;
}

#endif
