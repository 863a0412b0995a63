/* SPDX-License-Identifier: BSD-3-Clause */
#include "agent/config.h"

#include "base/units.h"

#include <errno.h>
#include <libfyaml.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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
		return c->state_dir && c->run_dir ? 0 : dray_error_errno(err, -ENOMEM, "configuration");
	}
	const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME"), *run = getenv("XDG_RUNTIME_DIR");
	if (state && *state)
		c->state_dir = join(state, "dray");
	else if (home && *home)
		c->state_dir = join(home, ".local/state/dray");
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
	free(c);
}

static bool read_unsigned(const char *text, unsigned least, unsigned most, unsigned *value)
{
	char *end;
	errno = 0;
	unsigned long v = strtoul(text, &end, 10);
	if (errno || *end || end == text || text[0] == '-' || v < least || v > most)
		return false;
	*value = (unsigned)v;
	return true;
}

static bool read_bool(const char *text, bool *value)
{
	*value = !strcmp(text, "true");
	return *value || !strcmp(text, "false");
}

static bool replace(char **into, const char *text)
{
	free(*into);
	*into = strdup(text);
	return *into && **into;
}

/* What is legal, or NULL: the value was taken. */
static const char *take(struct agent_config *c, const char *key, const char *value, bool *known)
{
	static const char *const levels[] = { "error", "warn", "info", "debug" };
	*known = true;
	if (!strcmp(key, "active_pairs"))
		return read_unsigned(value, 1, 100000, &c->active_pairs) ? NULL : "a number from 1 to 100000";
	if (!strcmp(key, "iod_threads"))
		return read_unsigned(value, 1, 1024, &c->iod_threads) ? NULL : "a number from 1 to 1024";
	if (!strcmp(key, "rate")) {
		if (!strcmp(value, "none")) {
			c->rate = UINT64_MAX;
			return NULL;
		}
		return dray_size_parse(value, &c->rate) == 0 && c->rate ? NULL
									: "bytes per second such as 200MiB, or none";
	}
	if (!strcmp(key, "log_level")) {
		for (int i = 0; i < 4; i++)
			if (!strcmp(value, levels[i])) {
				c->log_level = (enum dray_log_level)i;
				return NULL;
			}
		return "error, warn, info or debug";
	}
	if (!strcmp(key, "allow_faults"))
		return read_bool(value, &c->allow_faults) ? NULL : "true or false";
	if (!strcmp(key, "state_dir"))
		return replace(&c->state_dir, value) ? NULL : "a directory";
	if (!strcmp(key, "run_dir"))
		return replace(&c->run_dir, value) ? NULL : "a directory";
	*known = false;
	return "active_pairs, rate, log_level, iod_threads, allow_faults, state_dir and run_dir";
}

int agent_config_read(struct agent_config *c, const char *path, struct dray_error *err)
{
	if (access(path, R_OK) < 0)
		return dray_error_errno(err, -errno, "%s", path);
	struct fy_parse_cfg cfg = { .flags = FYPCF_QUIET };
	struct fy_document *doc = fy_document_build_from_file(&cfg, path);
	if (!doc)
		return dray_error_kind(err, -EINVAL, "syntax", "%s: not YAML", path);
	struct fy_node *root = fy_document_root(doc);
	int rc = 0;
	if (root && !fy_node_is_mapping(root))
		rc = dray_error_kind(err, -EINVAL, "syntax", "%s: a list of KEY: VALUE is expected", path);
	void *iter = NULL;
	struct fy_node_pair *pair;
	while (root && !rc && (pair = fy_node_mapping_iterate(root, &iter))) {
		struct fy_node *k = fy_node_pair_key(pair), *v = fy_node_pair_value(pair);
		size_t klen = 0, vlen = 0;
		const char *ktext = fy_node_get_scalar(k, &klen), *vtext = v ? fy_node_get_scalar(v, &vlen) : NULL;
		struct fy_token *token = fy_node_get_scalar_token(k);
		const struct fy_mark *mark = token ? fy_token_start_mark(token) : NULL;
		int line = mark ? mark->line + 1 : 0;
		char key[64], value[PATH_MAX];
		if (!ktext || !vtext || klen >= sizeof key || vlen >= sizeof value) {
			rc = dray_error_kind(err, -EINVAL, "wrong_type", "%s:%d: KEY: VALUE is expected", path, line);
			break;
		}
		memcpy(key, ktext, klen);
		key[klen] = 0;
		memcpy(value, vtext, vlen);
		value[vlen] = 0;
		bool known;
		const char *legal = take(c, key, value, &known);
		if (legal && known)
			rc = dray_error_kind(err, -EINVAL, "bad_value", "%s:%d: %s: %s is not %s", path, line, key, value, legal);
		else if (legal)
			rc = dray_error_kind(err, -EINVAL, "unknown_key", "%s:%d: unknown key %s; known are %s", path, line, key,
				legal);
	}
	fy_document_destroy(doc);
	return rc;
}
