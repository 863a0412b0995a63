/* SPDX-License-Identifier: BSD-3-Clause */
#include "session/check.h"
#include "base/format.h"
#include "base/name.h"
#include "base/units.h"
#include "session/local.h"
#include "session/session.h"

#include <ctype.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The value as submitted, cut where it gets long. */
static char *short_text(const json_t *v)
{
	enum { MOST = 120 };
	char *s = dray_value_text(v);
	if (s && strlen(s) > MOST) {
		size_t end = MOST;
		while (end && (s[end] & 0xc0) == 0x80) /* not inside a character */
			end--;
		s[end] = 0;
	}
	return s;
}

void dray_check_fail(struct dray_check *c, unsigned line, const char *code, const json_t *v, const char *legal,
	const char *detail, ...)
{
	char *value = short_text(v), *text;
	va_list ap;
	va_start(ap, detail);
	text = dray_vformat(detail, ap);
	va_end(ap);
	dray_problems_add(c->problems, dray_pointer_text(&c->at), line, code, value, legal, "%s", text);
	free(text);
	free(value);
}

/* "a|b|c" for people: "a, b or c". Returns buf. */
static const char *words_text(const char *words, char *buf, size_t size)
{
	size_t left = 0, used = 0;
	for (const char *p = words; *p; p++)
		left += *p == '|';
	for (const char *p = words; *p && used + 8 < size; p++) {
		if (*p != '|')
			buf[used++] = *p;
		else
			used += (size_t)sprintf(buf + used, "%s", left-- > 1 ? ", " : " or ");
	}
	buf[used] = 0;
	return buf;
}

static const char *legal_of(const struct dray_key *key, char *buf, size_t size)
{
	return key->legal ? key->legal : words_text(key->words, buf, size);
}

/* The last part of the row's name. */
static const char *own_name(const struct dray_key *key)
{
	const char *dot = strrchr(key->name, '.');
	return dot ? dot + 1 : key->name;
}

void dray_check_wrong_type(struct dray_check *c, const struct dray_key *key, unsigned line, const json_t *v)
{
	char buf[160];
	const char *quote = json_is_number(v) && key->type <= DRAY_T_ID ? ": put it in quotes" : "";
	dray_check_fail(c, line, "wrong_type", v, legal_of(key, buf, sizeof buf), "\"%s\" can't be %s%s", own_name(key),
		json_is_object(v)        ? "a map" :
			json_is_array(v)   ? "a list" :
			json_is_null(v)    ? "empty" :
			json_is_boolean(v) ? "true or false" :
			json_is_number(v)  ? "a number" :
					     "a text",
		quote);
}

/* The place of `word` in "a|b|c", or -1. */
static int word_index(const char *words, const char *word)
{
	size_t n = strlen(word);
	for (int i = 0; words; i++) {
		const char *bar = strchr(words, '|');
		size_t len = bar ? (size_t)(bar - words) : strlen(words);
		if (len == n && n && !memcmp(words, word, n))
			return i;
		words = bar ? bar + 1 : NULL;
	}
	return -1;
}

int dray_check_word(struct dray_check *c, const struct dray_key *key, unsigned line, const json_t *v)
{
	char buf[160];
	const char *legal = legal_of(key, buf, sizeof buf), *word = json_string_value(v);
	int i = word ? word_index(key->words, word) : -1;
	if (i >= 0)
		return i;
	if (!word)
		dray_check_wrong_type(c, key, line, v);
	else
		dray_check_fail(c, line, "bad_value", v, legal, "\"%s\" can't be that", own_name(key));
	return -1;
}

static int parse_text(const struct dray_key *key, const char *s, uint64_t *n)
{
	if (key->type == DRAY_T_DURATION || key->type == DRAY_T_COMMIT)
		return dray_duration_parse(s, n);
	if (key->type == DRAY_T_SIZE || key->type == DRAY_T_RATE)
		return dray_size_parse(s, n);
	return s[strspn(s, "0123456789")] ? -EINVAL : dray_size_parse(s, n);
}

bool dray_check_number(struct dray_check *c, const struct dray_key *key, unsigned line, const json_t *v, uint64_t *n)
{
	char buf[160];
	const char *legal = legal_of(key, buf, sizeof buf), *own = own_name(key), *s = json_string_value(v);
	int rc;
	if (json_is_integer(v)) {
		json_int_t i = json_integer_value(v);
		*n = (uint64_t)i;
		rc = i < 0 ? -ERANGE : 0;
		if (!rc && (key->type == DRAY_T_DURATION || key->type == DRAY_T_COMMIT) &&
			__builtin_mul_overflow(*n, UINT64_C(1000000000), n))
			rc = -ERANGE;
	} else if (s) {
		if ((key->flags & DRAY_K_NONE) && !strcmp(s, "none")) {
			*n = DRAY_UNKNOWN;
			return true;
		}
		rc = parse_text(key, s, n);
	} else if (json_is_real(v)) {
		dray_check_fail(c, line, "bad_value", v, legal, "\"%s\" must be a whole number", own);
		return false;
	} else {
		dray_check_wrong_type(c, key, line, v);
		return false;
	}
	if (rc == -EINVAL) {
		bool unit = s && isdigit((unsigned char)*s) && key->type != DRAY_T_COUNT && key->type != DRAY_T_COUNT32;
		dray_check_fail(c, line, unit ? "bad_unit" : "bad_value", v, legal, "\"%s\" is not %s", s,
			key->type == DRAY_T_DURATION || key->type == DRAY_T_COMMIT ? "a whole number of ms, s, m, h or d" :
				key->type == DRAY_T_COUNT || key->type == DRAY_T_COUNT32 ?
						       "a whole number" :
						       "a whole number of bytes, or of K, M, G, T or P (KiB, MiB ...)");
		return false;
	}
	if (rc || *n < key->min || *n > key->max) {
		dray_check_fail(c, line, "out_of_range", v, legal, "\"%s\" is out of range", own);
		return false;
	}
	if (((key->flags & DRAY_K_POWER2) && (*n & (*n - 1))) || ((key->flags & DRAY_K_SECTOR) && *n % 512)) {
		dray_check_fail(c, line, "bad_value", v, legal, "\"%s\" must be %s", own,
			key->flags & DRAY_K_POWER2 ? "a power of two" : "a multiple of 512");
		return false;
	}
	return true;
}

void dray_check_rate(struct dray_check *c, const struct dray_key *key, unsigned line, const json_t *v, struct dray_limits *into)
{
	const char *s = json_string_value(v);
	struct dray_timetable table, *kept = NULL;
	uint64_t rate = DRAY_UNKNOWN;
	if (s && strpbrk(s, ",:")) {
		int rc = dray_timetable_parse(s, &table);
		if (rc) {
			dray_check_fail(c, line, rc == -EINVAL ? "bad_value" : "out_of_range", v, key->legal,
				rc == -E2BIG ? "a timetable has 64 entries at most" : rc == -ERANGE ? "a rate in this timetable is out of range" :
				"this is no timetable: entries such as 08:00,20M with blanks between them, each time once");
			return;
		}
		kept = malloc(sizeof *kept);
		if (!kept)
			abort();
		*kept = table;
	} else if (!dray_check_number(c, key, line, v, &rate)) {
		return;
	}
	free(into->rate_table);
	into->rate_table = kept;
	into->rate = rate;
}

bool dray_check_priority(struct dray_check *c, const struct dray_key *key, unsigned line, const json_t *v, uint64_t *n)
{
	static const unsigned levels[] = { 2, 5, 8 };
	if (json_is_integer(v)) {
		json_int_t i = json_integer_value(v);
		*n = (uint64_t)i;
		if (i >= 1 && i <= 9)
			return true;
		dray_check_fail(c, line, "out_of_range", v, key->legal, "\"priority\" is out of range");
		return false;
	}
	if (json_is_real(v)) {
		dray_check_fail(c, line, "bad_value", v, key->legal, "\"priority\" must be a word or a whole number");
		return false;
	}
	if (!json_is_string(v)) {
		dray_check_wrong_type(c, key, line, v);
		return false;
	}
	int i = word_index("low|normal|high", json_string_value(v));
	if (i < 0) {
		dray_check_fail(c, line, "bad_value", v, key->legal, "this is no priority");
		return false;
	}
	*n = levels[i];
	return true;
}

/* s-, then letters and digits. */
static bool looks_like_id(const char *s)
{
	return !strncmp(s, "s-", 2) && s[2] && !s[2 + strspn(s + 2, "0123456789abcdefghijklmnopqrstuvwxyz")];
}

static bool name_is_good(const char *s)
{
	size_t n = strlen(s);
	if (n < 1 || n > 128 || s[0] == ' ' || s[n - 1] == ' ' || s[0] == '-' || looks_like_id(s) || !strcmp(s, ".") ||
		!strcmp(s, ".."))
		return false;
	for (; *s; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f || *s == '/')
			return false;
	return true;
}

bool dray_event_name_good(const char *s)
{
	size_t n = strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");
	return n && n <= 64 && !s[n];
}

bool dray_check_text(struct dray_check *c, const struct dray_key *key, unsigned line, const json_t *v)
{
	if (!json_is_string(v)) {
		dray_check_wrong_type(c, key, line, v);
		return false;
	}
	const char *s = json_string_value(v);
	if (key->type == DRAY_T_VEHICLE) {
		if (!strcmp(s, "auto") || !strcmp(s, "host"))
			return true;
		dray_check_fail(c, line, "vehicle", v, key->legal, "there is no vehicle \"%s\"", s);
		return false;
	}
	if (key->type == DRAY_T_EVENT) {
		if (dray_event_name_good(s))
			return true;
		dray_check_fail(c, line, "bad_value", v, key->legal, "this can't be the name of an event");
		return false;
	}
	if (key->type == DRAY_T_ID ? looks_like_id(s) && strlen(s) <= 64 : name_is_good(s))
		return true;
	dray_check_fail(c, line, "bad_value", v, key->legal, "this can't be %s", key->type == DRAY_T_ID ? "an id" : "a name");
	return false;
}

void dray_check_clock(struct dray_check *c, const struct dray_key *key, unsigned line, const json_t *v, int *minutes)
{
	const char *s = json_string_value(v);
	if (!s) {
		dray_check_wrong_type(c, key, line, v);
		return;
	}
	int n = dray_local_time_read(&s);
	if (n < 0 || n == DRAY_DAY_MINUTES || *s)
		dray_check_fail(c, line, "bad_value", v, key->legal, "this is no time of the day");
	else
		*minutes = n;
}

bool dray_check_pair_id(struct dray_check *c, unsigned line, const json_t *v)
{
	char place[16];
	snprintf(place, sizeof place, "%u", c->pair);
	if (json_is_string(v) && !strcmp(json_string_value(v), place))
		return true;
	dray_check_fail(c, line, "bad_value", v, place, "a pair's id is its place in the list: leave it out");
	return false;
}

bool dray_check_resource_name(struct dray_check *c, const struct dray_key *key, unsigned line, const json_t *v,
	bool volumes)
{
	const char *s = json_string_value(v), *colon = strchr(s, ':');
	const char *why = NULL;
	if (!*s)
		why = "a resource's name can't be empty";
	else if (strlen(s) > 4096)
		why = "a resource's name can't be so long";
	for (const char *p = s; *p && !why; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			why = "a resource's name can't have control characters";
	if (!why && !strncmp(s, "volume:", 7)) {
		if (!volumes)
			why = "a volume can be a source, here must be a plain resource";
		else if (!dray_volume_name_ok(s + 7))
			why = "this can't be a volume's name";
	} else if (!why && *s != '/') {
		/* A relative path would mean another file to the agent than to who wrote it. */
		size_t scheme = strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789+.-");
		if (!colon || (size_t)(colon - s) != scheme || !scheme || !colon[1])
			why = "a path must be absolute";
	}
	if (why)
		dray_check_fail(c, line, "bad_value", v, key->legal, "%s", why);
	return !why;
}

void dray_check_windows(struct dray_check *c, const struct dray_key *key, const json_t *v, const struct dray_lines *lines,
	struct dray_windows *into)
{
	unsigned line = lines ? lines->line : 0;
	bool list = json_is_array(v);
	size_t n = list ? json_array_size(v) : 1, problems = c->problems->n;
	if (!list && json_is_string(v) && (key->flags & DRAY_K_NONE) && !strcmp(json_string_value(v), "none")) {
		free(into->list);
		*into = (struct dray_windows){ 0 };
		return;
	}
	if (!list && !json_is_string(v)) {
		dray_check_wrong_type(c, key, line, v);
		return;
	}
	if (!n || n > DRAY_WINDOWS_MOST) {
		dray_check_fail(c, line, "out_of_range", v, "1 to 64 windows", n ? "too many windows" : "no window is given");
		return;
	}
	struct dray_windows found = { calloc(n, sizeof *found.list), n };
	if (!found.list)
		abort();
	for (size_t i = 0; i < n; i++) {
		const json_t *one = list ? json_array_get(v, i) : v;
		size_t before = list ? dray_pointer_index(&c->at, i) : 0;
		unsigned at = list && lines ? lines->child[i].line : line;
		if (!json_is_string(one))
			dray_check_wrong_type(c, key, at, one);
		else if (dray_window_parse(json_string_value(one), &found.list[i]))
			dray_check_fail(c, at, "bad_value", one, key->legal, "this is no window of time: days such as Mon-Fri or Sat,Sun and a blank, or none, then HH:MM-HH:MM; it ends at another time than it begins (all day is 00:00-24:00)");
		if (list)
			dray_pointer_cut(&c->at, before);
	}
	if (c->problems->n > problems) {
		free(found.list);
		return;
	}
	free(into->list);
	*into = found;
}

void dray_check_commit(struct dray_check *c, const struct dray_key *key, const json_t *v, const struct dray_lines *lines,
	struct dray_session *s)
{
	const char *text = json_string_value(v);
	uint64_t ns;
	if (json_is_integer(v) || (text && isdigit((unsigned char)*text))) {
		if (dray_check_number(c, key, lines ? lines->line : 0, v, &ns)) {
			s->commit = DRAY_COMMIT_AFTER;
			s->commit_after_ns = ns;
		}
		return;
	}
	int word = dray_check_word(c, key, lines ? lines->line : 0, v);
	if (word >= 0)
		s->commit = (enum dray_commit)word;
}

static char settable[1024];

static void write_settable(void)
{
	size_t used = 0;
	for (size_t i = 0; i < dray_keys_n; i++)
		if (dray_keys[i].flags & DRAY_K_SET)
			used += (size_t)snprintf(settable + used, sizeof settable - used, "%s%s", used ? ", " : "",
				dray_keys[i].name);
	snprintf(settable + used, sizeof settable - used, "; of a pair, pairs.ID.limits.rate, in_flight, step, steps, app_latency");
}

const char *dray_settable_words(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, write_settable);
	return settable;
}
