/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the engine says of itself: to the verb that waits for it, to the switch under way, to subscribers and the log. Runs on
 * the volume's I/O thread, inside an engine's call, so it must not call the engine; the locks it takes are held for moments.
 */
#include "iod/volume.h"

#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

const char *iod_leg_state_name(enum dray_leg_state state)
{
	switch (state) {
	case DRAY_LEG_PRIMARY: return "primary";
	case DRAY_LEG_COPYING: return "copying";
	case DRAY_LEG_MIRROR: return "mirror";
	case DRAY_LEG_DEGRADED: return "degraded";
	case DRAY_LEG_NONE:
	case DRAY_LEG_DETACHED: break;
	}
	return "detached";
}

static void set_flag(struct iod_volume *v, bool *flag)
{
	pthread_mutex_lock(&v->wait_lock);
	*flag = true;
	pthread_cond_broadcast(&v->wait_cond);
	pthread_mutex_unlock(&v->wait_lock);
}

bool iod_volume_wait(struct iod_volume *v, const bool *flag)
{
	bool seen = false, stop = false;
	while (!seen && !stop) {
		struct timespec until;
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_sec++;
		pthread_mutex_lock(&v->wait_lock);
		int rc = 0;
		while (!*flag && rc != ETIMEDOUT)
			rc = pthread_cond_timedwait(&v->wait_cond, &v->wait_lock, &until);
		seen = *flag;
		pthread_mutex_unlock(&v->wait_lock);
		pthread_mutex_lock(&v->iod->lock);
		stop = v->iod->stopping;
		pthread_mutex_unlock(&v->iod->lock);
	}
	return seen;
}

static void note_error(struct iod_leg *leg, const struct dray_event *ev, char *text, size_t size)
{
	if (!ev->error && !ev->why)
		text[0] = '\0';
	else if (ev->error && ev->why)
		snprintf(text, size, "%s: %s", ev->why, strerror(-ev->error));
	else
		snprintf(text, size, "%s", ev->why ? ev->why : strerror(-ev->error));
	if (ev->length) {
		size_t n = strlen(text);
		snprintf(text + n, size - n, "%s%" PRIu64 " bytes at %" PRIu64, n ? ": " : "", ev->length, ev->offset);
	}
	if (leg && (ev->kind == DRAY_EV_LEG_STATE || ev->kind == DRAY_EV_LEG_HELD)) {
		bool bad = ev->kind == DRAY_EV_LEG_HELD || ev->leg_state == DRAY_LEG_DEGRADED;
		pthread_mutex_lock(&leg->volume->iod->lock);
		leg->set_aside_for = bad ? ev->error : 0;
		if (!bad)
			leg->error[0] = '\0';
		else if (text[0] && !(leg->error[0] && !leg->storage)) /* why it is not open says more */
			snprintf(leg->error, sizeof leg->error, "%s", text);
		pthread_mutex_unlock(&leg->volume->iod->lock);
	}
}

static void log_event(struct iod_volume *v, unsigned leg, const char *event, const char *state, const char *error)
{
	char number[16];
	snprintf(number, sizeof number, "%u", leg);
	dray_log_fields(error[0] ? DRAY_LOG_WARN : DRAY_LOG_INFO, event,
		(const char *[]){ "volume", v->def.name, "leg", leg ? number : NULL, "state", state, NULL }, "%s", error);
}

void iod_volume_event(struct iod_volume *v, const struct dray_event *ev)
{
	static const char *const names[] = {
		[DRAY_EV_LEG_STATE] = "leg-state",
		[DRAY_EV_LEG_SYNCED] = "leg-synced",
		[DRAY_EV_LEG_UNSYNCED] = "leg-unsynced",
		[DRAY_EV_LEG_DETACHED] = "leg-detached",
		[DRAY_EV_LEG_HELD] = "leg-held",
		[DRAY_EV_RESUMED] = "resumed",
		[DRAY_EV_IN_DOUBT] = "in-doubt",
		[DRAY_EV_VERIFIED] = "verified",
		[DRAY_EV_MAP_ERROR] = "map-error",
		[DRAY_EV_PAUSED] = NULL,
		[DRAY_EV_SOURCE_READ] = "source-read",
		[DRAY_EV_READ_ELSEWHERE] = "read-elsewhere",
		[DRAY_EV_BAD_RANGE] = "bad-range",
	};
	struct iod_vio *vio = &v->vio;
	struct iod_leg *leg = ev->leg >= 0 && ev->leg < DRAY_MAX_LEGS ? vio->legs[ev->leg] : NULL;
	bool mine = vio->inbox && ev->token == vio->switch_token;
	char text[256];

	note_error(leg, ev, text, sizeof text);
	switch (ev->kind) {
	case DRAY_EV_LEG_DETACHED:
		if (leg) {
			vio->legs[ev->leg] = NULL;
			leg->index = DRAY_NO_LEG;
			pthread_mutex_lock(&v->iod->lock);
			leg->image_error = ev->error;
			pthread_mutex_unlock(&v->iod->lock);
			set_flag(v, &leg->let_go);
		}
		break;
	case DRAY_EV_PAUSED:
		if (leg)
			set_flag(v, &leg->stopped);
		break;
	case DRAY_EV_LEG_SETTLED:
		if (leg)
			iod_leg_settled(leg);
		return;
	case DRAY_EV_PREPARED:
		if (mine)
			iod_inbox_put(vio->inbox, vio->inbox_number, IOD_PREPARED, ev->error, 0, 0);
		return;
	case DRAY_EV_DRAINED:
		if (mine)
			iod_inbox_put(vio->inbox, vio->inbox_number, IOD_DRAINED, ev->error, 0, 0);
		return;
	case DRAY_EV_RESUMED:
		if (vio->inbox)
			iod_inbox_put(vio->inbox, vio->inbox_number, IOD_RESUMED, ev->error, ev->blackout_ns, ev->suspended_ns);
		break;
	case DRAY_EV_IN_DOUBT:
		if (vio->inbox)
			iod_inbox_put(vio->inbox, vio->inbox_number, IOD_IN_DOUBT, ev->error, 0, 0);
		break;
	default: break;
	}
	if (!names[ev->kind])
		return;
	unsigned id = leg ? leg->def->id : 0;
	const char *state = ev->kind == DRAY_EV_LEG_STATE ? iod_leg_state_name(ev->leg_state) :
		ev->kind == DRAY_EV_BAD_RANGE		   ? (ev->error ? "bad" : "cleared") : NULL;
	log_event(v, id, names[ev->kind], state, text);
	iod_notify(v->iod, names[ev->kind], v->def.name, id, state, text[0] ? text : NULL);
}
