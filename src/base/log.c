/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *program_name = "dray";
static _Atomic enum dray_log_level most_level = DRAY_LOG_INFO;
static const char *const level_names[] = { "error", "warn", "info", "debug" };

void dray_log_init(const char *program, enum dray_log_level most)
{
	program_name = program;
	most_level = most;
}

void dray_log_level(enum dray_log_level most)
{
	most_level = most;
}

/* Appends `value`, quoted if it has anything but plain characters. Returns the new end. */
static char *put_value(char *p, char *end, const char *value)
{
	if (value[0] && !value[strcspn(value, " \"\\=\n\r\t")]) {
		int n = snprintf(p, (size_t)(end - p), "%s", value);
		return n < end - p ? p + n : end;
	}
	if (p < end)
		*p++ = '"';
	for (; *value && p + 2 < end; value++) {
		if (*value == '"' || *value == '\\')
			*p++ = '\\';
		*p++ = *value == '\n' || *value == '\r' ? ' ' : *value;
	}
	if (p < end)
		*p++ = '"';
	return p;
}

static void log_v(enum dray_log_level level, const char *event, const char *const *keys, const char *fmt, va_list ap)
{
	if (level > most_level)
		return;
	char line[2048], text[1024];
	char *p = line, *end = line + sizeof line - 2;
	struct timespec ts;
	struct tm tm;
	clock_gettime(CLOCK_REALTIME, &ts);
	gmtime_r(&ts.tv_sec, &tm);
	p += strftime(p, (size_t)(end - p), "time=%Y-%m-%dT%H:%M:%S", &tm);
	p += snprintf(p, (size_t)(end - p), ".%03ldZ level=%s program=%s event=%s", ts.tv_nsec / 1000000,
		level_names[level], program_name, event);
	for (; keys && keys[0]; keys += 2) {
		if (!keys[1] || end - p < 64)
			continue;
		p += snprintf(p, (size_t)(end - p), " %.40s=", keys[0]);
		p = put_value(p, end, keys[1]);
	}
	vsnprintf(text, sizeof text, fmt, ap);
	if (end - p > 8) {
		p += snprintf(p, (size_t)(end - p), " msg=");
		p = put_value(p, end, text);
	}
	*p++ = '\n';
	/* One write per line, so that lines of several threads do not mix. A log that can't be written is no
	 * reason to stop. */
	if (write(STDERR_FILENO, line, (size_t)(p - line)) < 0)
		return;
}

void dray_log(enum dray_log_level level, const char *event, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	log_v(level, event, NULL, fmt, ap);
	va_end(ap);
}

void dray_log_fields(enum dray_log_level level, const char *event, const char *const *keys, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	log_v(level, event, keys, fmt, ap);
	va_end(ap);
}
