/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What can be wrong with a session before it starts (S14):
 *
 *   not_found not_accessible held ...  a resource can't be opened: the storage's own word and reason
 *   too_small block_size               a target can't hold the source, or has blocks the source's users don't know (H14)
 *   same_device                        one storage twice in the document, under whatever names, or one that another lies on
 *   locked                             another session has it, or what it lies on, or what lies on it: told which
 *   held                               it is a leg of one of dray's own volumes
 *   signature                          the target holds something, and overwrite is not true
 *   disk_image                         the source begins like a disk image, and format is not raw
 *   vehicle                            the vehicle can't move the pair
 *   exists                             the name is a live session's
 *
 * Devices are compared by identity, and by those of what they lie on (storage/lineage.h), which is locked with them. An identity line may end in "+OFFSET,LENGTH", a part; the lock then covers that part.
 */
#include "agent/validate.h"

#include "agent/advise.h"
#include "agent/retire.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#define LEGAL_LOCKED "a device of no other session, or this one when that session is over"

/* Free space of a file system, and how much of it the document asks for. */
struct room {
	const char *id;
	uint64_t bytes;
};

struct check {
	struct agent *a;
	struct dray_session *s;
	const struct probe_set *probes;
	struct lock_list *locks;
	struct dray_problems *problems;
	struct room *rooms;
	size_t n_rooms;
	struct dray_table legs; /* thing -> known_legs */
};

static void problem(struct check *c, const char *pointer, const char *code, const char *value, const char *legal,
	const char *detail)
{
	dray_problems_add(c->problems, pointer, 0, code, value, legal, "%s", detail);
}

/* The storage that `place` of the list of locks is for stands in this one's way. */
static void same_device(struct check *c, const char *resource, bool lies_on, const char *pointer, size_t with)
{
	const struct dray_repo_lock *o = &c->locks->locks[with];
	const char *at = c->locks->pointers[with];
	char detail[1000];
	for (size_t k = 0; k < c->problems->n; k++) /* a volume and what serves it: once */
		if (!strcmp(c->problems->items[k].code, "same_device") && !strcmp(c->problems->items[k].pointer, pointer))
			return;
	if (lies_on)
		snprintf(detail, sizeof detail, "%s lies on %s, which is at %s", resource, o->resource, at);
	else if (o->lies_on)
		snprintf(detail, sizeof detail, "%s, at %s, lies on %s", o->resource, at, resource);
	else
		snprintf(detail, sizeof detail, "%s is the same storage as %s at %s", resource, o->resource, at);
	problem(c, pointer, "same_device", resource, "each storage once, or slices of it that have no byte in common", detail);
}

static void add_one(struct check *c, size_t pair, const char *identity, bool lies_on, const char *resource, const char *role, const char *pointer)
{
	size_t with;
	struct dray_repo_lock *lock = lock_list_add(c->locks, identity, lies_on, pointer, &with);
	if (!lock) {
		same_device(c, resource, lies_on, pointer, with);
		return;
	}
	lock->resource = resource;
	lock->session = c->s->id;
	lock->pair = (unsigned)pair + 1;
	lock->role = role;
	lock->since = wall_now();
}

static void add_lock(struct check *c, size_t pair, const char *identity, const char *resource, const char *role,
	const char *pointer)
{
	add_one(c, pair, identity, false, resource, role, pointer);
}

static void add_ground(struct check *c, size_t pair, const struct probe *probe, const char *resource, const char *role, const char *pointer)
{
	for (size_t i = 0; i < probe->lineage.n_below; i++)
		add_one(c, pair, probe->lineage.below[i], true, resource, role, pointer);
}

static const char *leg_identity(const json_t *leg)
{
	const char *s = json_string_value(json_object_get(leg, "identity"));
	return s ? s : "";
}

/* A leg of one of dray-iod's volumes, under the thing that it is or is a part of. */
struct known_leg {
	struct known_leg *next;
	uint64_t start, end;
	const char *volume;
	bool hidden;
};

static void know_leg(struct check *c, const char *volume, bool hidden, const char *identity)
{
	char *thing;
	struct known_leg *leg = calloc(1, sizeof *leg);
	if (!leg)
		abort();
	lock_split_identity(identity, &thing, &leg->start, &leg->end);
	leg->volume = volume;
	leg->hidden = hidden;
	leg->next = dray_table_get(&c->legs, thing);
	dray_table_put(&c->legs, thing, leg);
	free(thing);
}

/* Once for each document: to look through all volumes for each of its resources would take too long. */
static void know_legs(struct check *c)
{
	const char *name;
	json_t *v, *leg;
	size_t k;
	json_object_foreach (c->a->volumes, name, v)
		json_array_foreach (json_object_get(v, "legs"), k, leg)
			if (leg_identity(leg)[0])
				know_leg(c, name, json_is_true(json_object_get(v, "hidden")), leg_identity(leg));
}

static void forget_legs(struct check *c)
{
	for (size_t i = 0; i < c->legs.n_buckets; i++)
		for (struct dray_table_entry *e = c->legs.buckets[i]; e; e = e->next)
			for (struct known_leg *leg = e->value, *next; leg; leg = next) {
				next = leg->next;
				free(leg);
			}
	dray_table_free(&c->legs);
}

/* The volume of which this storage is a leg; NULL: none. */
static const char *leg_of_volume(const struct check *c, const char *identity, bool *hidden)
{
	char *thing;
	uint64_t start, end;
	lock_split_identity(identity, &thing, &start, &end);
	const struct known_leg *leg = dray_table_get(&c->legs, thing);
	while (leg && (leg->start >= end || start >= leg->end))
		leg = leg->next;
	free(thing);
	*hidden = leg && leg->hidden;
	return leg ? leg->volume : NULL;
}

/* nbd://HOST:PORT/... is what dray-iod listens on? */
static bool own_address(const struct agent *a, const char *identity)
{
	char want[64];
	const char *tcp = json_string_value(json_object_get(iod_hello(a->iod), "tcp"));
	const char *colon = tcp ? strrchr(tcp, ':') : NULL;
	int n = snprintf(want, sizeof want, "nbd:localhost:%s/", colon && !strchr(colon, ']') ? colon + 1 : "10809");
	return tcp && !strncmp(identity, want, (size_t)n);
}

/* An export of our own dray-iod (H29): a volume that would feed itself. */
static bool own_export(const struct agent *a, const char *identity)
{
	const char *socket = json_string_value(json_object_get(iod_hello(a->iod), "nbd_socket"));
	char *real = socket ? realpath(socket, NULL) : NULL;
	size_t n = real ? strlen(real) : 0;
	bool yes = n && !strncmp(identity, "nbd:", 4) && !strncmp(identity + 4, real, n) && identity[4 + n] == '/';
	free(real);
	return yes || own_address(a, identity);
}

/* The volume that one of the kernel's NBD devices is, or may be (docs/PROTOCOL.md: nbd_devices); NULL: none. */
static const char *volume_of_nbd(const struct agent *a, dev_t dev)
{
	size_t k;
	json_t *v, *d;
	const char *name;
	char text[32];
	snprintf(text, sizeof text, "%u:%u", major(dev), minor(dev));
	json_object_foreach (a->volumes, name, v)
		json_array_foreach (json_object_get(v, "nbd_devices"), k, d)
			if (json_is_string(d) && !strcmp(json_string_value(d), text))
				return json_string_value(json_object_get(v, "name"));
	return NULL;
}

static bool self_export(struct check *c, const struct probe *probe, const char *identity, const char *pointer, const char *resource)
{
	char detail[400];
	const char *volume = NULL;
	for (unsigned i = 0; i < probe->n_nbd_below && !volume; i++)
		volume = volume_of_nbd(c->a, probe->nbd_below[i]);
	if (!volume && !(identity[0] && (own_export(c->a, identity) || own_export(c->a, probe->alias))))
		return false;
	if (volume)
		snprintf(detail, sizeof detail,
			"%s is, or lies on, an NBD device of the kernel that is volume %s of this dray-iod, or can't be told from it", resource, volume);
	else
		snprintf(detail, sizeof detail, "%s is a volume of this dray-iod itself", resource);
	problem(c, pointer, "self_export", resource, "storage that dray does not serve; a source is named volume:NAME", detail);
	return true;
}

struct source {
	uint64_t size_bytes, block_bytes; /* 0: not known */
	bool online;
};

static void check_volume(struct check *c, size_t i, const char *pointer, struct source *src)
{
	struct dray_pair *p = &c->s->pairs[i];
	const char *name = dray_source_volume(&p->source);
	char detail[400];
	src->online = true;
	if (!iod_ready(c->a->iod)) {
		problem(c, pointer, "not_accessible", p->source.resource, NULL,
			"dray-iod does not answer: its volumes can't be looked at");
		return;
	}
	const json_t *v = volume_find(c->a, name);
	if (!v || json_is_true(json_object_get(v, "hidden"))) {
		snprintf(detail, sizeof detail, "there is no volume %s", name);
		problem(c, pointer, "not_found", p->source.resource, "a volume of `dray volume list`", detail);
		return;
	}
	if (p->source.slice) {
		problem(c, pointer, "unsupported", p->source.resource, "the whole volume", "a slice of a volume can't be moved");
		return;
	}
	if (!json_is_true(json_object_get(v, "served"))) {
		const char *why = json_string_value(json_object_get(v, "reason"));
		snprintf(detail, sizeof detail, "volume %s is not served: %s", name, why ? why : "no reason given");
		problem(c, pointer, "not_accessible", p->source.resource, NULL, detail);
		return;
	}
	src->size_bytes = (uint64_t)json_integer_value(json_object_get(v, "size_bytes"));
	src->block_bytes = (uint64_t)json_integer_value(json_object_get(v, "block_bytes"));
	char key[300];
	snprintf(key, sizeof key, "volume:%s", name);
	add_lock(c, i, key, p->source.resource, "volume", pointer);
	/* What serves it now, and what is left of an earlier session's way back. */
	size_t k;
	json_t *leg;
	json_array_foreach (json_object_get(v, "legs"), k, leg) {
		const char *resource = json_string_value(json_object_get(leg, "resource"));
		const char *state = json_string_value(json_object_get(leg, "state"));
		if (leg_identity(leg)[0] && state && !strcmp(state, "primary"))
			add_lock(c, i, leg_identity(leg), resource ? resource : p->source.resource, "source", pointer);
	}
	add_ground(c, i, &c->probes->pairs[i].source, p->source.resource, "source", pointer);
}

/* A resource that could not be opened. `locked` and `held` by a volume say more than "held" does. */
static void not_opened(struct check *c, const struct probe *probe, const char *pointer, const char *resource, bool target)
{
	const char *kind = probe->err.kind[0] ? probe->err.kind : "not_accessible";
	problem(c, pointer, kind, resource, advise_legal(kind, target, true), probe->err.text);
}

static bool is_locked(struct check *c, const char *identity)
{
	struct lock_list one = { 0 };
	bool yes = dray_repo_locks_check(c->a->repo, lock_for(&one, identity), 1, NULL, NULL, NULL) == -EBUSY;
	lock_list_free(&one);
	return yes;
}

struct above {
	struct check *c;
	const char *pointer, *resource;
};

static int locked_above(void *arg, size_t wanted, const struct dray_repo_lock *holder)
{
	const struct above *above = arg;
	char words[500];
	struct job *owner = job_in_memory(above->c->a, holder->session);
	snprintf(words, sizeof words, "%s lies on %s, and is locked by session %s (%s), pair %u, as its %s", holder->resource, above->resource,
		owner ? owner->s->name : holder->session, holder->session, holder->pair, lock_role(holder));
	problem(above->c, above->pointer, "locked", above->resource, LEGAL_LOCKED, words);
	return 1;
}

/* What lies on it, or below it, may be another session's, or a leg of a volume. What is below is also among the locks to be taken, and told
 * of with them. Returns whether something is in the way. */
static bool lineage_taken(struct check *c, const struct probe *probe, const char *pointer, const char *resource, bool target)
{
	const struct dray_lineage *l = &probe->lineage;
	struct above above = { c, pointer, resource };
	const char *volume = NULL, *legal = advise_legal("held", target, true);
	bool taken = false, hidden;
	char detail[700];
	for (size_t i = 0; i < l->n_below + l->n_above && !taken; i++) {
		bool below = i < l->n_below;
		const char *identity = below ? l->below[i] : l->above[i - l->n_below];
		struct lock_list one = { 0 };
		lock_for(&one, identity)->lies_on = true;
		taken = dray_repo_locks_check(c->a->repo, one.locks, 1, below ? NULL : locked_above, &above, NULL) == -EBUSY;
		lock_list_free(&one);
		if (taken || !(volume = leg_of_volume(c, identity, &hidden)) || (hidden && !target))
			continue;
		snprintf(detail, sizeof detail, below ? "%s lies on a leg of volume %s" : "a leg of volume %2$s lies on %1$s", resource, volume);
		problem(c, pointer, "held", resource, legal, detail);
		taken = true;
	}
	return taken;
}

/* A disk image read as raw bytes is copied with its headers, and what uses the target finds no disk there. */
static void check_image(struct check *c, size_t i, const char *pointer)
{
	struct dray_pair *p = &c->s->pairs[i];
	const struct probe *probe = &c->probes->pairs[i].source;
	char detail[700];
	if (!probe->looked || probe->rc)
		return;
	if (probe->content_rc) {
		dray_session_warn(c->s, pointer, "unreadable", "what %s holds can't be looked at: %s", p->source.resource, probe->content_err.text);
		return;
	}
	advise_keep(p, &probe->content);
	if (!probe->content.image[0] || p->format == DRAY_FORMAT_RAW)
		return;
	snprintf(detail, sizeof detail, "%s begins like a disk image (%s); it would be moved as raw bytes, and not what it describes",
		p->source.resource, probe->content.image);
	problem(c, pointer, "disk_image", p->source.resource,
		"format: raw, if these bytes are meant; else the NBD export of a program that reads the format, such as qemu-nbd", detail);
}

static void check_source(struct check *c, size_t i, struct source *src)
{
	struct dray_pair *p = &c->s->pairs[i];
	char pointer[48], detail[700];
	snprintf(pointer, sizeof pointer, "/pairs/%zu/source", i);
	*src = (struct source){ 0 };
	if (!p->source.resource[0])
		return; /* told by the parser */
	if (dray_source_volume(&p->source)) {
		check_volume(c, i, pointer, src);
		check_image(c, i, pointer);
		return;
	}
	const struct probe *probe = &c->probes->pairs[i].source;
	const char *id = probe->info.identity;
	if (self_export(c, probe, id, pointer, p->source.resource))
		return;
	bool hidden;
	const char *volume = id[0] ? leg_of_volume(c, id, &hidden) : NULL;
	if (volume && !hidden) {
		snprintf(detail, sizeof detail, "%s is a leg of volume %s", p->source.resource, volume);
		problem(c, pointer, "held", p->source.resource, "the volume itself, as volume:NAME", detail);
		return;
	}
	if (id[0])
		add_lock(c, i, id, p->source.resource, "source", pointer);
	if (probe->alias[0])
		add_lock(c, i, probe->alias, p->source.resource, "source", pointer);
	if (probe->process[0])
		add_lock(c, i, probe->process, p->source.resource, LOCK_BESIDE "source", pointer);
	add_ground(c, i, probe, p->source.resource, "source", pointer);
	set_text(&p->source_identity, id[0] ? "%s" : NULL, id);
	bool taken = lineage_taken(c, probe, pointer, p->source.resource, false) || (id[0] && is_locked(c, id));
	if (probe->rc && !taken) /* else told with its owner when the locks are looked at */
		not_opened(c, probe, pointer, p->source.resource, false);
	if (!probe->info.driver)
		return; /* it could not even be looked at */
	src->size_bytes = probe->info.size_bytes;
	src->block_bytes = probe->info.block_bytes;
	if (src->block_bytes < 512 && src->size_bytes % 512 == 0)
		src->block_bytes = 512; /* as dray-iod serves it */
	if (!src->size_bytes) {
		snprintf(detail, sizeof detail, "%s has no bytes", p->source.resource);
		problem(c, pointer, "too_small", p->source.resource, "a source of at least one byte", detail);
	}
	check_image(c, i, pointer);
}

/* A file that is to be made. */
static void check_missing(struct check *c, size_t i, const struct dray_resource *r, const struct probe *probe, const char *pointer,
	const struct source *src)
{
	char detail[700];
	if (r->slice) {
		snprintf(detail, sizeof detail, "%s is not there, and a slice of it can't be made", r->resource);
		problem(c, pointer, "not_found", r->resource, "a slice of a file that exists, or the whole of a new one", detail);
		return;
	}
	if ((c->s->pairs[i].create != DRAY_CREATE_FULL && !c->s->pairs[i].needs_room) || !src->size_bytes)
		return;
	/* Together with the other files of the document that are made in full there. */
	struct room *room = NULL;
	for (size_t k = 0; k < c->n_rooms; k++)
		if (!strcmp(c->rooms[k].id, probe->room_id))
			room = &c->rooms[k];
	if (!room) {
		struct room *more = realloc(c->rooms, (c->n_rooms + 1) * sizeof *more);
		if (!more)
			abort();
		c->rooms = more;
		room = &more[c->n_rooms++];
		*room = (struct room){ .id = probe->room_id };
	}
	room->bytes += src->size_bytes;
	if (room->bytes <= probe->room_bytes)
		return;
	snprintf(detail, sizeof detail, "%s: %llu bytes are free there, and the files to be made in full up to this one have %llu", r->resource,
		(unsigned long long)probe->room_bytes, (unsigned long long)room->bytes);
	problem(c, pointer, "too_small", r->resource, "a file system with room for it, or create: thin", detail);
}

/* Sizes and blocks of a target that is there, or is held and could be looked at; and what it holds, unless it is another's, who may be
 * changing that. */
static void check_fit(struct check *c, size_t i, const struct dray_resource *r, const struct probe *probe, const char *pointer,
	const struct source *src, bool taken)
{
	struct dray_pair *p = &c->s->pairs[i];
	uint64_t blocks = probe->info.block_bytes;
	char detail[900], legal[160];
	if (!probe->rc && !taken && probe->info.read_only) {
		snprintf(detail, sizeof detail, "%s can't be written", r->resource);
		problem(c, pointer, "not_accessible", r->resource, advise_legal("not_accessible", true, false), detail);
	}
	if (!probe->info.size_bytes || (src->size_bytes && probe->info.size_bytes < src->size_bytes)) {
		snprintf(legal, sizeof legal, "at least %llu bytes", (unsigned long long)(src->size_bytes ? src->size_bytes : 1));
		if (src->size_bytes)
			snprintf(detail, sizeof detail, "%s has %llu bytes, the source %s has %llu", r->resource,
				(unsigned long long)probe->info.size_bytes, p->source.resource, (unsigned long long)src->size_bytes);
		else
			snprintf(detail, sizeof detail, "%s has no bytes", r->resource);
		problem(c, pointer, "too_small", r->resource, legal, detail);
	}
	/* Nobody uses an offline source: it is read in whatever blocks divide its size (dray-iod's fix_contract). */
	bool fits = !blocks || src->block_bytes % blocks == 0 || (!src->online && blocks <= 4096 && src->size_bytes % blocks == 0);
	if (src->block_bytes && !fits) {
		snprintf(legal, sizeof legal, "blocks of %llu bytes or less%s", (unsigned long long)src->block_bytes,
			src->online ? ", or a volume that was added with larger ones (--block-size)" : "");
		if (src->online)
			snprintf(detail, sizeof detail, "%s has blocks of %llu bytes; the users of %s were promised blocks of %llu bytes", r->resource,
				(unsigned long long)blocks, p->source.resource, (unsigned long long)src->block_bytes);
		else
			snprintf(detail, sizeof detail, "%s has blocks of %llu bytes; the %llu bytes of %s are not whole blocks of that size", r->resource,
				(unsigned long long)blocks, (unsigned long long)src->size_bytes, p->source.resource);
		problem(c, pointer, "block_size", r->resource, legal, detail);
	}
	if (p->overwrite || taken)
		return;
	if (probe->content_rc) {
		snprintf(detail, sizeof detail, "what %s holds can't be looked at: %s", r->resource, probe->content_err.text);
		problem(c, pointer, "signature", r->resource, "overwrite: true, if it may be lost", detail);
	} else if (probe->content.what[0]) {
		bool more = probe->content.whole[0];
		snprintf(detail, sizeof detail, "%s holds: %s%s%s", r->resource, probe->content.what, more ? "; that of which it is a slice: " : "",
			probe->content.whole);
		problem(c, pointer, "signature", r->resource, "overwrite: true, if it may be lost", detail);
	} else if (probe->content.whole[0]) {
		snprintf(detail, sizeof detail, "%s, of which this is a slice, holds: %s", r->resource, probe->content.whole);
		problem(c, pointer, "signature", r->resource, "overwrite: true, if that has nothing in this slice, or may be lost", detail);
	}
}

static void check_target(struct check *c, size_t i, size_t t, const struct source *src)
{
	struct dray_pair *p = &c->s->pairs[i];
	const struct dray_resource *r = &p->targets[t].at;
	const struct probe *probe = &c->probes->pairs[i].targets[t];
	char pointer[64], detail[700];
	if (!r->resource[0])
		return;
	if (p->targets_as_list)
		snprintf(pointer, sizeof pointer, "/pairs/%zu/target/%zu", i, t);
	else
		snprintf(pointer, sizeof pointer, "/pairs/%zu/target", i);
	const char *id = probe->missing ? probe->path_key : probe->info.identity;
	bool taken = false, by_name = false;
	if (self_export(c, probe, id, pointer, r->resource))
		return;
	if (id[0]) {
		/* A file that another session is about to create is locked by its name. */
		by_name = !probe->missing && probe->path_key[0] && is_locked(c, probe->path_key);
		add_lock(c, i, by_name ? probe->path_key : id, r->resource, "target", pointer);
		if (probe->alias[0])
			add_lock(c, i, probe->alias, r->resource, "target", pointer);
		if (probe->process[0])
			add_lock(c, i, probe->process, r->resource, LOCK_BESIDE "target", pointer);
		add_ground(c, i, probe, r->resource, "target", pointer);
		taken = by_name || is_locked(c, id) || (probe->alias[0] && is_locked(c, probe->alias)) ||
			(probe->process[0] && is_locked(c, probe->process)); /* told with its owner when the locks are looked at */
		bool hidden;
		const char *volume = taken ? NULL : leg_of_volume(c, id, &hidden);
		if (volume) {
			snprintf(detail, sizeof detail, "%s is a leg of volume %s", r->resource, volume);
			problem(c, pointer, "held", r->resource, advise_legal("held", true, false), detail);
			taken = true;
		}
		taken = taken || lineage_taken(c, probe, pointer, r->resource, true);
		set_text(&p->targets[t].identity, "%s", id);
	}
	if (probe->rc && !taken)
		not_opened(c, probe, pointer, r->resource, true);
	if (probe->missing) /* made with the source's size when the pair starts */
		check_missing(c, i, r, probe, pointer, src);
	else if (probe->info.driver && !by_name) /* else it has not its size yet */
		check_fit(c, i, r, probe, pointer, src, taken);
	advise_target(c->s, i, pointer, t, probe, src->size_bytes);
}

static void choose_vehicle(struct check *c, size_t i, const struct source *src)
{
	struct dray_pair *p = &c->s->pairs[i];
	char pointer[48];
	struct dray_error err;
	struct dray_vehicle_facts facts = { .online = dray_source_volume(&p->source), .iod_ready = iod_ready(c->a->iod),
		.n_targets = (unsigned)p->n_targets, .mode = c->s->mode, .size_bytes = src->size_bytes };
	const struct dray_vehicle *v = dray_vehicle_choose(p->vehicle, &facts, &err);
	if (v) {
		set_text(&p->vehicle_chosen, "%s", v->name);
		return;
	}
	snprintf(pointer, sizeof pointer, "/pairs/%zu/vehicle", i);
	problem(c, pointer, "vehicle", p->vehicle, dray_vehicle_words(), err.text);
}

static int locked(void *arg, size_t wanted, const struct dray_repo_lock *holder)
{
	struct check *c = arg;
	const struct dray_repo_lock *lock = &c->locks->locks[wanted];
	struct job *owner = job_in_memory(c->a, holder->session);
	for (size_t i = 0; i < c->problems->n; i++) /* a volume and what serves it have one owner: told once */
		if (!strcmp(c->problems->items[i].code, "locked") &&
			!strcmp(c->problems->items[i].pointer, c->locks->pointers[wanted]))
			return 0;
	const char *name = owner ? owner->s->name : holder->session;
	if (holder->lies_on)
		dray_problems_add(c->problems, c->locks->pointers[wanted], 0, "locked", lock->resource, LEGAL_LOCKED,
			"%s lies on %s, and is locked by session %s (%s), pair %u, as its %s", holder->resource, lock->resource, name,
			holder->session, holder->pair, lock_role(holder));
	else
		dray_problems_add(c->problems, c->locks->pointers[wanted], 0, "locked", lock->resource, LEGAL_LOCKED,
			"%s %s locked by session %s (%s), pair %u, as its %s %s", lock->resource, lock->lies_on ? "lies on what is" : "is", name,
			holder->session, holder->pair, lock_role(holder), holder->resource);
	return 0;
}

void validate(struct agent *a, struct dray_session *s, const struct probe_set *probes, struct lock_list *locks,
	struct dray_problems *problems)
{
	struct check c = { .a = a, .s = s, .probes = probes, .locks = locks, .problems = problems };
	struct dray_error err = DRAY_ERROR_INIT;
	const struct job *job = dray_table_get(&a->jobs_by_name, s->name);
	if (s->name[0] && job && job_live(job))
		dray_problems_add(problems, "/name", 0, "exists", s->name, "a name that no live session has",
			"session %s has that name and is %s", job->s->id, dray_state_word((enum dray_pair_state)job->s->state));
	know_legs(&c);
	if (s->id[0] && dray_repo_id_used(a->repo, s->id, &err) > 0)
		dray_problems_add(problems, "/id", 0, "exists", s->id, "an id that was never used",
			"the id was used before, with another document");
	set_text(&s->boot_id, "%s", a->boot_id);
	for (size_t i = 0; i < s->n_pairs; i++) {
		struct source src;
		check_source(&c, i, &src);
		/* Nothing is done yet: that is known. */
		s->pairs[i].progress = (struct dray_progress){ .bytes_total = src.size_bytes ? src.size_bytes : DRAY_UNKNOWN,
			.rate = DRAY_UNKNOWN, .eta_seconds = DRAY_UNKNOWN, .dirty_rate = DRAY_UNKNOWN };
		choose_vehicle(&c, i, &src);
		retire_validate(a, s, i, probes, problems);
		bool good = validate_periodic(s, i, probes, problems);
		for (size_t t = 0; good && t < s->pairs[i].n_targets; t++)
			check_target(&c, i, t, &src);
	}
	advise_switch(s, NULL);
	int rc = dray_repo_locks_check(a->repo, locks->locks, locks->n, locked, &c, &err);
	if (rc && rc != -EBUSY)
		dray_problems_add(problems, "", 0, "repository", NULL, NULL, "%s", err.text);
	free(c.rooms);
	dray_session_add_lines(s, problems);
	forget_legs(&c);
}
