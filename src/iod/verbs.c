/* SPDX-License-Identifier: BSD-3-Clause */
#include "iod/verbs.h"

#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

const char *iod_arg_text(const struct iod_call *call, const char *name, const char *otherwise)
{
	const char *s = json_string_value(json_object_get(call->params, name));
	return s ? s : otherwise;
}

bool iod_arg_bool(const struct iod_call *call, const char *name, bool otherwise)
{
	json_t *v = json_object_get(call->params, name);
	return v ? json_is_true(v) : otherwise;
}

uint64_t iod_arg_count(const struct iod_call *call, const char *name, uint64_t otherwise)
{
	json_t *v = json_object_get(call->params, name);
	return json_is_integer(v) ? (uint64_t)json_integer_value(v) : otherwise;
}

struct iod_leg_def *iod_arg_leg(struct iod_call *call)
{
	json_t *r = json_object_get(call->params, "resource");
	const char *name = json_string_value(json_is_object(r) ? json_object_get(r, "resource") : r);
	struct iod_leg_def *def = NULL;
	if (!name[0])
		dray_error_kind(&call->err, -EINVAL, "bad_resource", "the resource's name is empty");
	else if (!(def = iod_leg_def_new(name, iod_arg_text(call, "tag", ""))))
		dray_error_set(&call->err, -ENOMEM, "no memory");
	if (def && json_is_object(r)) {
		def->offset = (uint64_t)json_integer_value(json_object_get(r, "offset"));
		def->length = (uint64_t)json_integer_value(json_object_get(r, "length"));
	}
	/* What the caller saw there once, and when: what is found now has to be that. */
	if (def) {
		snprintf(def->identity, sizeof def->identity, "%s", iod_arg_text(call, "identity", ""));
		snprintf(def->boot_id, sizeof def->boot_id, "%s", iod_arg_text(call, "boot_id", call->iod->state.boot_id));
		/* Whether a number is all there is, is seen when it is opened. */
		def->stable = strncmp(def->identity, "block:", 6) || strchr(def->identity, '=');
	}
	return def;
}

json_t *iod_hello(struct iod *iod)
{
	return json_pack("{s:i s:s s:i s:s s:s s:s s:s? s:s s:i s:b s:b s:b s:s}", "version", 1, "incarnation", iod->incarnation, "pid",
		(int)getpid(), "boot_id", iod->state.boot_id, "state_dir", iod->state.path, "nbd_socket", iod->nbd_socket, "tcp", iod->options.tcp,
		"backend", dray_loop_backend(iod->loop), "threads", (int)iod->n_threads, "list_since", true, "rate_now", true, "io_level", true, "log_level",
		dray_log_word(dray_log_level_now()));
}

static json_int_t resident_bytes(void)
{
	long long size = 0, resident = 0;
	FILE *f = fopen("/proc/self/statm", "re");
	if (!f)
		return 0;
	int n = fscanf(f, "%lld %lld", &size, &resident);
	fclose(f);
	return n == 2 ? resident * sysconf(_SC_PAGESIZE) : 0;
}

static json_t *do_status(struct iod_call *call)
{
	struct iod *iod = call->iod;
	int volumes = 0;
	pthread_mutex_lock(&iod->lock);
	dray_list_for_each(n, &iod->volumes) volumes++;
	pthread_mutex_unlock(&iod->lock);
	return json_pack("{s:i s:i s:I s:I}", "volumes", volumes, "clients", (int)atomic_load(&iod->clients), "uptime_ns",
		(json_int_t)(iod_now() - iod->started_ns), "rss_bytes", resident_bytes());
}

static json_t *do_log_level(struct iod_call *call)
{
	const char *word = iod_arg_text(call, "level", "");
	int level = dray_log_from_word(word);
	if (level < 0) {
		dray_error_kind(&call->err, -EINVAL, "syntax", "log.level: \"%.32s\" is not error, warn, info or debug", word);
		return NULL;
	}
	dray_log_level((enum dray_log_level)level);
	return json_object();
}

static json_t *do_shutdown(struct iod_call *call)
{
	unsigned clients = atomic_load(&call->iod->clients);
	if (clients && !iod_arg_bool(call, "force", false)) {
		dray_error_kind(&call->err, -EBUSY, "connected", "shutdown: %u clients are connected", clients);
		return NULL;
	}
	call->stop_after = true;
	return json_object();
}

iod_verb iod_verb_find(const char *method)
{
	static const struct {
		const char *name;
		iod_verb verb;
	} verbs[] = {
		{ "status", do_status },
		{ "volume.add", iod_do_volume_add },
		{ "volume.remove", iod_do_volume_remove },
		{ "volume.accept", iod_do_volume_accept },
		{ "volume.list", iod_do_volume_list },
		{ "volume.get", iod_do_volume_get },
		{ "leg.attach", iod_do_leg_attach },
		{ "leg.detach", iod_do_leg_detach },
		{ "leg.pause", iod_do_leg_pause },
		{ "leg.retry", iod_do_leg_retry },
		{ "copy.set", iod_do_copy_set },
		{ "switch", iod_do_switch },
		{ "switch.status", iod_do_switch_status },
		{ "split", iod_do_split },
		{ "commit", iod_do_leg_detach }, /* which of the two is primary is in the epoch record, and stays there */
		{ "verify.start", iod_do_verify_start },
		{ "verify.stop", iod_do_verify_stop },
		{ "log.level", do_log_level },
		{ "shutdown", do_shutdown },
	};
	for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
		if (strcmp(verbs[i].name, method) == 0)
			return verbs[i].verb;
	return NULL;
}
