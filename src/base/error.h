/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Errors that a person reads.
 *
 * Every function returns 0 (or a useful non-negative number) or a negative errno. What a user can trigger
 * takes a `struct dray_error *` last; it may be NULL where the caller has no use for the words. The text is
 * one phrase; callers put context in front while the error travels up:
 *
 *     pair 2: target /dev/sdc: write at 4096: No space left on device
 *
 * The struct is plain data, owned by the caller, needs no clean-up, and may be copied.
 */
#ifndef DRAY_BASE_ERROR_H
#define DRAY_BASE_ERROR_H

#include <stdarg.h>

struct dray_error {
	int code;        /* negative errno; 0 = no error was set */
	char kind[32];   /* a stable word for programs ("locked", "too_small", ...), or "" */
	char text[480];  /* one phrase for people, always terminated */
};

#define DRAY_ERROR_INIT ((struct dray_error){ .code = 0 })

/* Sets the error and returns `code`, so that `return dray_error_set(err, -EINVAL, ...)` reads well.
 * `code` must be negative. The text does not repeat strerror(code). */
int dray_error_set(struct dray_error *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* As dray_error_set, with ": " and strerror(-code) behind the text: for failed system calls. */
int dray_error_errno(struct dray_error *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* As dray_error_set, and gives the error its stable word. */
int dray_error_kind(struct dray_error *err, int code, const char *kind, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* Puts "context: " in front of the text, unless it begins with just that: who found it may have said so already.
 * Returns err->code (or -EIO if nothing was set). Too long a text is cut at its end, never at its front. */
int dray_error_prepend(struct dray_error *err, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

#endif
