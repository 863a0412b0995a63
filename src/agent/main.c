/* SPDX-License-Identifier: BSD-3-Clause */
#include "agent/agent.h"
#include "base/crash.h"

#include "agent/settings.h"
#include "base/crash.h"
#include "base/log.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char usage[] =
	"Usage: drayd [OPTION]...\n"
	"The data mobility agent of dray. Starts and supervises dray-iod.\n"
	"\n"
	"  --config FILE      read settings from FILE (YAML)\n"
	"  --state-dir DIR    where the agent keeps its repository\n"
	"  --run-dir DIR      where its sockets are\n"
	"  --no-iod           use a dray-iod that something else starts\n"
	"  --help             print this and exit\n"
	"  --version          print the version and exit\n";

static int wrong(const char *words)
{
	fprintf(stderr, "drayd: %s\nTry `drayd --help'.\n", words);
	return 2;
}

static char *copy(const char *text)
{
	char *c = strdup(text);
	if (!c)
		abort();
	return c;
}

static char *absolute(const char *path)
{
	char *cwd, *full;
	if (*path == '/')
		return copy(path);
	if (!(cwd = getcwd(NULL, 0)) || asprintf(&full, "%s/%s", cwd, path) < 0)
		abort();
	free(cwd);
	return full;
}

/* Everything that is wrong with it is told at once. */
static int read_file(struct agent_config *config, struct agent_config *base, const char *file, json_t *given)
{
	struct dray_problems problems = DRAY_PROBLEMS_INIT;
	int rc = agent_config_read(base, file, given, &problems);
	for (size_t i = 0; i < problems.n; i++)
		fprintf(stderr, "drayd: %s\n", problems.items[i].detail);
	dray_problems_free(&problems);
	for (size_t i = 0; !rc && i < agent_settings_n; i++)
		setting_copy(config, base, &agent_settings[i]);
	return rc;
}

/* It ends before it began. */
static void forget(struct agent_config *config, struct agent_config *base, json_t *given, json_t *command)
{
	agent_config_free(config);
	agent_config_free(base);
	json_decref(given);
	json_decref(command);
}

int main(int argc, char **argv)
{
	enum { CONFIG = 1, STATE_DIR, RUN_DIR, NO_IOD, HELP, VERSION };
	static const struct option options[] = {
		{ "config", required_argument, NULL, CONFIG },
		{ "state-dir", required_argument, NULL, STATE_DIR },
		{ "run-dir", required_argument, NULL, RUN_DIR },
		{ "no-iod", no_argument, NULL, NO_IOD },
		{ "help", no_argument, NULL, HELP },
		{ "version", no_argument, NULL, VERSION },
		{ 0 },
	};
	struct agent_config *config = NULL;
	struct dray_error err = DRAY_ERROR_INIT;
	const char *file = NULL, *state = NULL, *run = NULL;
	bool no_iod = false;
	int o;
	while ((o = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (o) {
		case CONFIG: file = optarg; break;
		case STATE_DIR: state = optarg; break;
		case RUN_DIR: run = optarg; break;
		case NO_IOD: no_iod = true; break;
		case HELP: fputs(usage, stdout); return 0;
		case VERSION: printf("drayd %s\n", DRAY_VERSION); return 0;
		default: fputs("Try `drayd --help'.\n", stderr); return 2;
		}
	}
	if (optind < argc)
		return wrong("it takes no arguments");
	struct agent_config *base = NULL;
	json_t *given = json_object(), *command = json_object();
	if (agent_config_new(&config, &err) || agent_config_new(&base, &err)) {
		fprintf(stderr, "drayd: %s\n", err.text);
		return 1;
	}
	if (file && read_file(config, base, file, given)) {
		forget(config, base, given, command);
		return 2;
	}
	if (state) {
		json_object_set_new(command, "state_dir", json_true());
		free(config->state_dir);
		config->state_dir = copy(state);
	}
	if (run) {
		json_object_set_new(command, "run_dir", json_true());
		free(config->run_dir);
		config->run_dir = copy(run);
	}
	config->no_iod = no_iod;
	if (!config->state_dir || !config->run_dir) {
		forget(config, base, given, command);
		return wrong("no home directory is known: give --state-dir and --run-dir");
	}
	/* dray-iod is started with them from another working directory. */
	char **dirs[] = { &config->state_dir, &config->run_dir };
	for (size_t i = 0; i < 2; i++) {
		char *full = absolute(*dirs[i]);
		free(*dirs[i]);
		*dirs[i] = full;
	}
	dray_log_init("drayd", config->log_level);
	dray_crash_init();
	struct agent agent = { .config = config, .settings = settings_new(file ? absolute(file) : NULL, given, command, base) };
	if (!agent.settings)
		abort();
	int rc = agent_run(&agent, &err);
	if (rc)
		dray_log(DRAY_LOG_ERROR, "failed", "%s", err.text);
	settings_free(agent.settings);
	agent_config_free(config);
	return rc;
}
