/* SPDX-License-Identifier: BSD-3-Clause */
#include "iod/def.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const role_names[] = { "source", "successor", "copy" };

struct iod_leg_def *iod_leg_def_new(const char *resource, const char *tag)
{
	struct iod_leg_def *leg = calloc(1, sizeof *leg);
	if (!leg)
		return NULL;
	leg->resource = strdup(resource);
	leg->tag = strdup(tag);
	if (!leg->resource || !leg->tag) {
		iod_leg_def_free(leg);
		return NULL;
	}
	return leg;
}

void iod_leg_def_free(struct iod_leg_def *leg)
{
	if (!leg)
		return;
	free(leg->resource);
	free(leg->tag);
	free(leg);
}

void iod_volume_def_clear(struct iod_volume_def *def)
{
	for (unsigned i = 0; i < def->n_legs; i++)
		iod_leg_def_free(def->legs[i]);
	def->n_legs = 0;
}

void iod_uuid_format(const uint8_t uuid[IOD_UUID_BYTES], char out[37])
{
	char *p = out;
	for (int i = 0; i < IOD_UUID_BYTES; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*p++ = '-';
		p += sprintf(p, "%02x", uuid[i]);
	}
}

bool iod_uuid_parse(const char *text, uint8_t uuid[IOD_UUID_BYTES])
{
	static const char hex[] = "0123456789abcdef";

	if (strlen(text) != 36)
		return false;
	for (int i = 0; i < IOD_UUID_BYTES; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			if (*text++ != '-')
				return false;
		int digits[2];
		for (int d = 0; d < 2; d++) {
			const char *at = memchr(hex, *text++, 16);
			if (!at)
				return false;
			digits[d] = (int)(at - hex);
		}
		uuid[i] = (uint8_t)(digits[0] * 16 + digits[1]);
	}
	return true;
}

const char *iod_role_name(enum iod_role role)
{
	return role_names[role];
}

int iod_role_parse(const char *name)
{
	for (int i = 0; i < 3; i++)
		if (strcmp(name, role_names[i]) == 0)
			return i;
	return -1;
}

bool iod_legs_linked(const struct iod_leg_def *a, const struct iod_leg_def *b)
{
	return a->peer == b->id || b->peer == a->id;
}
