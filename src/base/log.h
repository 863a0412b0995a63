/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The log: key=value lines on stderr, or the journal where stderr is connected to it (JOURNAL_STREAM).
 *
 *     time=2026-11-23T02:00:00.123Z level=info program=drayd event=pair-synced session=s-4k2 pair=1 msg="..."
 *
 * In the journal the text is MESSAGE, the level PRIORITY, and each field DRAY_ with its name: `journalctl DRAY_SESSION=s-4k2`. On
 * stderr a value stands in quotes where it has to, with \n \r \t \" \\ and \xNN for what can't stand in a line.
 *
 * Any thread may log. Library code logs at debug only; a program's own rooms (iod, agent) log above it.
 */
#ifndef DRAY_BASE_LOG_H
#define DRAY_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>

enum dray_log_level { DRAY_LOG_ERROR, DRAY_LOG_WARN, DRAY_LOG_INFO, DRAY_LOG_DEBUG };

/* `program` must outlive the process's logging; call once, before threads start. */
void dray_log_init(const char *program, enum dray_log_level most);

/* Changes the level while others log. */
void dray_log_level(enum dray_log_level most);
enum dray_log_level dray_log_level_now(void);
/* "error", "warn", "info", "debug"; and back: -1: none of them. */
const char *dray_log_word(enum dray_log_level level);
int dray_log_from_word(const char *word);

/* Whether lines go to the journal. */
bool dray_log_to_journal(void);
/* A value as it stands in a line, cut to `size` (at least 16) with its NUL. Returns its length. */
size_t dray_log_escape(char *buf, size_t size, const char *value);

/* `event` is a stable word; the text becomes msg="...", quoted as needed. */
void dray_log(enum dray_log_level level, const char *event, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* As dray_log with further fields: `keys` is a list of (key, value) string pairs ended by NULL; a pair whose value
 * is NULL is left out. */
void dray_log_fields(enum dray_log_level level, const char *event, const char *const *keys, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

#endif
