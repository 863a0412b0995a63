/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What can be wrong with the target of a periodic session, besides what is wrong with any:
 *
 *   not_found       the directory is not there
 *   bad_value       it is no directory (a device has no room for generations)
 *   not_accessible  no file can be made in it
 *   exists          the working image is there already: of another session, or left over; it is never taken over
 *   too_small       there is no room for all of the working image (validate.c; unless the document says create: thin)
 */
#include "agent/validate.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

bool validate_periodic(const struct dray_session *s, size_t i, const struct probe_set *probes, struct dray_problems *problems)
{
	const struct dray_pair *p = &s->pairs[i];
	const struct dray_target *t = p->n_targets ? &p->targets[0] : NULL;
	if (s->start != DRAY_START_EVERY || !t || !t->template)
		return true;
	const struct probe *probe = &probes->pairs[i].targets[0];
	const json_t *given = json_object_get(json_array_get(json_object_get(s->doc, "pairs"), i), "target");
	const char *value = json_string_value(json_is_array(given) ? json_array_get(given, 0) : given);
	int dir = (int)(strrchr(t->at.resource, '/') - t->at.resource);
	char pointer[64];
	snprintf(pointer, sizeof pointer, p->targets_as_list ? "/pairs/%zu/target/0" : "/pairs/%zu/target", i);
	if (dir == 0)
		dir = 1;
	if (probe->directory_rc == -ENOENT)
		dray_problems_add(problems, pointer, 0, "not_found", value, "a directory that is there, or a template in one", "%.*s: there is no such directory", dir,
			t->at.resource);
	else if (probe->directory_rc == -ENOTDIR)
		dray_problems_add(problems, pointer, 0, "bad_value", value, "a directory, or a path with {time} in its name", "%.*s is no directory: each generation is a file",
			dir, t->at.resource);
	else if (probe->directory_rc)
		dray_problems_add(problems, pointer, 0, "not_accessible", value, "a directory in which the agent may make files", "no file can be made in %.*s: %s", dir,
			t->at.resource, strerror(-probe->directory_rc));
	else if (probe->looked && !probe->missing)
		dray_problems_add(problems, pointer, 0, "exists", value, "another name, or remove that file if no session uses it",
			"the working image %s is there already: of another session, or left over from one", t->at.resource);
	else
		return true;
	return false;
}
