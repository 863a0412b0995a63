/* SPDX-License-Identifier: BSD-3-Clause */
/* Prints the tables of docs/RETIRE.md from src/storage/retire-table.c, with the test that shows each way that is possible ("nobody"
 * where none does); tests/func/test-retire-doc.sh compares. `retire-doc shown`: a line "TEST KIND WAY" for each of them, with dashes. */
#include "storage/retire.h"

#include "../words.h"

#include <stdio.h>
#include <string.h>

#define FILES   "tests/func/test-retire-files.py"
#define DEVICES "tests/vm/test-retire-devices.py"
#define LOOP    "tests/func/test-retire-loop.py"
#define NBD     "tests/func/test-retire-nbd.py"
#define SLICES  "tests/func/test-retire-slices.py"
#define DISKS   "tests/vm/test-retire-disks.py"

/* By kind and way, of the whole and of a slice. What is missing here must be refused. */
static const struct shown {
	enum dray_retire_kind kind;
	const char *ways, *test;
	bool slice;
} shown[] = {
	{ DRAY_RETIRE_KIND_FILE, "read-only offline discard zero delete rename", FILES, false },
	{ DRAY_RETIRE_KIND_LV, "read-only offline discard zero delete rename", DEVICES, false },
	{ DRAY_RETIRE_KIND_SCSI, "read-only offline discard zero", DEVICES, false },
	{ DRAY_RETIRE_KIND_PARTITION, "read-only discard zero", DEVICES, false },
	{ DRAY_RETIRE_KIND_DISK, "read-only discard zero", DISKS, false },
	{ DRAY_RETIRE_KIND_LOOP, "discard zero", LOOP, false },
	{ DRAY_RETIRE_KIND_NBD, "discard zero", NBD, false },
	{ DRAY_RETIRE_KIND_FILE, "discard zero", SLICES, true },
	{ DRAY_RETIRE_KIND_LV, "discard zero", DISKS, true },
	{ DRAY_RETIRE_KIND_SCSI, "discard zero", DISKS, true },
	{ DRAY_RETIRE_KIND_DISK, "discard zero", DISKS, true },
	{ DRAY_RETIRE_KIND_PARTITION, "discard zero", DISKS, true },
	{ DRAY_RETIRE_KIND_LOOP, "discard zero", LOOP, true },
	{ DRAY_RETIRE_KIND_NBD, "discard zero", SLICES, true },
};

static const struct dray_retire_cell *cell(int kind, bool slice, int way)
{
	return dray_retire_cell((enum dray_retire_kind)kind, slice, (enum dray_retire_way)way);
}

static const char *shown_by(int kind, bool slice, int way)
{
	for (size_t i = 0; i < sizeof shown / sizeof shown[0]; i++)
		if (shown[i].kind == (enum dray_retire_kind)kind && shown[i].slice == slice &&
			among(shown[i].ways, dray_retire_word((enum dray_retire_way)way)))
			return shown[i].test;
	return NULL;
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

/* The tests of a cell: one for the whole; of slices one for each kind that has them. */
static void tell_shown(int kind, bool slice, int way)
{
	const char *last = NULL;
	printf(" Shown by");
	for (int k = 0; k < DRAY_RETIRE_KIND_OTHER; k++) {
		if ((!slice && k != kind) || cell(k, slice, way)->no)
			continue;
		const char *test = shown_by(k, slice, way);
		if (!slice)
			printf(" %s", test ? test : "nobody");
		else
			printf("%s %s (%s)", last ? "," : "", test ? test : "nobody", dray_retire_kind_word((enum dray_retire_kind)k));
		last = test ? test : "";
	}
	printf(".");
}

static void details(const char *name, int kind, bool slice)
{
	printf("**%s**\n\n", name);
	for (int w = DRAY_RETIRE_READ_ONLY; w < DRAY_RETIRE_COUNT; w++) {
		const struct dray_retire_cell *c = cell(kind, slice, w);
		printf("- %s: %s%s.", dray_retire_word((enum dray_retire_way)w), c->no ? "refused: " : "", c->no ? c->no : c->does);
		if (!c->no) {
			printf(" Lasts over a restart of the host: %s.", c->lasts);
			tell_shown(kind, slice, w);
		}
		puts("");
	}
	puts("");
}

static void dashed(const char *words)
{
	putchar(' ');
	for (; *words; words++)
		putchar(*words == ' ' ? '-' : *words);
}

static int list_shown(void)
{
	for (int slice = 0; slice < 2; slice++)
		for (int k = 0; k < DRAY_RETIRE_KIND_OTHER; k++)
			for (int w = DRAY_RETIRE_READ_ONLY; w < DRAY_RETIRE_COUNT; w++) {
				const char *test = shown_by(k, slice, w);
				bool can = !cell(k, slice, w)->no;
				if (!can && !test)
					continue;
				printf("%s", !can ? "refused" : test ? test : "nobody");
				dashed(dray_retire_kind_word((enum dray_retire_kind)k));
				printf("%s %s\n", slice ? "-slice" : "", dray_retire_word((enum dray_retire_way)w));
			}
	return 0;
}

int main(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "shown"))
		return list_shown();
	printf("| storage |");
	for (int w = DRAY_RETIRE_READ_ONLY; w < DRAY_RETIRE_COUNT; w++)
		printf(" %s |", dray_retire_word((enum dray_retire_way)w));
	printf("\n|---|");
	for (int w = DRAY_RETIRE_READ_ONLY; w < DRAY_RETIRE_COUNT; w++)
		printf(":-:|");
	puts("");
	for (int k = 0; k < DRAY_RETIRE_KIND_OTHER; k++)
		row(dray_retire_kind_word((enum dray_retire_kind)k), k, false);
	row("slice of what can be zeroed", 0, true);
	puts("");
	for (int k = 0; k < DRAY_RETIRE_KIND_OTHER; k++)
		details(dray_retire_kind_word((enum dray_retire_kind)k), k, false);
	details("slice of what can be zeroed", 0, true);
	return 0;
}
