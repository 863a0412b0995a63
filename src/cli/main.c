/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * dray, the command line. Reads the command and its options along the tables of table.c.
 */
#include "cli/cli.h"

#include <locale.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Errors of usage are told as JSON too where that is wanted, however wrong the rest may be. */
static bool wants_json(char **argv)
{
	for (; *argv; argv++)
		if (!strcmp(*argv, "-ojson") || !strcmp(*argv, "--output=json") ||
			((!strcmp(*argv, "-o") || !strcmp(*argv, "--output")) && argv[1] &&
				!strcmp(argv[1], "json")))
			return true;
	return false;
}

static bool is_group(const char *word)
{
	size_t n = strlen(word);
	for (size_t i = 0; i < commands_n; i++)
		if (!strncmp(commands[i].name, word, n) && commands[i].name[n] == ' ')
			return true;
	return false;
}

/* The command that the words begin with; `*words` is how many it took. */
static const struct command *find_command(char **argv, int *words)
{
	for (size_t i = 0; argv[0] && i < commands_n; i++) {
		const char *space = strchr(commands[i].name, ' ');
		if (!space && !strcmp(argv[0], commands[i].name)) {
			*words = 1;
			return &commands[i];
		}
		size_t n = space ? (size_t)(space - commands[i].name) : 0;
		if (space && argv[1] && strlen(argv[0]) == n && !strncmp(argv[0], commands[i].name, n) &&
			!strcmp(argv[1], space + 1)) {
			*words = 2;
			return &commands[i];
		}
	}
	return NULL;
}

static bool takes(const struct command *c, enum option_id id)
{
	if (id == OPT_OUTPUT || id == OPT_SOCKET || id == OPT_HELP)
		return true;
	for (const enum option_id *o = c->options; *o != OPTION_COUNT; o++)
		if (*o == id)
			return true;
	return false;
}

static enum option_id find_option(const struct command *c, const char *name, size_t n, char letter)
{
	for (int i = 0; i < OPTION_COUNT; i++) {
		const struct option_spec *o = &option_specs[i];
		if (!takes(c, (enum option_id)i))
			continue;
		if (letter ? o->letter == letter : strlen(o->name) == n && !strncmp(o->name, name, n))
			return (enum option_id)i;
	}
	return OPTION_COUNT;
}

static int usage(const struct args *args, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static int usage(const struct args *args, const char *fmt, ...)
{
	char text[256];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	return fail(args, EXIT_USAGE, "usage", "%s (try: dray %s --help)", text, args->command->name);
}

static int parse(struct args *args, char **argv)
{
	bool only_arguments = false;
	for (; *argv; argv++) {
		char *word = *argv, letter = 0, *value = NULL;
		if (only_arguments || word[0] != '-' || !word[1]) {
			args->positional[args->n_positional++] = word;
			continue;
		}
		if (!strcmp(word, "--")) {
			only_arguments = true;
			continue;
		}
		enum option_id id;
		if (word[1] == '-') {
			value = strchr(word, '=');
			id = find_option(args->command, word + 2,
				value ? (size_t)(value - word - 2) : strlen(word + 2), 0);
			value = value ? value + 1 : NULL;
		} else {
			letter = word[1];
			id = find_option(args->command, NULL, 0, letter);
			value = word[2] ? word + 2 : NULL;
		}
		if (id == OPTION_COUNT)
			return usage(args, "unknown option %s", word);
		if (option_specs[id].argument && !value) {
			value = *++argv;
			if (!value)
				return usage(args, "the option %s needs a value", word);
		} else if (!option_specs[id].argument && value) {
			return usage(args, "the option --%s takes no value", option_specs[id].name);
		}
		if (id == OPT_PAIR)
			args->pairs[args->n_pairs++] = value;
		args->value[id] = value ? value : "";
	}
	if (given(args, OPT_HELP))
		return EXIT_DONE;
	const char *form = args->value[OPT_OUTPUT];
	if (form && strcmp(form, "json") && strcmp(form, "yaml"))
		return usage(args, "there is no output form \"%s\": json or yaml", form);
	args->output = !form ? OUTPUT_HUMAN : *form == 'j' ? OUTPUT_JSON : OUTPUT_YAML;
	if (args->n_positional < args->command->least)
		return usage(args, "it takes %s", args->command->arguments);
	if (args->n_positional > args->command->most)
		return usage(args, "too many arguments: \"%s\"", args->positional[args->command->most]);
	return EXIT_DONE;
}

static int help(struct args *args, char **argv)
{
	int words;
	if (!*argv || !strcmp(*argv, "help") || !strcmp(*argv, "--help") || !strcmp(*argv, "-h")) {
		help_program();
		return EXIT_DONE;
	}
	const struct command *c = find_command(argv, &words);
	if (c)
		help_command(c);
	else if (is_group(*argv))
		help_group(*argv);
	else
		return fail(
			args, EXIT_USAGE, "usage", "there is no command \"%s\" (try: dray --help)", *argv);
	return EXIT_DONE;
}

/* `dray -o json list` is `dray list -o json`: the options that every command has may stand before it, too. */
static void common_options_last(char **argv)
{
	static const enum option_id common[] = {OPT_OUTPUT, OPT_SOCKET};
	for (int moves = 0;;) {
		int width = 0;
		for (size_t i = 0; argv[0] && i < sizeof common / sizeof common[0]; i++) {
			const struct option_spec *o = &option_specs[common[i]];
			size_t n = strlen(o->name);
			bool is_long = !strncmp(argv[0], "--", 2) && !strncmp(argv[0] + 2, o->name, n);
			if (is_long && argv[0][2 + n] == '=')
				width = 1;
			else if ((is_long && !argv[0][2 + n]) ||
				 (o->letter && argv[0][0] == '-' && argv[0][1] == o->letter))
				width = is_long || !argv[0][2] ? 2 : 1;
		}
		int n = 0;
		while (argv[n])
			n++;
		if (!width || n <= width || (argv[width][0] == '-' && !strncmp(argv[width], "--h", 3)))
			return;
		char *moved[2] = {argv[0], argv[1]};
		memmove(argv, argv + width, (size_t)(n - width) * sizeof *argv);
		memcpy(argv + n - width, moved, (size_t)width * sizeof *argv);
		if (++moves == 4) /* nothing but options */
			return;
	}
}

int main(int argc, char **argv)
{
	setlocale(LC_ALL, "");
	signal(SIGPIPE, SIG_IGN); /* a reader that goes away is an error of that write */
	static const struct command none = {.name = ""};
	struct args args = {.command = &none, .output = wants_json(argv) ? OUTPUT_JSON : OUTPUT_HUMAN};
	args.positional = calloc((size_t)argc + 1, sizeof *args.positional);
	args.pairs = calloc((size_t)argc + 1, sizeof *args.pairs);
	if (!args.positional || !args.pairs)
		return EXIT_FAILED;
	int rc, words = 0;
	common_options_last(argv + 1);
	const struct command *c = find_command(argv + 1, &words);
	if (argc < 2) {
		/* Asked for nothing: help, but not as a result. */
		dup2(STDERR_FILENO, STDOUT_FILENO);
		help_program();
		rc = EXIT_USAGE;
	} else if (!strcmp(argv[1], "--version")) {
		puts("dray " DRAY_VERSION);
		rc = EXIT_DONE;
	} else if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
		rc = help(&args, argv[1][0] == 'h' ? argv + 2 : argv + argc);
	} else if (c) {
		args.command = c;
		rc = parse(&args, argv + 1 + words);
		if (!rc && given(&args, OPT_HELP))
			help_command(c);
		else if (!rc)
			rc = c->run(&args);
	} else if (is_group(argv[1]) && argv[2] && (!strcmp(argv[2], "--help") || !strcmp(argv[2], "-h"))) {
		help_group(argv[1]);
		rc = EXIT_DONE;
	} else if (is_group(argv[1])) {
		rc = argv[2] ? fail(&args, EXIT_USAGE, "usage",
				       "%s has no command \"%s\" (try: dray %s --help)", argv[1], argv[2],
				       argv[1])
			     : fail(&args, EXIT_USAGE, "usage", "%s needs a command (try: dray %s --help)",
				       argv[1], argv[1]);
	} else {
		rc = fail(&args, EXIT_USAGE, "usage", "there is no %s \"%s\" (try: dray --help)",
			argv[1][0] == '-' ? "option" : "command", argv[1]);
	}
	/* What could not be written was not done. */
	if (fflush(stdout) || ferror(stdout))
		rc = rc ? rc : EXIT_FAILED;
	free(args.positional);
	free(args.pairs);
	return rc;
}
