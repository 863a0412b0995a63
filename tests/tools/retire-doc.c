/* SPDX-License-Identifier: BSD-3-Clause */
/* Prints the tables of docs/RETIRE.md from src/storage/retire-table.c; tests/func/test-retire-doc.sh compares. */
#include "storage/retire.h"

#include <stdio.h>
#include <string.h>

static const struct dray_retire_cell *cell(int kind, bool slice, int way)
{
	return dray_retire_cell((enum dray_retire_kind)kind, slice, (enum dray_retire_way)way);
}

static void row(const char *name, int kind, bool slice)
{
	printf("| %s |", name);
	for (int w = DRAY_RETIRE_READ_ONLY; w < DRAY_RETIRE_COUNT; w++) {
		const struct dray_retire_cell *c = cell(kind, slice, w);
		printf(" %s |", c->no ? "" : strcmp(c->lasts, "yes") ? "until it reappears" : "yes");
	}
	puts("");
}

static void details(const char *name, int kind, bool slice)
{
	printf("**%s**\n\n", name);
	for (int w = DRAY_RETIRE_READ_ONLY; w < DRAY_RETIRE_COUNT; w++) {
		const struct dray_retire_cell *c = cell(kind, slice, w);
		printf("- %s: %s%s.", dray_retire_word((enum dray_retire_way)w), c->no ? "refused: " : "", c->no ? c->no : c->does);
		if (!c->no)
			printf(" Lasts over a restart of the host: %s.", c->lasts);
		puts("");
	}
	puts("");
}

int main(void)
{
	printf("| storage |");
	for (int w = DRAY_RETIRE_READ_ONLY; w < DRAY_RETIRE_COUNT; w++)
		printf(" %s |", dray_retire_word((enum dray_retire_way)w));
	printf("\n|---|");
	for (int w = DRAY_RETIRE_READ_ONLY; w < DRAY_RETIRE_COUNT; w++)
		printf(":-:|");
	puts("");
	for (int k = 0; k < DRAY_RETIRE_KIND_OTHER; k++)
		row(dray_retire_kind_word((enum dray_retire_kind)k), k, false);
	row("slice of any of these", 0, true);
	puts("");
	for (int k = 0; k < DRAY_RETIRE_KIND_OTHER; k++)
		details(dray_retire_kind_word((enum dray_retire_kind)k), k, false);
	details("slice of any of these", 0, true);
	return 0;
}
