/* SPDX-License-Identifier: BSD-3-Clause */
#include "agent/reconcile.h"

#include "agent/retire.h"

#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- what was seen ---- */

static void write_list(struct agent *a, const char *dir)
{
	char path[4200], fresh[4300];
	const char *name;
	json_t *seen;
	snprintf(path, sizeof path, "%s/volumes-seen", dir);
	snprintf(fresh, sizeof fresh, "%s.new", path);
	FILE *f = fopen(fresh, "we");
	bool good = f;
	if (f) {
		json_object_foreach (a->seen, name, seen)
			fprintf(f, "%s %s %lld\n", name, json_string_value(json_object_get(seen, "uuid")),
				(long long)json_integer_value(json_object_get(seen, "epoch")));
		good = !fflush(f) && !fsync(fileno(f));
		good &= !fclose(f);
	}
	if (!good || rename(fresh, path))
		dray_log(DRAY_LOG_ERROR, "seen-not-written", "%s: %s", path, strerror(errno));
}

void seen_write(struct agent *a)
{
	write_list(a, a->config->state_dir);
	write_list(a, a->config->run_dir);
	a->seen_changed = false;
}

int seen_take_copy(struct agent *a, struct dray_error *err)
{
	char path[4200], line[400], name[129], uuid[64];
	long long epoch;
	int rc = 0;
	snprintf(path, sizeof path, "%s/volumes-seen", a->config->run_dir);
	FILE *f = fopen(path, "re");
	while (f && !rc && fgets(line, sizeof line, f)) {
		if (sscanf(line, "%128s %63s %lld", name, uuid, &epoch) != 3)
			continue;
		const json_t *known = json_object_get(a->seen, name);
		const char *own = json_string_value(json_object_get(known, "uuid"));
		long long recorded = (long long)json_integer_value(json_object_get(known, "epoch"));
		if (!own || strcmp(uuid, own) != 0 || epoch <= recorded)
			continue;
		rc = seen_put(a, name, uuid, (uint64_t)epoch, err);
		if (!rc)
			agent_event(a, ACTOR_SELF, "state-older",
				"the state directory is an older copy: it has volume %s at epoch %lld, and epoch %lld was seen since the host booted (%s)", name,
				recorded, epoch, path);
	}
	if (f)
		fclose(f);
	return rc;
}

int seen_put_all(struct agent *a, json_t *rows, struct dray_error *err)
{
	const char *name;
	json_t *row;
	int rc = dray_repo_begin(a->repo, err);
	if (rc)
		return rc;
	json_object_foreach (rows, name, row) {
		struct dray_repo_volume r = { name, json_string_value(json_object_get(row, "uuid")),
			(uint64_t)json_integer_value(json_object_get(row, "epoch")) };
		rc = rc ? rc : dray_repo_volume_forget(a->repo, name, err);
		rc = rc ? rc : dray_repo_volume_seen(a->repo, &r, err);
	}
	if (rc)
		dray_repo_rollback(a->repo);
	else
		rc = dray_repo_commit(a->repo, err);
	if (rc)
		return rc;
	json_object_update(a->seen, rows);
	a->seen_changed = true;
	return 0;
}

int seen_put(struct agent *a, const char *name, const char *uuid, uint64_t epoch, struct dray_error *err)
{
	json_t *rows = json_pack("{s:{s:s, s:I}}", name, "uuid", uuid, "epoch", (json_int_t)epoch);
	int rc = rows ? seen_put_all(a, rows, err) : dray_error_errno(err, -ENOMEM, "epoch of %s", name);
	json_decref(rows);
	return rc;
}

/* ---- a volume that is not there ---- */

static void gone_words(const struct pair_run *run, char *why, size_t size)
{
	const struct dray_pair *p = &run->job->s->pairs[run->index];
	const char *volume = p->iod_volume;
	if (p->state == DRAY_PAIR_SWITCHED)
		snprintf(why, size,
			"volume %s is gone from dray-iod, whose state directory was lost or replaced; the applications were on %s when it was last "
			"seen. `dray commit %s` ends this session without touching anything; then `dray volume add %s %s` serves it again",
			volume, p->targets[0].at.resource, run->job->s->name, volume, p->targets[0].at.resource);
	else
		snprintf(why, size,
			"volume %s is gone from dray-iod, whose state directory was lost or replaced; its data is on %s. Cancel this session, then `dray "
			"volume add %s RESOURCE` serves it again",
			volume, "the source, as before", volume);
}

static bool volume_gone(struct pair_run *run)
{
	struct dray_pair *p = run_pair(run);
	char why[500];
	if (run->view.found || pair_offline(p))
		return false;
	gone_words(run, why, sizeof why);
	switch (p->state) {
	case DRAY_PAIR_COPYING:
	case DRAY_PAIR_SYNCED:
	case DRAY_PAIR_PAUSED:
	case DRAY_PAIR_QUEUED:
	case DRAY_PAIR_STARTING:
		if (run->goal == GOAL_NONE)
			pair_fail(run, false, "%s", why);
		break;
	case DRAY_PAIR_SWITCHED:
		if (!p->reason || strcmp(p->reason, why)) {
			set_text(&p->reason, "%s", why);
			dray_log(DRAY_LOG_ERROR, "volume-gone", "session %s pair %u: %s", run->job->s->name, p->id, why);
		}
		break;
	default: break;
	}
	return true;
}

/* ---- the primary is not where the record has it ---- */

/* The states between, each of them legal. */
static void lead(struct change *c, struct pair_run *run, enum dray_pair_state to, const char *why)
{
	struct dray_pair *p = run_pair(run);
	if (p->state == DRAY_PAIR_QUEUED)
		change_pair(c, run, DRAY_PAIR_STARTING, NULL);
	if (p->state == DRAY_PAIR_FAILED)
		change_pair(c, run, DRAY_PAIR_COPYING, NULL);
	if (p->state != DRAY_PAIR_SYNCED && p->state != DRAY_PAIR_SWITCHED)
		change_pair(c, run, DRAY_PAIR_SYNCED, NULL);
	change_pair(c, run, DRAY_PAIR_SWITCHING, NULL);
	change_pair(c, run, to, "%s", why);
}

static void go_forward(struct pair_run *run)
{
	struct dray_pair *p = run_pair(run);
	char why[300];
	struct change c;
	snprintf(why, sizeof why, "dray-iod's record (epoch %llu) has the target as primary: the repository is an older one, and goes forward",
		(unsigned long long)run->view.epoch);
	change_begin(&c, run->job->agent, run->job, ACTOR_SELF);
	change_touch(&c, run);
	change_goal(&c, run, GOAL_NONE);
	lead(&c, run, DRAY_PAIR_SWITCHED, why);
	p->pause_reasons = 0;
	if (!p->switched_at)
		p->switched_at = wall_now();
	if (run->view.source.found) {
		p->reverse_leg = run->view.source.leg;
		retire_note_origin(run->job->agent, p, p->reverse_leg);
	}
	if (!run->view.source.found) /* it was committed, too */
		change_goal(&c, run, GOAL_COMMIT);
	change_end(&c);
	dray_log(DRAY_LOG_WARN, "reconciled", "session %s pair %u: %s", run->job->s->name, run_pair(run)->id, why);
}

static void go_back(struct pair_run *run)
{
	const struct dray_leg_view *first = &run->view.targets[0];
	char why[300];
	struct change c;
	snprintf(why, sizeof why, "dray-iod's record (epoch %llu) has the source as primary: the pair goes back to before the switch",
		(unsigned long long)run->view.epoch);
	change_begin(&c, run->job->agent, run->job, ACTOR_SELF);
	change_touch(&c, run);
	change_goal(&c, run, GOAL_NONE);
	run_pair(run)->reverse_leg = -1;
	run->job->s->held_by_undo = true; /* H19: nothing switches again by itself */
	lead(&c, run, !first->found ? DRAY_PAIR_FAILED : first->synced ? DRAY_PAIR_SYNCED : DRAY_PAIR_COPYING, why);
	change_end(&c);
	dray_log(DRAY_LOG_WARN, "reconciled", "session %s pair %u: %s", run->job->s->name, run_pair(run)->id, why);
}

bool pair_reconcile(struct pair_run *run)
{
	const struct dray_pair *p = run_pair(run);
	if (volume_gone(run))
		return true;
	if (pair_offline(p) || run->job->token || p->state == DRAY_PAIR_SWITCHING || dray_state_final(p->state))
		return false;
	if (p->state != DRAY_PAIR_SWITCHED && p->state != DRAY_PAIR_SCHEDULED && run->view.primary_target >= 0) {
		go_forward(run);
		return true;
	}
	if (p->state == DRAY_PAIR_SWITCHED && run->view.primary_target < 0 && run->view.source.found && run->view.source.primary) {
		go_back(run);
		return true;
	}
	return false;
}

/* ---- verbs ---- */

bool reconcile_refuses(struct agent *a, struct job *job, enum dray_verb verb, const bool *pairs, struct api_call *call)
{
	for (size_t i = 0; i < job->s->n_pairs; i++) {
		struct pair_run *run = &job->runs[i];
		const struct dray_pair *p = &job->s->pairs[i];
		char why[500];
		if (!pairs[i] || !p->iod_volume || pair_offline(p) || dray_state_final(p->state) || !run_settled(run))
			continue; /* what was seen may be older than the last switch; where it matters it is looked at again */
		/* To give it up is possible always. */
		if (verb == DRAY_VERB_CANCEL || verb == DRAY_VERB_PAUSE || verb == DRAY_VERB_SET)
			continue;
		if (!run->view.found && verb != DRAY_VERB_COMMIT)
			gone_words(run, why, sizeof why);
		else if (volume_trusted(a, &run->view, p->iod_volume, why, sizeof why))
			continue;
		api_problem(call, 409, 5, "not_trusted", "%s of session %s (%s), pair %u: %s", dray_verb_word(verb), job->s->name, job->s->id, p->id, why);
		return true;
	}
	return false;
}
