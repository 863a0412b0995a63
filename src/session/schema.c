/* SPDX-License-Identifier: BSD-3-Clause */
#include "session/schema.h"
#include "session/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define S(member)  offsetof(struct dray_session, member)
#define P(member)  offsetof(struct dray_pair, member)
#define L(member)  offsetof(struct dray_limits, member)
#define NONE_YET   "leave it out: this version does not support it"
#define A_RATE     "a size above 0 such as 64MiB, a timetable such as \"08:00,20M 19:00,off\", or none"
#define A_DURATION "a duration such as 500ms, 2s or 1m"
#define SECOND     UINT64_C(1000000000)

const struct dray_key dray_keys[] = {
	{ "name", DRAY_T_NAME, DRAY_K_REQUIRED, .field = S(name),
		.legal = "1 to 128 printable characters without '/', not of the form of an id" },
	{ "id", DRAY_T_ID, .field = S(id), .legal = "s- and 1 to 62 of the characters 0-9 a-z" },
	{ "priority", DRAY_T_PRIORITY, DRAY_K_SET, .field = S(priority), .left_out = "normal",
		.legal = "low, normal, high, or 1 (low) to 9 (high)" },
	{ "start", DRAY_T_START, DRAY_K_SET, .words = "now", .field = S(start),
		.legal = "now, a time such as 2027-01-01T02:00:00Z, {after: 2h}, {event: NAME}, or {every: 24h, at: \"02:00\", keep: 7}" },
	{ "start.after", DRAY_T_DURATION, .legal = "a duration from 1s to 1000d such as 2h", .field = S(start_after_ns), .min = SECOND,
		.max = 86400000 * SECOND },
	{ "start.event", DRAY_T_EVENT, .legal = DRAY_EVENT_LEGAL, .field = S(start_event) },
	{ "start.every", DRAY_T_DURATION, .legal = "a duration from 1s to 1000d such as 24h", .field = S(every_ns), .min = SECOND,
		.max = 86400000 * SECOND },
	{ "start.at", DRAY_T_CLOCK, .legal = "a time of the day from \"00:00\" to \"23:59\"", .field = S(at) },
	{ "start.keep", DRAY_T_COUNT32, .legal = "1 to 1000", .field = S(keep), .min = 1, .max = 1000, .left_out = "7" },
	{ "start.hook_timeout", DRAY_T_DURATION, .legal = "a duration from 1s to 1h", .field = S(hook_timeout_ns), .min = SECOND,
		.max = 3600 * SECOND, .left_out = "30s" },
	{ "start.on_hook_failure", DRAY_T_WORD, .words = "split|skip", .field = S(hook_failure) },
	{ "window", DRAY_T_WINDOWS, DRAY_K_SET | DRAY_K_NONE,
		.legal = "a list such as [\"19:00-07:00\", \"Sat,Sun 00:00-24:00\"], or none", .field = S(window) },
	{ "max_duration", DRAY_T_DURATION, DRAY_K_SET | DRAY_K_NONE, .legal = "a duration from 1s to 1000d such as 8h, or none",
		.field = S(max_duration_ns), .min = SECOND, .max = 86400000 * SECOND },
	{ "limits", DRAY_T_MAP, .field = S(limits) },
	{ "limits.active_pairs", DRAY_T_COUNT, DRAY_K_SET | DRAY_K_NONE, .legal = "1 to 10000, or none", .field = L(active_pairs),
		.min = 1, .max = 10000 },
	{ "limits.rate", DRAY_T_RATE, DRAY_K_SET | DRAY_K_NONE, .legal = A_RATE, .field = L(rate), .min = 1, .max = INT64_MAX },
	{ "limits.in_flight", DRAY_T_SIZE, DRAY_K_SET | DRAY_K_NONE, .legal = "a size from 16KiB to 16GiB, or none",
		.field = L(in_flight), .min = 16 << 10, .max = UINT64_C(16) << 30 },
	{ "limits.app_latency", DRAY_T_DURATION, DRAY_K_SET | DRAY_K_NONE, .legal = "a duration from 1ms to 10m, or none",
		.field = L(app_latency_ns), .min = SECOND / 1000, .max = 600 * SECOND },
	{ "limits.step", DRAY_T_SIZE, DRAY_K_SET | DRAY_K_NONE | DRAY_K_POWER2,
		.legal = "a power of two from 16KiB to 64MiB, or none", .field = L(step), .min = 16 << 10, .max = 64 << 20 },
	{ "limits.steps", DRAY_T_COUNT, DRAY_K_SET | DRAY_K_NONE, .legal = "1 to 256, or none", .field = L(steps), .min = 1,
		.max = 256 },
	{ "limits.vehicle", DRAY_T_VEHICLES, DRAY_K_SET | DRAY_K_NONE, .legal = "a map such as {host: {active_pairs: 2, in_flight: 32MiB}}, or none" },
	{ "limits.vehicle.host", DRAY_T_MAP },
	{ "limits.vehicle.host.active_pairs", DRAY_T_COUNT, DRAY_K_SET | DRAY_K_NONE, .legal = "1 to 10000, or none", .field = L(host_active_pairs),
		.min = 1, .max = 10000 },
	{ "limits.vehicle.host.in_flight", DRAY_T_SIZE, DRAY_K_SET | DRAY_K_NONE, .legal = "a size from 16KiB to 16GiB, or none",
		.field = L(host_in_flight), .min = 16 << 10, .max = UINT64_C(16) << 30 },
	{ "mode", DRAY_T_WORD, .words = "move|copy", .field = S(mode) },
	{ "checkpoint", DRAY_T_BOOL, .field = S(checkpoint), .left_out = "true" },
	{ "leg_timeout", DRAY_T_DURATION, .legal = "a duration from 10ms to 1h", .field = S(leg_timeout_ns),
		.min = SECOND / 100, .max = 3600 * SECOND, .left_out = "1s" },
	{ "verify", DRAY_T_VERIFY, DRAY_K_SET, .words = "none|sample|full",
		.legal = "none, sample, full, or {mode: sample or full, repair: true or false}", .field = S(verify) },
	{ "verify.mode", DRAY_T_WORD, DRAY_K_REQUIRED, .words = "none|sample|full", .field = S(verify) },
	{ "verify.repair", DRAY_T_BOOL, .field = S(verify_repair) },
	{ "switch", DRAY_T_MAP },
	{ "switch.when", DRAY_T_WHEN, DRAY_K_SET, .words = "manual|synced|pair",
		.legal = "manual, synced, pair, a time such as 2027-01-01T02:00:00Z, or {event: NAME}", .field = S(when),
		.left_out_copy = "synced" }, /* its targets are split at an instant that nobody has to name */
	{ "switch.when.event", DRAY_T_EVENT, DRAY_K_REQUIRED, .legal = DRAY_EVENT_LEGAL, .field = S(when_event) },
	{ "switch.window", DRAY_T_WINDOWS, DRAY_K_SET | DRAY_K_NONE,
		.legal = "a list such as [\"02:00-04:00\", \"Sat,Sun 00:00-24:00\"], or none", .field = S(switch_window) },
	{ "switch.deadline", DRAY_T_DURATION, DRAY_K_SET, .legal = "a duration from 1ms to 10m", .field = S(deadline_ns),
		.min = SECOND / 1000, .max = 600 * SECOND, .left_out = "2s" },
	{ "switch.attempts", DRAY_T_COUNT32, DRAY_K_SET, .legal = "1 to 1000", .field = S(attempts), .min = 1, .max = 1000,
		.left_out = "3" },
	{ "switch.on_failure", DRAY_T_WORD, DRAY_K_SET, .words = "wait|fail", .field = S(on_failure) },
	{ "switch.commit", DRAY_T_COMMIT, DRAY_K_SET, .words = "manual|switched",
		.legal = "manual, switched, or a duration from 1s to 1000d such as 24h", .field = S(commit), .min = SECOND,
		.max = 86400000 * SECOND },
	{ "switch.retire", DRAY_T_WORD, DRAY_K_SET, .words = "none|read-only|offline|discard|zero|delete|rename", .field = S(retire) },
	{ "switch.partial", DRAY_T_BOOL, DRAY_K_SET, .field = S(partial) },
	{ "switch.accept_bad_ranges", DRAY_T_BOOL, DRAY_K_SET, .field = S(accept_bad_ranges) },
	{ "on_error", DRAY_T_WORD, DRAY_K_SET, .words = "pair|session", .field = S(on_error) },
	{ "pairs", DRAY_T_PAIRS, DRAY_K_REQUIRED },

	{ "pairs.id", DRAY_T_PAIR_ID },
	{ "pairs.source", DRAY_T_SOURCE, DRAY_K_REQUIRED, .field = P(source),
		.legal = "volume:NAME, an absolute path, a URI, or {resource:, offset:, length:}" },
	{ "pairs.target", DRAY_T_TARGET, DRAY_K_REQUIRED,
		.legal = "an absolute path, a URI, {resource:, offset:, length:}, or a list of them" },
	{ "pairs.vehicle", DRAY_T_VEHICLE, .legal = "auto or host", .field = P(vehicle), .left_out = "auto" },
	{ "pairs.limits", DRAY_T_MAP, .field = P(limits) },
	{ "pairs.limits.rate", DRAY_T_RATE, DRAY_K_NONE, .legal = A_RATE, .field = L(rate), .min = 1, .max = INT64_MAX },
	{ "pairs.limits.in_flight", DRAY_T_SIZE, DRAY_K_NONE, .legal = "a size from 16KiB to 16GiB, or none",
		.field = L(in_flight), .min = 16 << 10, .max = UINT64_C(16) << 30 },
	{ "pairs.limits.app_latency", DRAY_T_DURATION, DRAY_K_NONE, .legal = "a duration from 1ms to 10m, or none",
		.field = L(app_latency_ns), .min = SECOND / 1000, .max = 600 * SECOND },
	{ "pairs.limits.step", DRAY_T_SIZE, DRAY_K_NONE | DRAY_K_POWER2,
		.legal = "a power of two from 16KiB to 64MiB, or none", .field = L(step), .min = 16 << 10, .max = 64 << 20 },
	{ "pairs.limits.steps", DRAY_T_COUNT, DRAY_K_NONE, .legal = "1 to 256, or none", .field = L(steps), .min = 1,
		.max = 256 },
	{ "pairs.overwrite", DRAY_T_BOOL, .field = P(overwrite) },
	{ "pairs.create", DRAY_T_WORD, .words = "none|thin|full", .field = P(create) },
	{ "pairs.format", DRAY_T_WORD, .words = "auto|raw", .field = P(format) },

	{ "resource.resource", DRAY_T_TEXT, DRAY_K_REQUIRED, .legal = "an absolute path or a URI" },
	{ "resource.offset", DRAY_T_SIZE, DRAY_K_SECTOR, .legal = "a size, a multiple of 512",
		.field = offsetof(struct dray_resource, offset), .max = INT64_MAX },
	{ "resource.length", DRAY_T_SIZE, DRAY_K_SECTOR, .legal = "a size above 0, a multiple of 512",
		.field = offsetof(struct dray_resource, length), .min = 1, .max = INT64_MAX },
};

const size_t dray_keys_n = sizeof dray_keys / sizeof dray_keys[0];

static const char *const output_keys[] = { "id", "state", "created", "started", "finished", "reason", "progress",
	"pause_reasons", "blackout_us", "predicted_blackout_us", "verified", "dirty_bytes", "undo_dirty_bytes", "phase",
	"targets", "bad_ranges", "bad_bytes", "not_paused", "generations", "errors", "warnings", "plan", "commit_due",
	"retired", "verification", "undo_lost", "start_due", "bound_by", "latency_us", "copy_window" };

/* The part of a row's name behind its map, or NULL if the row is not of the map. */
static const char *own_name(const struct dray_key *key, const char *map)
{
	size_t n = strlen(map);
	const char *rest = key->name;
	if (n) {
		if (strncmp(key->name, map, n) || key->name[n] != '.')
			return NULL;
		rest += n + 1;
	} else if (!strncmp(key->name, "resource.", 9)) {
		return NULL;
	}
	return strchr(rest, '.') ? NULL : rest;
}

bool dray_key_in_map(const struct dray_key *key, const char *map)
{
	return own_name(key, map);
}

const struct dray_key *dray_key_find(const char *map, const char *key)
{
	for (size_t i = 0; i < dray_keys_n; i++) {
		const char *own = own_name(&dray_keys[i], map);
		if (own && !strcmp(own, key))
			return &dray_keys[i];
	}
	return NULL;
}

bool dray_key_is_output(const char *key)
{
	for (size_t i = 0; i < sizeof output_keys / sizeof output_keys[0]; i++)
		if (!strcmp(output_keys[i], key))
			return true;
	return false;
}

char *dray_keys_legal(const char *map)
{
	size_t left = 0, size = 1;
	for (size_t i = 0; i < dray_keys_n; i++) {
		const char *own = own_name(&dray_keys[i], map);
		if (own && dray_keys[i].type != DRAY_T_LATER && dray_keys[i].type != DRAY_T_PAIR_ID) {
			left++;
			size += strlen(own) + 4;
		}
	}
	char *text = malloc(size), *p = text;
	if (!text)
		abort();
	*p = 0;
	for (size_t i = 0; i < dray_keys_n; i++) {
		const char *own = own_name(&dray_keys[i], map);
		if (!own || dray_keys[i].type == DRAY_T_LATER || dray_keys[i].type == DRAY_T_PAIR_ID)
			continue;
		left--;
		p += sprintf(p, "%s%s", own, left > 1 ? ", " : left ? " or " : "");
	}
	return text;
}

char *dray_key_left_out(const struct dray_key *key, bool copy)
{
	const char *text = copy && key->left_out_copy ? key->left_out_copy : key->left_out;
	if (!text && !(key->flags & DRAY_K_REQUIRED))
		text = key->flags & DRAY_K_NONE ? "none" : key->type == DRAY_T_BOOL ? "false" : key->words;
	char *one = text ? strndup(text, strcspn(text, "|")) : NULL;
	if (text && !one)
		abort();
	return one;
}

/* How many letters must be changed, added, dropped or swapped with the next to make a of b. */
static unsigned distance(const char *a, const char *b)
{
	enum { MOST = 24 };
	size_t n = strlen(a), m = strlen(b);
	if (n >= MOST || m >= MOST)
		return MOST;
	unsigned d[MOST][MOST];
	for (unsigned i = 0; i <= n; i++)
		d[i][0] = i;
	for (unsigned j = 0; j <= m; j++)
		d[0][j] = j;
	for (size_t i = 1; i <= n; i++) {
		for (size_t j = 1; j <= m; j++) {
			unsigned best = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
			if (d[i - 1][j] + 1 < best)
				best = d[i - 1][j] + 1;
			if (d[i][j - 1] + 1 < best)
				best = d[i][j - 1] + 1;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && d[i - 2][j - 2] + 1 < best)
				best = d[i - 2][j - 2] + 1;
			d[i][j] = best;
		}
	}
	return d[n][m];
}

const char *dray_key_near(const char *map, const char *word)
{
	const char *near = NULL;
	unsigned least = strlen(word) > 4 ? 3 : 2; /* one letter in short words, two in longer ones */
	for (size_t i = 0; i < dray_keys_n; i++) {
		const char *own = own_name(&dray_keys[i], map);
		unsigned d = own ? distance(own, word) : least;
		if (d < least) {
			least = d;
			near = own;
		}
	}
	return near;
}
