/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The start of the agent.
 *
 * The repository is opened, and every session taken from it. Then:
 *
 *   host not rebooted   nothing more: the wake-up compares the record with what dray-iod has, and goes on
 *   host rebooted       dray-iod begins anew, too, with its volumes, legs and maps from its state directory. Pairs that transferred
 *                       go back to `starting`: their legs are found again by their tags (and go on from the map), or are attached again
 *   locks               each pair that is not over must still have its locks; one that lost them is failed, the others go on.
 *                       Locks whose session is over are freed
 *   intents             a switch, undo or split without a recorded outcome is taken up where switch.c says
 */
#include "agent/generation.h"
#include "agent/agent.h"

#include "agent/speeds.h"

#include "agent/reconcile.h"
#include "agent/hooks.h"
#include "base/boot.h"
#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static void random_id(char id[40])
{
	unsigned char r[16] = { 0 };
	if (getrandom(r, sizeof r, 0) != sizeof r)
		abort();
	for (size_t i = 0; i < sizeof r; i++)
		sprintf(id + 2 * i, "%02x", r[i]);
}

static void read_word(const char *path, char *buf, size_t size)
{
	FILE *f = fopen(path, "re");
	buf[0] = 0;
	if (!f)
		return;
	if (!fgets(buf, (int)size, f))
		buf[0] = 0;
	fclose(f);
	buf[strcspn(buf, "\n")] = 0;
}

/* ---- identities ---- */

static int identities(struct agent *a, bool *rebooted, struct dray_error *err)
{
	char old_boot[40] = "";
	read_word(dray_boot_id_path(a->config->allow_faults), a->boot_id, sizeof a->boot_id);
	read_word("/etc/machine-id", a->host_id, sizeof a->host_id);
	if (!a->host_id[0])
		snprintf(a->host_id, sizeof a->host_id, "unknown");
	random_id(a->incarnation);
	int rc = dray_repo_begin(a->repo, err);
	if (rc)
		return rc;
	if (dray_repo_meta_get(a->repo, "agent_id", a->agent_id, sizeof a->agent_id, NULL)) {
		random_id(a->agent_id);
		rc = dray_repo_meta_set(a->repo, "agent_id", a->agent_id, err);
	}
	if (!rc && dray_repo_meta_get(a->repo, "boot_id", old_boot, sizeof old_boot, NULL))
		old_boot[0] = 0;
	if (!rc)
		rc = dray_repo_meta_set(a->repo, "boot_id", a->boot_id, err);
	if (!rc)
		rc = dray_repo_meta_set(a->repo, "host_id", a->host_id, err);
	if (!rc)
		rc = dray_repo_meta_set(a->repo, "incarnation", a->incarnation, err);
	if (rc) {
		dray_repo_rollback(a->repo);
		return rc;
	}
	*rebooted = old_boot[0] && strcmp(old_boot, a->boot_id);
	return dray_repo_commit(a->repo, err);
}

/* ---- what is on record ---- */

static int load_volume(void *arg, const struct dray_repo_volume *v)
{
	struct agent *a = arg;
	json_object_set_new(a->seen, v->name, json_pack("{s:s, s:I}", "uuid", v->uuid, "epoch", (json_int_t)v->epoch));
	return 0;
}

static int load_intent(void *arg, const struct dray_repo_intent *intent)
{
	struct agent *a = arg;
	struct job *job = job_in_memory(a, intent->session);
	if (!job) {
		dray_log(DRAY_LOG_ERROR, "intent-without-session", "%s of session %s", intent->kind, intent->session);
		return 0;
	}
	json_t *members = json_loads(intent->members, 0, NULL);
	const char *incarnation = json_string_value(json_object_get(members, "incarnation"));
	set_text(&job->token, "%s", intent->token);
	snprintf(job->switch_kind, sizeof job->switch_kind, "%s", intent->kind);
	snprintf(job->intent_incarnation, sizeof job->intent_incarnation, "%s", incarnation ? incarnation : "");
	json_decref(members);
	dray_log(DRAY_LOG_INFO, "intent-found", "%s of session %s (%s): its outcome is asked for", intent->kind, job->s->name,
		job->s->id);
	return 0;
}

/* ---- locks ---- */

struct lock_use {
	struct agent *a;
	json_t *held;  /* "SESSION/PAIR" */
	json_t *stale; /* sessions that are over */
};

static int see_lock(void *arg, size_t i, const struct dray_repo_lock *lock)
{
	struct lock_use *use = arg;
	struct job *job = job_in_memory(use->a, lock->session);
	char key[120];
	snprintf(key, sizeof key, "%s/%u", lock->session, lock->pair);
	json_object_set_new(use->held, key, json_true());
	if (!job || !job_open(job))
		json_object_set_new(use->stale, lock->session, json_true());
	return 0;
}

static int check_locks(struct agent *a, struct dray_error *err)
{
	struct lock_use use = { a, json_object(), json_object() };
	int rc = dray_repo_locks(a->repo, see_lock, &use, err);
	const char *session;
	json_t *ignored;
	if (!rc && json_object_size(use.stale) && !(rc = dray_repo_begin(a->repo, err))) {
		json_object_foreach (use.stale, session, ignored) {
			dray_log(DRAY_LOG_WARN, "stale-locks", "locks of session %s, which is over, are freed", session);
			if (!rc)
				rc = dray_repo_locks_free(a->repo, session, 0, err);
		}
		if (rc)
			dray_repo_rollback(a->repo);
		else
			rc = dray_repo_commit(a->repo, err);
	}
	dray_list_for_each (n, &a->jobs) {
		struct job *job = dray_container(n, struct job, node);
		for (size_t i = 0; !rc && i < job->s->n_pairs; i++) {
			enum dray_pair_state state = job->s->pairs[i].state;
			char key[120];
			snprintf(key, sizeof key, "%s/%u", job->s->id, job->s->pairs[i].id);
			if (dray_state_final(state) || state == DRAY_PAIR_FAILED || json_object_get(use.held, key))
				continue;
			if (dray_pair_may_become(state, DRAY_PAIR_FAILED))
				pair_fail(&job->runs[i], false, "its devices are not locked any more");
			else
				dray_log(DRAY_LOG_ERROR, "locks-lost", "session %s pair %u is %s without its locks", job->s->id,
					job->s->pairs[i].id, dray_state_word(state));
		}
	}
	json_decref(use.held);
	json_decref(use.stale);
	return rc;
}

static void begin_again(struct agent *a)
{
	dray_list_for_each (n, &a->jobs) {
		struct job *job = dray_container(n, struct job, node);
		for (size_t i = 0; i < job->s->n_pairs; i++) {
			enum dray_pair_state state = job->s->pairs[i].state;
			if (state != DRAY_PAIR_COPYING && state != DRAY_PAIR_SYNCED)
				continue;
			struct change c;
			change_begin_soon(&c, job, ACTOR_SELF, NULL);
			change_pair(&c, &job->runs[i], DRAY_PAIR_STARTING, "the host was restarted");
			change_end(&c);
		}
	}
}

int agent_load(struct agent *a, struct dray_error *err)
{
	char path[4200];
	bool rebooted = false;
	snprintf(path, sizeof path, "%s/repository.db", a->config->state_dir);
	*err = DRAY_ERROR_INIT;
	int rc = dray_repo_open(&a->repo, path, err);
	if (!rc)
		rc = identities(a, &rebooted, err);
	if (!rc)
		rc = past_load_open(a, err);
	if (!rc)
		rc = dray_repo_volumes(a->repo, load_volume, a, err);
	if (!rc)
		rc = dray_repo_intents(a->repo, load_intent, a, err);
	if (!rc)
		rc = check_locks(a, err);
	if (rc && !err->code)
		dray_error_set(err, rc, "repository: %s: a session can't be read", path);
	if (rc == -EUCLEAN) {
		char why[sizeof err->text];
		snprintf(why, sizeof why, "%s", err->text);
		dray_error_set(err, rc,
			"%s: it is damaged. Put a copy of it back, or move it away: then the agent begins with an empty one. dray-iod and the volumes that it "
			"serves are not concerned; what is left of sessions is named by `dray status`",
			why);
	}
	if (rc)
		return rc;
	if ((rc = hooks_open(a, err)))
		return rc;
	agent_event(a, ACTOR_SELF, "agent-started", "version %s, incarnation %.8s%s", DRAY_VERSION, a->incarnation,
		rebooted ? ", after a restart of the host" : "");
	speeds_load(a);
	schedule_missed(a);
	generation_missed_while_away(a);
	schedule_clock_set(a, 0);
	if ((rc = seen_take_copy(a, err)))
		return rc;
	seen_write(a); /* before dray-iod is started, which looks at it */
	if (rebooted)
		begin_again(a);
	change_flush(a);
	return 0;
}
