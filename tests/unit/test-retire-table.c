/* SPDX-License-Identifier: BSD-3-Clause */
/* Every cell of the table of retire ways, against expectations written apart from it: sentences, not matrices. */
#include "session/schema.h"
#include "storage/retire.h"

#include "../words.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static const struct {
	const char *kind, *possible, *lost; /* lost: by a restart of the host */
} expected[] = {
	{ "regular file", "none read-only offline discard zero delete rename", "" },
	{ "LVM logical volume", "none read-only offline discard zero delete rename", "" },
	{ "SCSI or SATA disk", "none read-only offline discard zero", "read-only offline" },
	{ "virtio or NVMe disk", "none read-only discard zero", "read-only" },
	{ "partition of a disk", "none read-only discard zero", "read-only" },
	{ "loop device", "none discard zero", "" },
	{ "NBD export", "none discard zero", "" },
	/* Nobody ever saw these work. */
	{ "kernel NBD device", "none", "" },
	{ "md array", "none", "" },
	{ "multipath device", "none", "" },
	{ "other device-mapper device", "none", "" },
	{ "other block device", "none", "" },
	{ "other storage", "none discard zero", "" },
};

static void every_cell(void **state)
{
	assert_int_equal(sizeof expected / sizeof expected[0], DRAY_RETIRE_KIND_COUNT);
	for (unsigned k = 0; k < DRAY_RETIRE_KIND_COUNT; k++) {
		assert_string_equal(dray_retire_kind_word(k), expected[k].kind);
		for (unsigned w = 0; w < DRAY_RETIRE_COUNT; w++) {
			const char *word = dray_retire_word(w);
			const struct dray_retire_cell *c = dray_retire_cell(k, false, w);
			bool want = among(expected[k].possible, word);
			if (want != !c->no)
				fail_msg("%s of a %s should be %s", word, expected[k].kind, want ? "possible" : "impossible");
			assert_true(want == (c->does != NULL) && want == (c->lasts != NULL));
			if (want && (strcmp(c->lasts, "yes") == 0) == among(expected[k].lost, word))
				fail_msg("%s of a %s lasts: %s", word, expected[k].kind, c->lasts);
		}
	}
}

/* A part of whatever it is of: only what stays inside of it, and only where the whole may be written. */
static void every_cell_of_slices(void **state)
{
	for (unsigned k = 0; k < DRAY_RETIRE_KIND_COUNT; k++)
		for (unsigned w = 0; w < DRAY_RETIRE_COUNT; w++)
			assert_true((among("none discard zero", dray_retire_word(w)) && among(expected[k].possible, dray_retire_word(w))) ==
				    !dray_retire_cell(k, true, w)->no);
}

static void words(void **state)
{
	char all[200] = "";
	for (unsigned w = 0; w < DRAY_RETIRE_COUNT; w++) {
		assert_int_equal(dray_retire_from_word(dray_retire_word(w)), w);
		snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", w ? "|" : "", dray_retire_word(w));
	}
	assert_int_equal(dray_retire_from_word("shred"), -1);
	/* The document has these values, in this order. */
	assert_string_equal(dray_key_find("switch", "retire")->words, all);
}

static void what_stands_against_it(void **state)
{
	struct dray_retire_facts f = { .kind = DRAY_RETIRE_KIND_FILE, .path = "/srv/a" };
	struct dray_error err;
	char buf[300];
	assert_string_equal(dray_retire_legal(&f, buf, sizeof buf), "none, read-only, offline, discard, zero, delete or rename");
	snprintf(f.no[DRAY_RETIRE_DELETE], sizeof f.no[0], "it has two names");
	assert_int_equal(dray_retire_possible(&f, DRAY_RETIRE_RENAME, &err), 0);
	assert_true(dray_retire_possible(&f, DRAY_RETIRE_DELETE, &err) < 0);
	assert_string_equal(err.kind, "retire");
	assert_string_equal(err.text, "/srv/a (regular file) can't be retired by \"delete\": it has two names");
	f.slice = true;
	assert_string_equal(dray_retire_legal(&f, buf, sizeof buf), "none, discard or zero");
	assert_true(dray_retire_possible(&f, DRAY_RETIRE_RENAME, &err) < 0);
	assert_non_null(strstr(err.text, "/srv/a (a slice)"));
	f = (struct dray_retire_facts){ .kind = DRAY_RETIRE_KIND_LOOP, .path = "/dev/loop0" };
	snprintf(f.no[DRAY_RETIRE_DISCARD], sizeof f.no[0], "it takes no discards");
	assert_string_equal(dray_retire_legal(&f, buf, sizeof buf), "none or zero");
}

/* What dray leaves alone is refused in each way, whole and in part, with what to do instead. */
static void left_alone(void **state)
{
	static const struct { enum dray_retire_kind kind; const char *does; } kinds[] = {
		{ DRAY_RETIRE_KIND_MD, "mdadm --stop" }, { DRAY_RETIRE_KIND_MULTIPATH, "multipath -f" },
		{ DRAY_RETIRE_KIND_KERNEL_NBD, "nbd: URI" }, { DRAY_RETIRE_KIND_DM, "dmsetup remove" },
		{ DRAY_RETIRE_KIND_DEVICE, "does not know" },
	};
	for (size_t i = 0; i < 2 * sizeof kinds / sizeof kinds[0]; i++) {
		struct dray_retire_facts f = { .kind = kinds[i / 2].kind, .slice = i % 2, .path = "/dev/x" };
		char buf[300];
		assert_string_equal(dray_retire_legal(&f, buf, sizeof buf), "none");
		for (unsigned w = DRAY_RETIRE_READ_ONLY; w < DRAY_RETIRE_COUNT; w++) {
			struct dray_error err = DRAY_ERROR_INIT;
			assert_true(dray_retire_possible(&f, w, &err) < 0);
			assert_string_equal(err.kind, "retire");
			assert_non_null(strstr(err.text, f.slice ? "(a slice" : dray_retire_kind_word(f.kind)));
			if (!f.slice || w == DRAY_RETIRE_ZERO || w == DRAY_RETIRE_DISCARD)
				assert_non_null(strstr(err.text, kinds[i / 2].does));
		}
	}
}

static void plans(void **state)
{
	struct dray_retire_facts f = { .kind = DRAY_RETIRE_KIND_FILE, .path = "/srv/a" };
	char buf[400];
	assert_string_equal(dray_retire_plan(&f, DRAY_RETIRE_RENAME, "/srv/link", "s-1", buf, sizeof buf),
		"source /srv/link will be renamed to /srv/a.retired-s-1");
	assert_non_null(strstr(dray_retire_plan(&f, DRAY_RETIRE_ZERO, "/srv/a", NULL, buf, sizeof buf), "zeroes are written"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_cell),
		cmocka_unit_test(every_cell_of_slices),
		cmocka_unit_test(words),
		cmocka_unit_test(what_stands_against_it),
		cmocka_unit_test(left_alone),
		cmocka_unit_test(plans),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
