/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Any JSON value as YAML, in block style: two blanks a level, lists of maps as "- key: value". A text is written plain
 * only where every reader of YAML, also of its version 1.1, takes it for the same text; else in double quotes with JSON's
 * escapes, which YAML reads alike. So: no leading digits but in sizes and durations (10:20 and 2026-11-23 mean
 * something else to some readers), none of their words for null, true and false, no signs that begin or end anything.
 */
#include "session/session.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>


static bool is_size_or_duration(const char *s)
{
	static const char *const units[] = { "K", "M", "G", "T", "P", "KiB", "MiB", "GiB", "TiB", "PiB", "ms", "s", "m", "h",
		"d" };
	size_t n = strspn(s, "0123456789");
	for (size_t i = 0; n && i < sizeof units / sizeof units[0]; i++)
		if (!strcmp(s + n, units[i]))
			return true;
	return false;
}

static bool plain(const char *s)
{
	static const char *const words[] = { "null", "true", "false", "yes", "no", "on", "off", "y", "n" };
	size_t n = strlen(s);
	if (!n || s[n - 1] == ' ' || s[n - 1] == ':')
		return false;
	for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
		if (!strcasecmp(s, words[i]))
			return false;
	if (!isalpha((unsigned char)*s) && *s != '/' && *s != '_')
		return is_size_or_duration(s);
	for (const char *p = s; *p; p++) {
		if (!isalnum((unsigned char)*p) && !strchr(" _/.,:+-=@%~?&()", *p))
			return false;
		if (*p == ':' && p[1] == ' ')
			return false;
	}
	return true;
}

static void put_text(FILE *f, const char *s)
{
	if (plain(s)) {
		fputs(s, f);
		return;
	}
	json_t *j = json_string(s);
	char *quoted = j ? json_dumps(j, JSON_ENCODE_ANY) : NULL;
	if (!quoted)
		abort();
	/* DEL and the line separators beyond ASCII are not printable in YAML. */
	for (const char *p = quoted; *p; p++) {
		if (*p == 0x7f)
			fputs("\\u007f", f);
		else if (!strncmp(p, "\xe2\x80\xa8", 3) || !strncmp(p, "\xe2\x80\xa9", 3))
			fputs(p[2] == '\xa8' ? "\\u2028" : "\\u2029", f), p += 2;
		else if (!strncmp(p, "\xc2\x85", 2))
			fputs("\\u0085", f), p++;
		else if (!strncmp(p, "\xef\xbb\xbf", 3))
			fputs("\\ufeff", f), p += 2;
		else
			fputc(*p, f);
	}
	free(quoted);
	json_decref(j);
}

static void put_indent(FILE *f, unsigned indent)
{
	fprintf(f, "%*s", (int)indent, "");
}

static bool is_block(const json_t *v)
{
	return (json_is_object(v) && json_object_size(v)) || (json_is_array(v) && json_array_size(v));
}

static void put_scalar(FILE *f, const json_t *v)
{
	if (json_is_string(v)) {
		put_text(f, json_string_value(v));
		return;
	}
	char *s = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);
	if (!s)
		abort();
	fputs(s, f);
	free(s);
}

/* `first`: the cursor stands where the first line begins already, behind "- ". */
static void put_block(FILE *f, const json_t *v, unsigned indent, bool first)
{
	if (json_is_array(v)) {
		size_t i;
		json_t *item;
		json_array_foreach(v, i, item) {
			if (!first || i)
				put_indent(f, indent);
			fputs("- ", f);
			if (is_block(item)) {
				put_block(f, item, indent + 2, true);
			} else {
				put_scalar(f, item);
				fputc('\n', f);
			}
		}
		return;
	}
	const char *key;
	json_t *member;
	bool next = false;
	json_object_foreach((json_t *)v, key, member) {
		if (!first || next)
			put_indent(f, indent);
		next = true;
		put_text(f, key);
		fputc(':', f);
		if (is_block(member)) {
			fputc('\n', f);
			put_block(f, member, indent + 2, false);
		} else {
			fputc(' ', f);
			put_scalar(f, member);
			fputc('\n', f);
		}
	}
}

char *dray_yaml_from_json(const json_t *json)
{
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);
	if (!f)
		abort();
	if (is_block(json)) {
		put_block(f, json, 0, false);
	} else {
		put_scalar(f, json);
		fputc('\n', f);
	}
	if (fclose(f))
		abort();
	return text;
}
