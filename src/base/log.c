/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One line, one write: lines of several threads do not mix. What a value holds can't change the form of its line: quotes, backslashes
 * and control characters are escaped, bytes that are not UTF-8 become \xNN, and a line that is too long is cut between characters
 * and keeps its closing quote. To the journal a value goes as it is, in a field of its own.
 *
 * Passwords do not belong into resources; where one stands in a URI nevertheless (scheme://user:password@host), it is not logged.
 */
#include "base/log.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <systemd/sd-journal.h>
#include <time.h>
#include <unistd.h>

#define LINE   8192
#define VALUE  2048 /* of one value, escaped */
#define FIELDS 24

static const char *program_name = "dray";
static _Atomic enum dray_log_level most_level = DRAY_LOG_INFO;
static bool to_journal;
static const char *const level_names[] = { "error", "warn", "info", "debug" };

/* JOURNAL_STREAM names the device and inode of what systemd connected; a program that was redirected since has another. */
static bool stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long device, inode;
	char end;
	struct stat st;
	return stream && sscanf(stream, "%llu:%llu%c", &device, &inode, &end) == 2 && fstat(STDERR_FILENO, &st) == 0 &&
	       st.st_dev == (dev_t)device && st.st_ino == (ino_t)inode;
}

void dray_log_init(const char *program, enum dray_log_level most)
{
	program_name = program;
	most_level = most;
	to_journal = stderr_is_journal();
}

void dray_log_level(enum dray_log_level most)
{
	most_level = most;
}

enum dray_log_level dray_log_level_now(void)
{
	return most_level;
}

const char *dray_log_word(enum dray_log_level level)
{
	return level_names[level];
}

int dray_log_from_word(const char *word)
{
	for (int i = 0; i < 4; i++)
		if (!strcmp(level_names[i], word))
			return i;
	return -1;
}

bool dray_log_to_journal(void)
{
	return to_journal;
}

/* ---- values ---- */

/* The length of the UTF-8 character at p, 0: there is none. Never looks behind the NUL. */
static size_t character(const unsigned char *p)
{
	if (p[0] < 0x80)
		return 1;
	size_t n = p[0] >= 0xc2 && p[0] < 0xe0 ? 2 : p[0] >= 0xe0 && p[0] < 0xf0 ? 3 : p[0] >= 0xf0 && p[0] < 0xf5 ? 4 : 0;
	for (size_t i = 1; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	/* longer than needed, halves of pairs, and beyond the last one */
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) ||
		(p[0] == 0xf4 && p[1] > 0x8f))
		return 0;
	return n;
}

static bool plain(const char *value)
{
	if (!*value)
		return false;
	for (const unsigned char *p = (const unsigned char *)value; *p; p++)
		if (*p <= ' ' || *p >= 0x7f || *p == '"' || *p == '\\' || *p == '=')
			return false;
	return true;
}

size_t dray_log_escape(char *buf, size_t size, const char *value)
{
	size_t n = 0;
	if (plain(value) && strlen(value) < size) {
		strcpy(buf, value);
		return strlen(value);
	}
	buf[n++] = '"';
	for (const unsigned char *p = (const unsigned char *)value; *p;) {
		char piece[8];
		size_t len = character(p), step = len ? len : 1;
		static const char named[] = "\nn\rr\tt\"\"\\\\";
		const char *name = NULL;
		for (const char *k = named; *k && !name; k += 2)
			if ((unsigned char)*k == *p)
				name = k + 1;
		bool c1 = len == 2 && p[0] == 0xc2 && p[1] < 0xa0; /* control characters of more than one byte */
		if (name)
			len = (size_t)snprintf(piece, sizeof piece, "\\%c", *name);
		else if (!len || *p < ' ' || *p == 0x7f || c1)
			len = (size_t)snprintf(piece, sizeof piece, "\\x%02x", *p), step = 1;
		else
			memcpy(piece, p, len);
		if (n + len + 2 > size)
			break;
		memcpy(buf + n, piece, len);
		n += len;
		p += step;
	}
	buf[n++] = '"';
	buf[n] = 0;
	return n;
}

/* In place: the password of scheme://user:password@host. */
static void forget_passwords(char *text)
{
	char *p = text;
	while ((p = strstr(p, "://"))) {
		p += 3;
		size_t end = strcspn(p, "/?# \t\n\"'"), at = 0;
		for (size_t i = 0; i < end; i++)
			if (p[i] == '@')
				at = i;
		char *colon = memchr(p, ':', at);
		if (colon) {
			memmove(colon + 4, p + at, strlen(p + at) + 1); /* shorter, or the room was looked after */
			memcpy(colon + 1, "***", 3);
		}
	}
}

/* A copy that may be logged, malloc'ed. */
static char *loggable(const char *value)
{
	size_t more = 4;
	for (const char *p = value; (p = strstr(p, "://")); p += 3)
		more += 4;
	char *copy = malloc(strlen(value) + more);
	if (!copy)
		return NULL;
	strcpy(copy, value);
	forget_passwords(copy);
	return copy;
}

/* ---- where it goes ---- */

static size_t put(char *line, size_t n, const char *key, const char *value)
{
	char *text = loggable(value);
	if (text && LINE - n > VALUE + 64) {
		n += (size_t)snprintf(line + n, LINE - n, " %.40s=", key);
		n += dray_log_escape(line + n, VALUE, text);
	}
	free(text);
	return n;
}

static void log_line(enum dray_log_level level, const char *event, const char *const *keys, const char *text)
{
	char line[LINE];
	struct timespec ts;
	struct tm tm;
	clock_gettime(CLOCK_REALTIME, &ts);
	gmtime_r(&ts.tv_sec, &tm);
	size_t n = strftime(line, sizeof line, "time=%Y-%m-%dT%H:%M:%S", &tm);
	n += (size_t)snprintf(line + n, sizeof line - n, ".%03ldZ level=%s program=%s event=%.60s", ts.tv_nsec / 1000000,
		level_names[level], program_name, event);
	for (; keys && keys[0]; keys += 2)
		if (keys[1])
			n = put(line, n, keys[0], keys[1]);
	n = put(line, n, "msg", text);
	line[n++] = '\n';
	/* A log that can't be written is no reason to stop. */
	if (write(STDERR_FILENO, line, n) < 0)
		return;
}

/* "pair" -> "DRAY_PAIR=value" */
static char *field(const char *prefix, const char *key, const char *value)
{
	char *text = NULL, *good = loggable(value);
	if (!good || asprintf(&text, "%s%s=%s", prefix, key, good) < 0)
		text = NULL;
	free(good);
	for (char *p = text; p && *p && *p != '='; p++)
		*p = (char)(*p >= 'a' && *p <= 'z' ? *p - 'a' + 'A' : *p);
	return text;
}

static void log_journal(enum dray_log_level level, const char *event, const char *const *keys, const char *text)
{
	static const char *const priorities[] = { "3", "4", "6", "7" };
	char *fields[FIELDS];
	struct iovec iov[FIELDS];
	int n = 0;
	fields[n++] = field("", "message", *text ? text : event);
	fields[n++] = field("", "priority", priorities[level]);
	fields[n++] = field("", "syslog_identifier", program_name);
	fields[n++] = field("dray_", "event", event);
	for (; keys && keys[0] && n < FIELDS; keys += 2)
		if (keys[1])
			fields[n++] = field("dray_", keys[0], keys[1]);
	int used = 0;
	for (int i = 0; i < n; i++)
		if (fields[i])
			iov[used++] = (struct iovec){ fields[i], strlen(fields[i]) };
	/* A journal that does not take it still reads what we print. */
	if (sd_journal_sendv(iov, used) < 0)
		log_line(level, event, keys, text);
	for (int i = 0; i < n; i++)
		free(fields[i]);
}

static void log_v(enum dray_log_level level, const char *event, const char *const *keys, const char *fmt, va_list ap)
{
	char text[VALUE];
	if (level > most_level)
		return;
	vsnprintf(text, sizeof text, fmt, ap);
	if (to_journal)
		log_journal(level, event, keys, text);
	else
		log_line(level, event, keys, text);
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
