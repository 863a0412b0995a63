/* SPDX-License-Identifier: BSD-3-Clause */
#include "agent/config.h"

#include "base/units.h"

#include <ctype.h>
#include <errno.h>
#include <libfyaml.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FIELD(name) offsetof(struct agent_config, name)
#define NS_S UINT64_C(1000000000)

const struct setting agent_settings[] = {
	{ "active_pairs", SET_COUNT, true, false, 1, 100000, "a number from 1 to 100000", FIELD(active_pairs) },
	{ "rate", SET_SIZE, true, true, 1, INT64_MAX, "bytes per second above 0 such as 200MiB, or none", FIELD(rate) },
	{ "in_flight", SET_SIZE, true, true, 16 << 10, UINT64_C(16) << 30, "a size from 16KiB to 16GiB, or none", FIELD(in_flight) },
	{ "step", SET_SIZE, true, true, 16 << 10, 64 << 20, "a power of two from 16KiB to 64MiB, or none", FIELD(step), true },
	{ "steps", SET_MANY, true, true, 1, 256, "a number from 1 to 256, or none", FIELD(steps) },
	{ "app_latency", SET_DURATION, true, true, NS_S / 1000, 600 * NS_S, "a duration from 1ms to 10m, or none", FIELD(app_latency_ns) },
	{ "vehicle.host.active_pairs", SET_MANY, true, true, 1, 100000, "a number from 1 to 100000, or none", FIELD(host_active_pairs) },
	{ "vehicle.host.in_flight", SET_SIZE, true, true, 16 << 10, UINT64_C(16) << 30, "a size from 16KiB to 16GiB, or none",
		FIELD(host_in_flight) },
	{ "log_level", SET_LEVEL, true, false, 0, 0, "error, warn, info or debug", FIELD(log_level) },
	{ "hooks_dir", SET_PATH, true, true, 0, 0, "an absolute path, or none", FIELD(hooks_dir) },
	{ "hook_timeout", SET_DURATION, true, false, NS_S / 10, 86400 * NS_S, "a time from 100ms to 24h", FIELD(hook_timeout_ns) },
	{ "hook_retries", SET_COUNT, true, false, 0, 100, "a number from 0 to 100", FIELD(hook_retries) },
	{ "hooks_at_once", SET_COUNT, true, false, 1, 64, "a number from 1 to 64", FIELD(hooks_at_once) },
	{ "keep_sessions", SET_MANY, true, true, 0, INT64_MAX, "a number, or none", FIELD(keep_sessions) },
	{ "keep_for", SET_DURATION, true, true, NS_S, 36500 * (86400 * NS_S), "a time from 1s to 36500d such as 90d, or none", FIELD(keep_for_ns) },
	{ "iod_threads", SET_COUNT, false, false, 1, 1024, "a number from 1 to 1024", FIELD(iod_threads) },
	{ "state_dir", SET_PATH, false, false, 0, 0, "a directory", FIELD(state_dir) },
	{ "run_dir", SET_PATH, false, false, 0, 0, "a directory", FIELD(run_dir) },
	{ "allow_faults", SET_BOOL, false, false, 0, 0, "true or false", FIELD(allow_faults) },
};
const size_t agent_settings_n = sizeof agent_settings / sizeof agent_settings[0];

static const char *const levels[] = { "error", "warn", "info", "debug" };

const struct setting *setting_find(const char *key)
{
	for (size_t i = 0; i < agent_settings_n; i++)
		if (!strcmp(agent_settings[i].key, key))
			return &agent_settings[i];
	return NULL;
}

const char *setting_words(void)
{
	static char words[600];
	if (!words[0])
		for (size_t i = 0, n = 0; i < agent_settings_n; i++)
			n += (size_t)snprintf(words + n, sizeof words - n, "%s%s", i ? ", " : "", agent_settings[i].key);
	return words;
}

static void *field_of(const struct agent_config *c, const struct setting *s)
{
	return (char *)(uintptr_t)c + s->field;
}

static bool in_range(const struct setting *s, uint64_t v)
{
	return v >= s->least && v <= s->most;
}

/* What is wrong with a number that was read with this result, as the keys of a document have it; NULL: nothing. */
static const char *number_wrong(const struct setting *s, const char *text, int rc, uint64_t v)
{
	bool unit = s->type == SET_SIZE || s->type == SET_DURATION;
	if (*text == '-' && text[1] && !text[1 + strspn(text + 1, "0123456789")])
		return "out_of_range";
	if (rc == -EINVAL)
		return unit && isdigit((unsigned char)*text) ? "bad_unit" : "bad_value";
	if (rc || !in_range(s, v))
		return "out_of_range";
	return s->power2 && v & (v - 1) ? "bad_value" : NULL;
}

static int parse_number(const struct setting *s, const char *text, uint64_t *v)
{
	if (s->type == SET_DURATION)
		return dray_duration_parse(text, v);
	if (s->type == SET_SIZE)
		return dray_size_parse(text, v);
	return text[strspn(text, "0123456789")] ? -EINVAL : dray_size_parse(text, v);
}

static const char *take_number(struct agent_config *c, const struct setting *s, const char *text)
{
	uint64_t v = UINT64_MAX;
	if (!s->none || strcmp(text, "none")) {
		int rc = parse_number(s, text, &v);
		const char *wrong = number_wrong(s, text, rc, v);
		if (wrong)
			return wrong;
	}
	if (s->type == SET_COUNT)
		*(unsigned *)field_of(c, s) = (unsigned)v;
	else
		*(uint64_t *)field_of(c, s) = v;
	return NULL;
}

static const char *take_path(struct agent_config *c, const struct setting *s, const char *text)
{
	bool none = s->none && !strcmp(text, "none");
	/* A relative one would depend on where the agent was started; the directories it has always had are made absolute. */
	if (!*text || (!none && s->live && *text != '/'))
		return "bad_value";
	char **into = field_of(c, s), *copy = strdup(none ? "" : text);
	if (!copy)
		abort();
	free(*into);
	*into = copy;
	return NULL;
}

const char *setting_take(struct agent_config *c, const struct setting *s, const char *text)
{
	switch (s->type) {
	case SET_COUNT:
	case SET_MANY:
	case SET_SIZE:
	case SET_DURATION: return take_number(c, s, text);
	case SET_PATH: return take_path(c, s, text);
	case SET_BOOL:
		if (strcmp(text, "true") && strcmp(text, "false"))
			return "bad_value";
		*(bool *)field_of(c, s) = !strcmp(text, "true");
		return NULL;
	case SET_LEVEL:
		for (int i = 0; i < 4; i++)
			if (!strcmp(text, levels[i])) {
				*(enum dray_log_level *)field_of(c, s) = (enum dray_log_level)i;
				return NULL;
			}
		return "bad_value";
	}
	return "bad_value";
}

json_t *setting_value(const struct agent_config *c, const struct setting *s)
{
	const void *field = field_of(c, s);
	uint64_t v;
	switch (s->type) {
	case SET_COUNT:
		/* Threads: 0 is what nobody can ask for, dray-iod's own choice. */
		v = *(const unsigned *)field;
		return v < s->least ? json_null() : json_integer((json_int_t)v);
	case SET_MANY:
	case SET_SIZE: v = *(const uint64_t *)field; return v == UINT64_MAX ? json_null() : json_integer((json_int_t)v);
	case SET_DURATION:
		v = *(const uint64_t *)field;
		if (v == UINT64_MAX)
			return json_null();
		return v % NS_S ? json_real((double)v / (double)NS_S) : json_integer((json_int_t)(v / NS_S));
	case SET_BOOL: return json_boolean(*(const bool *)field);
	case SET_LEVEL: return json_string(levels[*(const enum dray_log_level *)field]);
	case SET_PATH: {
		const char *path = *(char *const *)field;
		return path && *path ? json_string(path) : json_null();
	}
	}
	return json_null();
}

void setting_copy(struct agent_config *to, const struct agent_config *from, const struct setting *s)
{
	void *into = field_of(to, s);
	const void *of = field_of(from, s);
	switch (s->type) {
	case SET_COUNT: *(unsigned *)into = *(const unsigned *)of; break;
	case SET_MANY:
	case SET_SIZE:
	case SET_DURATION: *(uint64_t *)into = *(const uint64_t *)of; break;
	case SET_BOOL: *(bool *)into = *(const bool *)of; break;
	case SET_LEVEL: *(enum dray_log_level *)into = *(const enum dray_log_level *)of; break;
	case SET_PATH: {
		char *copy = *(char *const *)of ? strdup(*(char *const *)of) : NULL;
		free(*(char **)into);
		*(char **)into = copy;
		break;
	}
	}
}

/* ---- defaults ---- */

static char *join(const char *dir, const char *name)
{
	char *path;
	return asprintf(&path, "%s/%s", dir, name) < 0 ? NULL : path;
}

static int directories(struct agent_config *c, struct dray_error *err)
{
	if (geteuid() == 0) {
		c->state_dir = strdup("/var/lib/dray");
		c->run_dir = strdup("/run/dray");
		c->hooks_dir = strdup("/etc/dray/hooks.d");
		return c->state_dir && c->run_dir && c->hooks_dir ? 0 : dray_error_errno(err, -ENOMEM, "configuration");
	}
	const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME"), *run = getenv("XDG_RUNTIME_DIR"),
		   *config = getenv("XDG_CONFIG_HOME");
	if (state && *state)
		c->state_dir = join(state, "dray");
	else if (home && *home)
		c->state_dir = join(home, ".local/state/dray");
	if (config && *config == '/')
		c->hooks_dir = join(config, "dray/hooks.d");
	else
		c->hooks_dir = home && *home == '/' ? join(home, ".config/dray/hooks.d") : strdup("");
	char fallback[64];
	struct stat st;
	snprintf(fallback, sizeof fallback, "/run/user/%u", (unsigned)geteuid());
	if (run && *run)
		c->run_dir = join(run, "dray");
	else if (stat(fallback, &st) == 0)
		c->run_dir = join(fallback, "dray");
	else if (c->state_dir)
		c->run_dir = join(c->state_dir, "run");
	return 0; /* missing ones are told when they are needed: options may still give them */
}

/* $DRAY_IOD, else beside this program, else where it is installed. */
static char *find_iod(void)
{
	const char *env = getenv("DRAY_IOD");
	if (env && *env)
		return strdup(env);
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof self - 16);
	if (n > 0) {
		self[n] = 0;
		strcpy(strrchr(self, '/') + 1, "dray-iod");
		if (access(self, X_OK) == 0)
			return strdup(self);
		*strrchr(self, '/') = 0;
		char *beside = NULL;
		if (asprintf(&beside, "%s/../libexec/dray/dray-iod", self) >= 0 && access(beside, X_OK) == 0)
			return beside;
		free(beside);
	}
	return strdup("/usr/local/libexec/dray/dray-iod");
}

int agent_config_new(struct agent_config **out, struct dray_error *err)
{
	struct agent_config *c = calloc(1, sizeof *c);
	if (!c)
		return dray_error_errno(err, -ENOMEM, "configuration");
	c->log_level = DRAY_LOG_INFO;
	c->active_pairs = 32;
	c->rate = UINT64_MAX;
	c->keep_sessions = c->keep_for_ns = UINT64_MAX;
	c->in_flight = c->step = c->steps = c->app_latency_ns = c->host_active_pairs = c->host_in_flight = UINT64_MAX;
	c->hook_timeout_ns = 30 * NS_S;
	c->hook_retries = 3;
	c->hooks_at_once = 4;
	c->iod_program = find_iod();
	int rc = c->iod_program ? directories(c, err) : dray_error_errno(err, -ENOMEM, "configuration");
	if (rc) {
		agent_config_free(c);
		return rc;
	}
	*out = c;
	return 0;
}

void agent_config_free(struct agent_config *c)
{
	if (!c)
		return;
	free(c->state_dir);
	free(c->run_dir);
	free(c->iod_program);
	free(c->hooks_dir);
	free(c);
}

/* ---- the file ---- */

/* The text of a scalar with its NUL, or NULL. malloc'ed. */
static char *scalar(struct fy_node *node)
{
	size_t len = 0;
	const char *text = node ? fy_node_get_scalar(node, &len) : NULL;
	return text && !memchr(text, 0, len) ? strndup(text, len) : NULL;
}

static unsigned line_of(struct fy_node *node)
{
	struct fy_token *token = fy_node_get_scalar_token(node);
	const struct fy_mark *mark = token ? fy_token_start_mark(token) : NULL;
	return mark ? (unsigned)mark->line + 1 : 0;
}

/* Whether some setting's name begins with this and a dot. */
static bool names_below(const char *key)
{
	size_t n = strlen(key);
	for (size_t i = 0; i < agent_settings_n; i++)
		if (!strncmp(agent_settings[i].key, key, n) && agent_settings[i].key[n] == '.')
			return true;
	return false;
}

/* `under`: "vehicle.host." inside of `vehicle: {host: {`. */
static void take_pair(struct agent_config *c, const char *path, const char *under, struct fy_node_pair *pair, json_t *given,
	struct dray_problems *problems)
{
	struct fy_node *node = fy_node_pair_value(pair);
	unsigned line = line_of(fy_node_pair_key(pair));
	char *own = scalar(fy_node_pair_key(pair)), *value = scalar(node), *key = NULL, pointer[80];
	if (own && asprintf(&key, "%s%s", under, own) < 0)
		abort();
	const struct setting *s = key ? setting_find(key) : NULL;
	const char *wrong;
	snprintf(pointer, sizeof pointer, "/%.70s", key ? key : "");
	if (key && !s && fy_node_is_mapping(node) && names_below(key)) {
		char deeper[80];
		snprintf(deeper, sizeof deeper, "%s.", key);
		void *iter = NULL;
		for (struct fy_node_pair *inner; (inner = fy_node_mapping_iterate(node, &iter));)
			take_pair(c, path, deeper, inner, given, problems);
	} else if (key && !s)
		dray_problems_add(problems, pointer, line, "unknown_key", key, setting_words(), "%s:%u: unknown key %s; known are %s",
			path, line, key, setting_words());
	else if (!key || !value)
		dray_problems_add(problems, pointer, line, "wrong_type", NULL, s ? s->legal : NULL, "%s:%u: %s: KEY: VALUE is expected",
			path, line, key ? key : "?");
	else if ((wrong = setting_take(c, s, value)))
		dray_problems_add(problems, pointer, line, wrong, value, s->legal, "%s:%u: %s: %s is not %s", path, line, key, value,
			s->legal);
	else if (given)
		json_object_set_new(given, key, json_string(value));
	free(own);
	free(key);
	free(value);
}

int agent_config_read(struct agent_config *c, const char *path, json_t *given, struct dray_problems *problems)
{
	if (access(path, R_OK) < 0) {
		int e = errno;
		dray_problems_add(problems, "", 0, "not_accessible", path, NULL, "%s: %s", path, strerror(e));
		return -e;
	}
	struct fy_parse_cfg cfg = { .flags = FYPCF_QUIET };
	struct fy_document *doc = fy_document_build_from_file(&cfg, path);
	if (!doc) {
		dray_problems_add(problems, "", 0, "syntax", NULL, "YAML", "%s: not YAML", path);
		return -EINVAL;
	}
	struct fy_node *root = fy_document_root(doc);
	void *iter = NULL;
	struct fy_node_pair *pair;
	if (root && !fy_node_is_mapping(root) && !fy_node_is_null(root))
		dray_problems_add(problems, "", 0, "syntax", NULL, "KEY: VALUE lines", "%s: a list of KEY: VALUE is expected", path);
	else if (root && fy_node_is_mapping(root))
		while ((pair = fy_node_mapping_iterate(root, &iter)))
			take_pair(c, path, "", pair, given, problems);
	fy_document_destroy(doc);
	return problems->n ? -EINVAL : 0;
}
