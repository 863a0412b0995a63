/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One leg of a pair is compared at a time: the successor, or, after a switch, the old source. A comparison that was
 * under way when the agent stopped is adopted, one that dray-iod lost is begun again.
 */
#include "agent/verify.h"

#include "agent/call.h"
#include "base/log.h"

#include <stdio.h>
#include <string.h>

#define SAMPLE_EVERY 64

static const struct dray_leg_view *leg_of(const struct pair_run *run)
{
	return run->view.primary_target >= 0 ? &run->view.source : &run->view.targets[0];
}

static void set_verifying(struct pair_run *run, bool on)
{
	run->verifying = on;
	set_text(&run_pair(run)->phase, on ? "%s" : NULL, "verifying");
}

void verify_forget(struct pair_run *run)
{
	run->verify_asked = false;
	set_verifying(run, false);
}

bool verify_missing(const struct pair_run *run)
{
	const struct job *job = run->job;
	const struct dray_pair *p = &job->s->pairs[run->index];
	return job->s->verify != DRAY_VERIFY_NONE && (!p->verified || strcmp(p->verified, "clean"));
}

static void started(struct pair_run *run, const struct dray_error *err)
{
	if (err)
		set_verifying(run, false); /* begun again after the back-off; a leg that isn't synced shows as copying */
}

bool verify_step(struct pair_run *run)
{
	struct dray_pair *p = run_pair(run);
	bool before_switch = p->state == DRAY_PAIR_SYNCED && verify_missing(run) && !pair_pause_wanted(run->job, p);
	if (run->verifying || (!run->verify_asked && !before_switch))
		return false;
	const struct dray_leg_view *leg = leg_of(run);
	if (!leg->found || !leg->synced)
		return false;
	set_verifying(run, true);
	run->verify_step = 0;
	if (leg->verify_running)
		return false; /* adopted */
	unsigned sample = run->verify_asked ? run->verify_sample
					    : run->job->s->verify == DRAY_VERIFY_SAMPLE ? SAMPLE_EVERY : 1;
	bool repair = run->verify_asked ? run->verify_repair : run->job->s->verify_repair;
	run->verify_step = sample;
	run->vehicle->verify_start(&run->job->agent->rpc, p, leg->leg, sample, repair, call_done, call_new(run, started));
	return true;
}

void verify_observe(struct pair_run *run)
{
	struct dray_pair *p = run_pair(run);
	const struct dray_leg_view *leg = leg_of(run);
	if (!run->verifying || !run_settled(run) || !leg->found || leg->verify_running)
		return;
	set_verifying(run, false);
	if (!leg->verify_seen)
		return; /* dray-iod was restarted: again */
	/* A range that was written to, a stall or a switch can cut it short: what was not looked at is not verified. */
	if (run->verify_step < 2 && !leg->verify_differing_bytes && leg->verify_compared_bytes < run->view.size_bytes) {
		run->retry_at = run->job->agent->now + SECOND;
		return;
	}
	uint64_t left = leg->verify_differing_bytes > leg->verify_repaired_bytes
				? leg->verify_differing_bytes - leg->verify_repaired_bytes
				: 0;
	struct change c;
	change_begin(&c, run->job->agent, run->job, ACTOR_SELF);
	change_touch(&c, run);
	set_text(&p->verified, "%s", left ? "differs" : "clean");
	change_event(&c, p->id, left ? "verify-failed" : "verified", NULL, p->verified,
		"%llu bytes compared, %llu differing, %llu repaired", (unsigned long long)leg->verify_compared_bytes,
		(unsigned long long)leg->verify_differing_bytes, (unsigned long long)leg->verify_repaired_bytes);
	if (change_end(&c))
		return;
	run->verify_asked = false;
	if (left && run_pair(run)->state == DRAY_PAIR_SYNCED && run->job->s->verify != DRAY_VERIFY_NONE)
		pair_fail(run, false, "the verification found %llu bytes that differ", (unsigned long long)left);
}

json_t *verify_report(const struct job *job, const bool *pairs)
{
	json_t *list = json_array();
	for (size_t i = 0; i < job->s->n_pairs; i++) {
		const struct pair_run *run = &job->runs[i];
		if (!pairs[i] || !run->view_valid)
			continue;
		const struct dray_leg_view *leg = leg_of(run);
		char id[16];
		snprintf(id, sizeof id, "%u", job->s->pairs[i].id);
		json_array_append_new(list,
			json_pack("{s:s, s:I, s:I, s:O}", "id", id, "bytes_compared", (json_int_t)leg->verify_compared_bytes,
				"bytes_differing", (json_int_t)leg->verify_differing_bytes, "ranges",
				leg->verify_ranges ? leg->verify_ranges : json_null()));
	}
	return json_pack("{s:o}", "pairs", list);
}
