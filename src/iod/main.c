/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/log.h"
#include "base/crash.h"
#include "iod/files.h"
#include "iod/process.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char help[] =
	"dray-iod serves volumes to applications over NBD, and copies, mirrors and switches\n"
	"the storage behind them while they are in use. drayd starts it and tells it what to\n"
	"do; it goes on alone, and after a restart it takes up everything from its state\n"
	"directory.\n"
	"\n"
	"Usage: dray-iod [OPTION]...\n"
	"\n"
	"  --state-dir DIR   volumes, legs, region maps and epoch records live here; one\n"
	"                    dray-iod at a time (default for root /var/lib/dray/iod, else\n"
	"                    $XDG_STATE_HOME/dray/iod)\n"
	"  --run-dir DIR     sockets are made here: iod.sock (control), nbd.sock (volumes)\n"
	"                    (default for root /run/dray, else $XDG_RUNTIME_DIR/dray)\n"
	"  --threads N       I/O threads; a volume lives on one of them (default: one a core)\n"
	"  --tcp HOST:PORT   serve volumes over TCP too (no encryption: trusted networks only)\n"
	"  --seen FILE       the agent's list of the epochs that it saw: a volume whose state is\n"
	"                    older than that is not served (default volumes-seen beside the\n"
	"                    state directory, where drayd has it)\n"
	"  --allow-faults    understand fault:OPTIONS:RESOURCE, for tests\n"
	"  --log LEVEL       error, warn, info (default) or debug\n"
	"  --help            this text\n"
	"  --version         the version\n"
	"\n"
	"Examples:\n"
	"  dray-iod --state-dir /tmp/s --run-dir /tmp/r &     try it without drayd\n"
	"  nbdinfo --list 'nbd+unix://?socket=/tmp/r/nbd.sock'  what it serves\n"
	"\n"
	"SIGTERM stops it in order. kill -9 loses nothing that was flushed. The manual page\n"
	"dray-iod(8) has more; the control protocol is in docs/PROTOCOL.md.\n";

static int __attribute__((format(printf, 1, 2))) usage(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	fprintf(stderr, "dray-iod: ");
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\nTry dray-iod --help.\n");
	return 2;
}

/* "BASE/dray/LEAF", from the environment or what it stands for. */
static char *user_dir(const char *variable, const char *under_home, const char *leaf)
{
	const char *base = getenv(variable), *home = getenv("HOME");
	char *path = NULL;
	int n = base && base[0] == '/' ? asprintf(&path, "%s/dray%s", base, leaf) :
		under_home && home     ? asprintf(&path, "%s/%s/dray%s", home, under_home, leaf) :
					 asprintf(&path, "/tmp/dray-%u%s", (unsigned)getuid(), leaf);
	return n < 0 ? NULL : path;
}

int main(int argc, char **argv)
{
	enum { STATE = 1, RUN, THREADS, TCP, SEEN, FAULTS, LOG, HELP, VERSION };
	static const struct option options[] = {
		{ "state-dir", required_argument, NULL, STATE },
		{ "run-dir", required_argument, NULL, RUN },
		{ "threads", required_argument, NULL, THREADS },
		{ "tcp", required_argument, NULL, TCP },
		{ "seen", required_argument, NULL, SEEN },
		{ "allow-faults", no_argument, NULL, FAULTS },
		{ "log", required_argument, NULL, LOG },
		{ "help", no_argument, NULL, HELP },
		{ "version", no_argument, NULL, VERSION },
		{ NULL, 0, NULL, 0 },
	};
	static struct iod iod;
	long cores = sysconf(_SC_NPROCESSORS_ONLN), threads = cores > 0 ? cores : 1;
	int level = DRAY_LOG_INFO;
	char *end, *seen = NULL;

	for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		switch (c) {
		case STATE: iod.options.state_dir = optarg; break;
		case RUN: iod.options.run_dir = optarg; break;
		case TCP: iod.options.tcp = optarg; break;
		case SEEN: iod.options.seen = optarg; break;
		case FAULTS: iod.options.allow_faults = true; break;
		case THREADS:
			threads = strtol(optarg, &end, 10);
			if (*end || threads < 1 || threads > 256)
				return usage("--threads: \"%s\" is not a number from 1 to 256", optarg);
			break;
		case LOG:
			level = dray_log_from_word(optarg);
			if (level < 0)
				return usage("--log: \"%s\" is not error, warn, info or debug", optarg);
			break;
		case HELP: return fputs(help, stdout) < 0 || fflush(stdout) ? 1 : 0;
		case VERSION: return puts("dray-iod " DRAY_VERSION) < 0 ? 1 : 0;
		default: return usage("%s", "that is not how it is called");
		}
	}
	if (optind < argc)
		return usage("\"%s\": it takes options only", argv[optind]);

	bool root = geteuid() == 0;
	if (!iod.options.state_dir)
		iod.options.state_dir = root ? "/var/lib/dray/iod" : user_dir("XDG_STATE_HOME", ".local/state", "/iod");
	if (!iod.options.run_dir)
		iod.options.run_dir = root ? "/run/dray" : user_dir("XDG_RUNTIME_DIR", NULL, "");
	/* Where the agent keeps it: forgetting the option must not bring an old primary back. */
	if (!iod.options.seen && iod.options.state_dir && asprintf(&seen, "%s/../volumes-seen", iod.options.state_dir) >= 0)
		iod.options.seen = seen;
	iod.options.threads = (unsigned)threads;
	dray_log_init("dray-iod", (enum dray_log_level)level);
	dray_crash_init();

	/* Before any thread is there: all inherit it, and the signals come to the main loop alone. */
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	json_object_seed(0);
	iod_files_init();

	struct dray_error err = DRAY_ERROR_INIT;
	if (!iod.options.state_dir || !iod.options.run_dir || iod_start(&iod, &err) < 0) {
		dray_log(DRAY_LOG_ERROR, "start", "%s", err.text);
		_exit(1); /* threads may be running; nothing was acknowledged that would need an orderly end */
	}
	if (!iod_run(&iod))
		_exit(0); /* storage is stuck: freeing it would wait for it */
	return 0;
}
