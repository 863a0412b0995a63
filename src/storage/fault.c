/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Faults on demand, for tests: `fault:OPTIONS:RESOURCE` is RESOURCE with OPTIONS' troubles. Understood only by programs that
 * set allow_faults.
 *
 * OPTIONS are separated by commas and contain no colon:
 *	delay_ms=N              every operation takes N ms longer
 *	flush_delay_ms=N        every flush does
 *	read_error=E[@O+L]      reads that touch the L bytes at O fail with E (EIO, ENOSPC ... or a number); without
 *	                        @O+L all do
 *	write_error=E[@O+L]     the same for writes, zeroes and discards
 *	flush_error=N           the first N flushes fail with EIO
 *	fail_after=N            after N operations all fail with EIO
 *	stuck_file=PATH         while PATH exists operations hang: those that come are not begun, those under way not completed
 *	error_file=PATH         while PATH exists all operations fail with EIO
 *	full_file=PATH          while PATH exists writes, zeroes and discards fail with ENOSPC
 *	prio_file=PATH          the priority of every operation is written to PATH, as a line "read 6"
 *	late=1                  failed writes are reported as ones that may land late; and they do land, late_ms later
 *	late_ms=N               (default 100)
 *
 * A read_error and a write_error may each be given several times (at most 8 in all).
 *
 * What it promises: the size, blocks and identity of RESOURCE. A failing operation does not reach RESOURCE (but with late=1).
 */
#include "storage/driver.h"

#include "base/units.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MOST_RANGES 8
#define STUCK_POLL_NS 5000000
#define MS UINT64_C(1000000)

struct range {
	bool write;
	int error;
	uint64_t offset, length;
};

struct fault {
	struct dray_storage *inner;
	uint64_t delay_ms, flush_delay_ms, flush_errors, fail_after, late_ms;
	char *prio_file, *stuck_file, *error_file, *full_file;
	bool late;
	struct range ranges[MOST_RANGES];
	unsigned n_ranges;
	uint64_t seen;
	unsigned strays; /* late writes that still have to land */
	void (*left)(void *arg);
	void *left_arg;
};

/* One operation on its way; it has its own copy of the request, since a late write outlives its caller's. */
struct trip {
	struct dray_sio sio;
	struct dray_sio *parent; /* NULL: completed already, a stray */
	struct dray_storage *st;
	struct dray_loop_timer timer;
	void (*next)(struct trip *trip);
	int error;
	bool late;
	void *stray_data;
};

/* ---- options ---- */

static int parse_error_name(const char *s)
{
	static const struct {
		const char *name;
		int error;
	} names[] = { { "EIO", EIO }, { "ENOSPC", ENOSPC }, { "EROFS", EROFS }, { "ENOTCONN", ENOTCONN },
		{ "ETIMEDOUT", ETIMEDOUT }, { "EINVAL", EINVAL }, { "EPERM", EPERM }, { "ENOMEM", ENOMEM }, { "EAGAIN", EAGAIN } };
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		if (!strcmp(s, names[i].name))
			return names[i].error;
	char *end;
	long n = strtol(s, &end, 10);
	return *s && !*end && n > 0 && n < 134 ? (int)n : 0;
}

static int parse_range(struct fault *f, char *value, bool write)
{
	if (f->n_ranges == MOST_RANGES)
		return -E2BIG;
	struct range *r = &f->ranges[f->n_ranges++];
	*r = (struct range){ .write = write, .length = UINT64_MAX };
	char *at = strchr(value, '@');
	if (at) {
		char *plus = strchr(at, '+');
		if (!plus)
			return -EINVAL;
		*at = *plus = 0;
		if (dray_size_parse(at + 1, &r->offset) || dray_size_parse(plus + 1, &r->length))
			return -EINVAL;
	}
	r->error = parse_error_name(value);
	return r->error ? 0 : -EINVAL;
}

static int parse_option(struct fault *f, const char *key, char *value)
{
	const struct {
		const char *key;
		uint64_t *number;
		char **path;
	} options[] = { { "delay_ms", &f->delay_ms, NULL }, { "flush_delay_ms", &f->flush_delay_ms, NULL },
		{ "flush_error", &f->flush_errors, NULL }, { "fail_after", &f->fail_after, NULL },
		{ "late_ms", &f->late_ms, NULL }, { "stuck_file", NULL, &f->stuck_file },
		{ "error_file", NULL, &f->error_file }, { "full_file", NULL, &f->full_file },
		{ "prio_file", NULL, &f->prio_file } };
	if (!strcmp(key, "read_error"))
		return parse_range(f, value, false);
	if (!strcmp(key, "write_error"))
		return parse_range(f, value, true);
	if (!strcmp(key, "late")) {
		f->late = !strcmp(value, "1");
		return strcmp(value, "1") && strcmp(value, "0") ? -EINVAL : 0;
	}
	for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
		if (strcmp(key, options[i].key))
			continue;
		if (options[i].number)
			return dray_size_parse(value, options[i].number);
		free(*options[i].path);
		*options[i].path = strdup(value);
		return *options[i].path ? 0 : -ENOMEM;
	}
	return -ENOENT;
}

static int parse(struct fault *f, char *options, struct dray_error *err)
{
	char *save = NULL;
	f->fail_after = UINT64_MAX;
	f->late_ms = 100;
	for (char *o = strtok_r(options, ",", &save); o; o = strtok_r(NULL, ",", &save)) {
		char *value = strchr(o, '=');
		if (value)
			*value++ = 0;
		int rc = value ? parse_option(f, o, value) : -EINVAL;
		if (rc == -ENOENT)
			return dray_error_kind(err, -EINVAL, "bad_resource", "fault: no option '%s'", o);
		if (rc)
			return dray_error_kind(err, rc == -ENOMEM ? rc : -EINVAL, "bad_resource",
				"fault: option '%s': bad value", o);
	}
	return 0;
}

/* ---- opening ---- */

static bool matches(const char *resource)
{
	return !strncmp(resource, "fault:", 6);
}

static void free_fault(struct fault *f)
{
	free(f->prio_file);
	free(f->stuck_file);
	free(f->error_file);
	free(f->full_file);
	free(f);
}

static int fault_open(struct dray_storage *st, const char *resource, const struct dray_storage_options *o,
	struct dray_error *err)
{
	if (!o->allow_faults)
		return dray_error_kind(err, -EINVAL, "bad_resource", "%s: faults are for tests and not allowed here", resource);
	const char *inner = strchr(resource + 6, ':');
	if (!inner)
		return dray_error_kind(err, -EINVAL, "bad_resource", "%s: not of the form fault:OPTIONS:RESOURCE", resource);
	struct fault *f = calloc(1, sizeof *f);
	char *options = strndup(resource + 6, (size_t)(inner - resource) - 6);
	int rc = f && options ? parse(f, options, err) : dray_error_errno(err, -ENOMEM, "fault");
	free(options);
	if (!rc) {
		struct dray_storage_options whole = *o;
		whole.offset = whole.length = 0; /* the slice is taken of us */
		rc = dray_storage_open(&f->inner, inner + 1, &whole, err);
	}
	if (rc) {
		if (f)
			free_fault(f);
		return rc;
	}
	const char *driver = st->info.driver;
	st->info = f->inner->info;
	st->info.driver = driver;
	st->info.late_writes |= f->late;
	st->priv = f;
	return 0;
}

static void fault_close(struct dray_storage *st)
{
	struct fault *f = st->priv;
	dray_storage_close(f->inner);
	free_fault(f);
}

/* ---- operations ---- */

static bool exists(const char *path)
{
	return path && !access(path, F_OK);
}

static void after(struct trip *trip, uint64_t ns, void (*next)(struct trip *trip))
{
	trip->next = next;
	dray_loop_timer_set(trip->st->loop, &trip->timer, dray_loop_now(trip->st->loop) + ns);
}

static void timer_run(struct dray_loop_timer *timer)
{
	struct trip *trip = dray_container(timer, struct trip, timer);
	trip->next(trip);
}

static void stray_landed(struct dray_sio *sio, int error, bool may_land_late)
{
	struct trip *trip = dray_container(sio, struct trip, sio);
	struct fault *f = trip->st->priv;
	free(trip->stray_data);
	free(trip);
	if (!--f->strays && f->left)
		dray_storage_detach(f->inner, f->left, f->left_arg);
}

static void land(struct trip *trip)
{
	struct fault *f = trip->st->priv;
	trip->sio.done = stray_landed;
	dray_storage_submit(f->inner, &trip->sio);
}

static void arrive(struct trip *trip)
{
	struct fault *f = trip->st->priv;
	if (exists(f->stuck_file)) {
		after(trip, STUCK_POLL_NS, arrive);
		return;
	}
	struct dray_sio *parent = trip->parent;
	int error = trip->error;
	bool late = trip->late;
	parent->n_extents = trip->sio.n_extents;
	/* The caller's memory may go when it is told; the stray keeps its own. */
	if (trip->stray_data) {
		trip->parent = NULL;
		trip->sio.data = trip->stray_data;
		f->strays++;
		after(trip, f->late_ms * MS, land);
	} else {
		free(trip);
	}
	parent->done(parent, error, late);
}

static void inner_done(struct dray_sio *sio, int error, bool may_land_late)
{
	struct trip *trip = dray_container(sio, struct trip, sio);
	trip->error = error;
	trip->late = may_land_late;
	arrive(trip);
}

static int decide(struct fault *f, const struct dray_sio *sio)
{
	bool change = sio->op == DRAY_OP_WRITE || sio->op == DRAY_OP_ZERO || sio->op == DRAY_OP_DISCARD;
	if (exists(f->error_file) || f->seen++ >= f->fail_after)
		return -EIO;
	if (change && exists(f->full_file))
		return -ENOSPC;
	if (sio->op == DRAY_OP_FLUSH && f->flush_errors) {
		f->flush_errors--;
		return -EIO;
	}
	for (unsigned i = 0; i < f->n_ranges; i++) {
		const struct range *r = &f->ranges[i];
		if ((r->write ? change : sio->op == DRAY_OP_READ) &&
			(sio->offset < r->offset ? r->offset - sio->offset < sio->length :
						   sio->offset - r->offset < r->length))
			return -r->error;
	}
	return 0;
}

static void leave(struct trip *trip)
{
	struct fault *f = trip->st->priv;
	if (exists(f->stuck_file)) {
		after(trip, STUCK_POLL_NS, leave);
		return;
	}
	trip->error = decide(f, &trip->sio);
	if (!trip->error) {
		trip->sio.done = inner_done;
		dray_storage_submit(f->inner, &trip->sio);
		return;
	}
	bool change = trip->sio.op == DRAY_OP_WRITE || trip->sio.op == DRAY_OP_ZERO;
	if (f->late && change) {
		trip->late = true;
		trip->stray_data = malloc(trip->sio.data ? trip->sio.length : 1);
		if (trip->stray_data && trip->sio.data)
			memcpy(trip->stray_data, trip->sio.data, trip->sio.length);
	}
	arrive(trip);
}

static void note_prio(const struct fault *f, const struct dray_sio *sio)
{
	static const char *const ops[] = { [DRAY_OP_READ] = "read", [DRAY_OP_WRITE] = "write", [DRAY_OP_ZERO] = "zero",
		[DRAY_OP_DISCARD] = "discard", [DRAY_OP_FLUSH] = "flush", [DRAY_OP_EXTENTS] = "extents", [DRAY_OP_CACHE] = "cache" };
	FILE *file = f->prio_file ? fopen(f->prio_file, "a") : NULL;
	if (file) {
		fprintf(file, "%s %u\n", ops[sio->op], dray_flags_prio(sio->flags));
		fclose(file);
	}
}

static void submit(struct dray_storage *st, struct dray_sio *sio)
{
	struct fault *f = st->priv;
	note_prio(f, sio);
	struct trip *trip = calloc(1, sizeof *trip);
	if (!trip) {
		dray_storage_finish(st, sio, -ENOMEM);
		return;
	}
	trip->parent = sio;
	trip->st = st;
	trip->sio = (struct dray_sio){ .op = sio->op, .flags = sio->flags, .offset = st->slice_offset + sio->offset,
		.length = sio->length, .data = sio->data, .extents = sio->extents, .max_extents = sio->max_extents };
	dray_loop_timer_init(&trip->timer, timer_run);
	/* Always by a timer, if only an expired one: nothing completes inside submit. */
	after(trip, (f->delay_ms + (sio->op == DRAY_OP_FLUSH ? f->flush_delay_ms : 0)) * MS, leave);
}

static void attach(struct dray_storage *st)
{
	dray_storage_attach(((struct fault *)st->priv)->inner, st->loop);
}

static void detach(struct dray_storage *st, void (*done)(void *arg), void *arg)
{
	struct fault *f = st->priv;
	if (!f->strays) {
		dray_storage_detach(f->inner, done, arg);
		return;
	}
	f->left = done;
	f->left_arg = arg;
}

static void set_retry(struct dray_storage *st, bool retry_primary)
{
	struct fault *f = st->priv;
	dray_storage_set_retry(f->inner, retry_primary);
}

static void give_up(struct dray_storage *st, uint64_t after_ns)
{
	struct fault *f = st->priv;
	dray_storage_give_up(f->inner, after_ns);
}

static bool gone(const struct dray_storage *st)
{
	return dray_storage_gone(((const struct fault *)st->priv)->inner);
}

const struct dray_storage_driver dray_storage_fault = {
	.name = "fault",
	.matches = matches,
	.open = fault_open,
	.close = fault_close,
	.submit = submit,
	.attach = attach,
	.detach = detach,
	.set_retry = set_retry,
	.give_up = give_up,
	.gone = gone,
};
