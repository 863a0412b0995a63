/* SPDX-License-Identifier: BSD-3-Clause */
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

static void put_lines(const char *indent, const char *text)
{
	for (const char *end; *text; text = *end ? end + 1 : end) {
		end = text + strcspn(text, "\n");
		printf("%s%.*s\n", indent, (int)(end - text), text);
	}
}

static void put_option(const struct option_spec *o)
{
	char left[64];
	int n = o->letter ? snprintf(left, sizeof left, "-%c, --%s", o->letter, o->name) :
			    snprintf(left, sizeof left, "    --%s", o->name);
	if (o->argument)
		snprintf(left + n, sizeof left - (size_t)n, " %s", o->argument);
	printf("  %-24s %s\n", left, o->help);
}

void help_program(void)
{
	puts("dray moves the data of live volumes from one storage to another, then the applications over.\n\n"
	     "Usage: dray COMMAND [ARGUMENTS] [OPTIONS]\n\n"
	     "A migration, from beginning to end:\n\n"
	     "  drayd &                                          the agent; one on each host\n"
	     "  dray volume add orders /dev/vg/orders            applications connect to the URI it prints\n"
	     "  dray migrate volume:orders /dev/mapper/new       copies, and switches when in sync\n"
	     "  dray undo orders                                 not happy? back, nothing is lost\n"
	     "  dray switch orders && dray commit orders         happy: lets the old storage go\n\n"
	     "Commands:\n");
	for (size_t i = 0; i < commands_n; i++)
		printf("  %-16s %s\n", commands[i].name, commands[i].summary);
	puts("\nOptions of every command:\n");
	put_option(&option_specs[OPT_OUTPUT]);
	put_option(&option_specs[OPT_SOCKET]);
	put_option(&option_specs[OPT_HELP]);
	puts("      --version            the version of this program\n\n"
	     "Exit status: 0 done, 1 failed, 2 wrong usage, 3 refused by validation, 4 no such thing, 5 not legal in this state,\n"
	     "6 agent unreachable, 7 timed out, 130 detached by Ctrl-C.\n\n"
	     "`dray help COMMAND` tells more about a command; dray(1) and dray-session(5) tell everything.");
}

void help_command(const struct command *c)
{
	printf("dray %s: %s\n\nUsage: dray %s%s%s [OPTIONS]\n", c->name, c->summary, c->name, *c->arguments ? " " : "",
		c->arguments);
	if (c->text) {
		putchar('\n');
		put_lines("", c->text);
	}
	puts("\nOptions:\n");
	for (const enum option_id *o = c->options; *o != OPTION_COUNT; o++)
		put_option(&option_specs[*o]);
	put_option(&option_specs[OPT_OUTPUT]);
	put_option(&option_specs[OPT_SOCKET]);
	put_option(&option_specs[OPT_HELP]);
	if (c->examples) {
		puts("\nExamples:\n");
		put_lines("  ", c->examples);
	}
}

void help_group(const char *word)
{
	size_t n = strlen(word);
	printf("Usage: dray %s COMMAND\n\n", word);
	for (size_t i = 0; i < commands_n; i++)
		if (!strncmp(commands[i].name, word, n) && commands[i].name[n] == ' ')
			printf("  %-16s %s\n", commands[i].name, commands[i].summary);
}
