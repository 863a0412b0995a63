/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Runs a fuzz target without a fuzzer: every file of the corpus folders given as arguments, then a number of
 * mutations of each that is the same in every run. So each finding that became a corpus file stays a test,
 * and the ordinary build runs the target's checks on a few thousand broken inputs.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_BYTES 65536
#define MUTATIONS  200

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t state;

static uint64_t next(void)
{
	state += UINT64_C(0x9e3779b97f4a7c15);
	uint64_t z = state;
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static size_t mutate(uint8_t *p, size_t n)
{
	static const uint32_t edges[] = {0, 1, 4096, 4097, 0x7fffffff, 0x80000000, 0xffffffff};
	for (uint64_t times = 1 + next() % 4; n && times; times--) {
		size_t at = next() % n;
		switch (next() % 6) {
		case 0: p[at] ^= (uint8_t)(1U << next() % 8); break;
		case 1: p[at] = (uint8_t)next(); break;
		case 2: n = at; break;
		case 3: { /* a length, say, becomes an edge */
			uint32_t v = edges[next() % (sizeof edges / sizeof edges[0])];
			for (size_t i = 0; i < 4 && at + i < n; i++)
				p[at + i] = (uint8_t)(v >> (24 - 8 * i));
			break;
		}
		case 4: /* a piece goes */
		{
			size_t len = next() % (n - at) + 1;
			memmove(p + at, p + at + len, n - at - len);
			n -= len;
			break;
		}
		case 5: /* a piece comes twice */
		{
			size_t len = next() % (n - at) + 1;
			if (n + len > MOST_BYTES)
				break;
			memmove(p + at + len, p + at, n - at);
			n += len;
			break;
		}
		}
	}
	return n;
}

static int replay(const char *path)
{
	static uint8_t whole[MOST_BYTES], copy[MOST_BYTES];
	FILE *f = fopen(path, "rb");
	if (!f) {
		perror(path);
		return 1;
	}
	size_t n = fread(whole, 1, sizeof whole, f);
	fclose(f);
	LLVMFuzzerTestOneInput(whole, n);
	state = n;
	for (int i = 0; i < MUTATIONS; i++) {
		memcpy(copy, whole, n);
		size_t m = mutate(copy, n);
		/* In a block of its own size, so that reading past its end is seen by ASan. */
		uint8_t *exact = malloc(m ? m : 1);
		if (!exact)
			return 1;
		memcpy(exact, copy, m);
		LLVMFuzzerTestOneInput(exact, m);
		free(exact);
	}
	return 0;
}

int main(int argc, char **argv)
{
	unsigned files = 0;
	for (int i = 1; i < argc; i++) {
		struct dirent **list;
		int n = scandir(argv[i], &list, NULL, alphasort);
		if (n < 0) {
			perror(argv[i]);
			return 1;
		}
		for (int k = 0; k < n; k++) {
			char path[4096];
			snprintf(path, sizeof path, "%s/%s", argv[i], list[k]->d_name);
			if (list[k]->d_name[0] != '.') {
				if (replay(path))
					return 1;
				files++;
			}
			free(list[k]);
		}
		free(list);
	}
	printf("%u files, each with %d mutations\n", files, MUTATIONS);
	return files == 0; /* an empty corpus tests nothing */
}
