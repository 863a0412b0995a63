/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * dray-sim: runs seeds. In the build with planted faults (dray-sim-teeth) it also shows that each of them is found.
 */
#include "engine/plant.h"
#include "sim/run.h"

#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#ifdef DRAY_TEETH
enum dray_plant dray_planted = DRAY_PLANT_NONE;
#define PROGRAM "dray-sim-teeth"
#else
#define PROGRAM "dray-sim"
#endif

static const char usage[] =
	"Usage: " PROGRAM " [--seed N | --seeds FROM..TO | --seconds S] [--steps N] [--verbose] [--trace]\n"
#ifdef DRAY_TEETH
	"       " PROGRAM " --teeth [--most-seeds N]\n"
	"       " PROGRAM " --plant NAME --seed N\n"
#endif
	"\n"
	"Runs the engine against simulated disks, applications and an operator, all decided by a seed.\n"
	"\n"
	"  --seed N           run one seed and print what happens\n"
	"  --seeds FROM..TO   run these (default 1..1000)\n"
	"  --seconds S        run seeds for so long, from 1 or from FROM on\n"
	"  --steps N          events of a run, before it is let come to rest (default 2500)\n"
	"  --verbose          count how often each hazard occurred\n"
	"  --coverage         fail if one never did\n"
	"  --keep-going       do not stop at the first failing seed\n"
	"  --trace            print what happens in every run\n"
#ifdef DRAY_TEETH
	"  --teeth            plant each fault in turn; fail unless each is found\n"
	"  --most-seeds N     within so many seeds each (default 5000)\n"
	"  --plant NAME       with this fault planted\n"
#endif
	"  --help\n";

struct options {
	uint64_t from, to, steps, most_seeds;
	double seconds;
	bool one, verbose, coverage, trace, teeth, keep_going;
	const char *plant;
};

static volatile uint64_t current_seed;

static void on_alarm(int sig)
{
	static const char text[] = "the engine does not return; seed ";
	char digits[24];
	int n = snprintf(digits, sizeof digits, "%" PRIu64 "\n", (uint64_t)current_seed);
	if (write(2, text, sizeof text - 1) < 0 || write(2, digits, (size_t)n) < 0)
		_exit(3);
	_exit(1);
}

static double clock_seconds(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void run(uint64_t seed, const struct options *o, bool trace, struct sim_result *r)
{
	current_seed = seed;
	alarm(120);
	sim_run(seed, o->steps, trace, r);
	alarm(0);
}

static void report(uint64_t seed, const struct options *o, const struct sim_result *r)
{
	printf("seed %" PRIu64 " failed at step %" PRIu64 " (%.3f ms): %s\n  %s\n  replay: " PROGRAM " --seed %" PRIu64, seed, r->step,
		(double)(r->now_ns - 1000000000) / 1e6, r->rule, r->why, seed);
	if (o->steps)
		printf(" --steps %" PRIu64, o->steps);
	if (o->plant)
		printf(" --plant %s", o->plant);
	putchar('\n');
}

static bool print_cover(const uint64_t *cover, bool all)
{
	static const char *const what[] = {
#define X(name, text) text,
		SIM_COVERS(X)
#undef X
	};
	bool complete = true;
	for (int i = 0; i < COVER_COUNT; i++) {
		if (all)
			printf("%12" PRIu64 "  %s\n", cover[i], what[i]);
		else if (!cover[i])
			printf("never happened: %s\n", what[i]);
		complete &= cover[i] != 0;
	}
	return complete;
}

static int run_seeds(const struct options *o)
{
	uint64_t cover[COVER_COUNT] = { 0 }, steps = 0, failed = 0, seed = o->from;
	double start = clock_seconds();
	for (; o->seconds > 0 ? clock_seconds() - start < o->seconds : seed <= o->to; seed++) {
		struct sim_result r;
		run(seed, o, o->trace || o->one, &r);
		steps += r.step;
		for (int i = 0; i < COVER_COUNT; i++)
			cover[i] += r.cover[i];
		if (r.failed) {
			report(seed, o, &r);
			if (!o->keep_going)
				return 1;
			failed++;
		}
	}
	double took = clock_seconds() - start;
	printf("%" PRIu64 " seeds, %" PRIu64 " events, %.1f s: ", seed - o->from, steps, took);
	if (failed)
		printf("%" PRIu64 " failed\n", failed);
	else
		printf("no rule was broken\n");
	bool complete = true;
	if (o->verbose)
		complete = print_cover(cover, true);
	else if (o->coverage)
		complete = print_cover(cover, false);
	return failed || (o->coverage && !complete) ? 1 : 0;
}

#ifdef DRAY_TEETH
static const char *const plant_names[] = {
	"NONE",
#define X(name, what) #name,
	DRAY_PLANTS(X)
#undef X
};

static int run_teeth(struct options *o)
{
	int missed = 0;
	double start = clock_seconds();
	printf("%-36s %8s  %s\n", "planted", "seeds", "caught by");
	for (int p = 1; p < DRAY_PLANT_COUNT; p++) {
		dray_planted = (enum dray_plant)p;
		struct sim_result r = { 0 };
		uint64_t seed;
		for (seed = o->from; seed < o->from + o->most_seeds; seed++) {
			run(seed, o, false, &r);
			if (r.failed)
				break;
		}
		if (r.failed)
			printf("%-36s %8" PRIu64 "  %s\n", plant_names[p], seed - o->from + 1, r.rule);
		else
			printf("%-36s %8s  NOT FOUND in %" PRIu64 " seeds\n", plant_names[p], "-", o->most_seeds);
		fflush(stdout);
		missed += !r.failed;
	}
	printf("%d of %d planted faults found, %.0f s\n", DRAY_PLANT_COUNT - 1 - missed, DRAY_PLANT_COUNT - 1, clock_seconds() - start);
	return missed ? 1 : 0;
}
#endif

static int wrong_usage(const char *why, const char *what)
{
	fprintf(stderr, PROGRAM ": %s%s\n%s", why, what, usage);
	return 2;
}

static bool number(const char *s, uint64_t *n)
{
	char *end;
	*n = strtoull(s, &end, 10);
	return *s >= '0' && *s <= '9' && !*end;
}

int main(int argc, char **argv)
{
	enum { SEED = 256, SEEDS, SECONDS, STEPS, VERBOSE, COVERAGE, TRACE, KEEP_GOING, TEETH, MOST, PLANT_NAME, HELP };
	static const struct option longs[] = {
		{ "seed", required_argument, NULL, SEED },
		{ "seeds", required_argument, NULL, SEEDS },
		{ "seconds", required_argument, NULL, SECONDS },
		{ "steps", required_argument, NULL, STEPS },
		{ "verbose", no_argument, NULL, VERBOSE },
		{ "coverage", no_argument, NULL, COVERAGE },
		{ "trace", no_argument, NULL, TRACE },
		{ "keep-going", no_argument, NULL, KEEP_GOING },
		{ "help", no_argument, NULL, HELP },
#ifdef DRAY_TEETH
		{ "teeth", no_argument, NULL, TEETH },
		{ "most-seeds", required_argument, NULL, MOST },
		{ "plant", required_argument, NULL, PLANT_NAME },
#endif
		{ 0 },
	};
	struct options o = { .from = 1, .to = 1000, .most_seeds = 5000 };
	int c;
	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		uint64_t n;
		char *dots;
		switch (c) {
		case SEED:
			if (!number(optarg, &o.from))
				return wrong_usage("not a seed: ", optarg);
			o.to = o.from;
			o.one = true;
			break;
		case SEEDS:
			dots = strstr(optarg, "..");
			if (dots)
				*dots = 0;
			if (!dots || !number(optarg, &o.from) || !number(dots + 2, &o.to))
				return wrong_usage("not a range of seeds: ", optarg);
			break;
		case SECONDS:
			if (!number(optarg, &n) || !n)
				return wrong_usage("not a number of seconds: ", optarg);
			o.seconds = (double)n;
			break;
		case STEPS:
			if (!number(optarg, &o.steps))
				return wrong_usage("not a number of steps: ", optarg);
			break;
		case VERBOSE: o.verbose = true; break;
		case COVERAGE: o.coverage = true; break;
		case TRACE: o.trace = true; break;
		case KEEP_GOING: o.keep_going = true; break;
		case TEETH: o.teeth = true; break;
		case MOST:
			if (!number(optarg, &o.most_seeds))
				return wrong_usage("not a number of seeds: ", optarg);
			break;
		case PLANT_NAME: o.plant = optarg; break;
		case HELP: fputs(usage, stdout); return 0;
		default: fputs(usage, stderr); return 2;
		}
	}
	if (optind < argc)
		return wrong_usage("unexpected argument: ", argv[optind]);
	signal(SIGALRM, on_alarm);
	setvbuf(stdout, NULL, _IOLBF, 0);
#ifdef DRAY_TEETH
	if (o.plant) {
		for (int p = 1; p < DRAY_PLANT_COUNT; p++)
			if (!strcmp(plant_names[p], o.plant))
				dray_planted = (enum dray_plant)p;
		if (dray_planted == DRAY_PLANT_NONE)
			return wrong_usage("no such fault: ", o.plant);
	}
	if (o.teeth)
		return run_teeth(&o);
#endif
	return run_seeds(&o);
}
