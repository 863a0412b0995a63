/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/error.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static void set_v(struct dray_error *err, int code, const char *kind, const char *fmt, va_list ap)
{
	assert(code < 0);
	err->code = code;
	snprintf(err->kind, sizeof err->kind, "%s", kind);
	vsnprintf(err->text, sizeof err->text, fmt, ap);
}

int dray_error_set(struct dray_error *err, int code, const char *fmt, ...)
{
	if (err) {
		va_list ap;
		va_start(ap, fmt);
		set_v(err, code, "", fmt, ap);
		va_end(ap);
	}
	return code;
}

int dray_error_errno(struct dray_error *err, int code, const char *fmt, ...)
{
	if (err) {
		va_list ap;
		va_start(ap, fmt);
		set_v(err, code, "", fmt, ap);
		va_end(ap);
		size_t n = strlen(err->text);
		snprintf(err->text + n, sizeof err->text - n, ": %s", strerror(-code));
	}
	return code;
}

int dray_error_kind(struct dray_error *err, int code, const char *kind, const char *fmt, ...)
{
	if (err) {
		va_list ap;
		va_start(ap, fmt);
		set_v(err, code, kind, fmt, ap);
		va_end(ap);
	}
	return code;
}

int dray_error_prepend(struct dray_error *err, const char *fmt, ...)
{
	if (!err)
		return -EIO;
	char old[sizeof err->text];
	memcpy(old, err->text, sizeof old);
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(err->text, sizeof err->text, fmt, ap);
	va_end(ap);
	size_t n = strlen(err->text);
	if (!strncmp(old, err->text, n) && !strncmp(old + n, ": ", 2))
		memcpy(err->text, old, sizeof old);
	else
		snprintf(err->text + n, sizeof err->text - n, ": %s", old);
	return err->code ? err->code : -EIO;
}
