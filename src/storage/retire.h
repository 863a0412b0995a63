/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Retiring a storage: making it inaccessible once nothing needs it any more (docs/RETIRE.md).
 *
 * Three layers. The table (retire-table.c, pure) says what each kind of storage can be asked for at all. A look
 * (retire-look.c, changes nothing) finds out which kind a resource is and what stands against each way here and now. Doing it
 * (retire.c and what it calls) finds the storage by its identity once more, makes sure that nobody has it, and acts in steps
 * that can be repeated after a crash between any two of them.
 *
 * Looking and doing block, perhaps for long: on a thread that may wait.
 */
#ifndef DRAY_STORAGE_RETIRE_H
#define DRAY_STORAGE_RETIRE_H

#include "base/error.h"

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The words, and their order, are those of switch.retire (session/schema.c). */
#define DRAY_RETIRE_WAYS(X) \
	X(NONE, "none") X(READ_ONLY, "read-only") X(OFFLINE, "offline") X(DISCARD, "discard") X(ZERO, "zero") \
	X(DELETE, "delete") X(RENAME, "rename")

enum dray_retire_way {
#define X(name, word) DRAY_RETIRE_##name,
	DRAY_RETIRE_WAYS(X)
#undef X
	DRAY_RETIRE_COUNT
};

#define DRAY_RETIRE_KINDS(X) \
	X(FILE, "regular file") X(LV, "LVM logical volume") X(SCSI, "SCSI or SATA disk") X(DISK, "virtio or NVMe disk") \
	X(PARTITION, "partition of a disk") X(LOOP, "loop device") X(NBD, "NBD export") X(KERNEL_NBD, "kernel NBD device") \
	X(MD, "md array") X(MULTIPATH, "multipath device") X(DM, "other device-mapper device") X(DEVICE, "other block device") \
	X(OTHER, "other storage")

enum dray_retire_kind {
#define X(name, word) DRAY_RETIRE_KIND_##name,
	DRAY_RETIRE_KINDS(X)
#undef X
	DRAY_RETIRE_KIND_COUNT
};

/* ---- the table: pure ---- */

const char *dray_retire_word(enum dray_retire_way way);
/* -1: no such word. */
int dray_retire_from_word(const char *word);
const char *dray_retire_kind_word(enum dray_retire_kind kind);

struct dray_retire_cell {
	const char *no;    /* why this kind can't be retired in this way; NULL: it can */
	const char *does;  /* what is done, a phrase; NULL where it can't */
	const char *lasts; /* over a restart of the host: "yes", or what becomes of it */
};
/* `slice`: of a part of such a storage. Every cell of NONE is possible and does nothing. A cell is possible only where a test does
 * it on such a storage: docs/RETIRE.md names the test, tests/func/test-retire-doc.sh holds that together. */
const struct dray_retire_cell *dray_retire_cell(enum dray_retire_kind kind, bool slice, enum dray_retire_way way);
/* discard, zero, delete: the data can't come back. */
bool dray_retire_destroys(enum dray_retire_way way);

/* ---- a look ---- */

struct dray_retire_facts {
	enum dray_retire_kind kind;
	bool slice, stable_identity;
	char identity[256];  /* as storage/identity.h has it */
	char path[PATH_MAX]; /* links followed; NBD: the URI */
	char no[DRAY_RETIRE_COUNT][160]; /* what stands against a way that the kind has; "": nothing */
};

struct dray_retire_look {
	const char *resource;
	uint64_t offset, length; /* a slice; both 0: all of it */
	bool allow_faults;
	bool no_connect;         /* a network storage is in use by dray-iod, and may take one client only: what it can do is ... */
	bool can_discard;        /* ... told here */
	const char *session;     /* its id, for the new name; NULL: one of usual length */
	const char *identity;    /* a device that has it is looked at, should it be called otherwise by now; NULL: whatever is there */
};
/* 0, or what dray_storage_open has for it (kinds "not_found", "not_accessible" ...). */
int dray_retire_look(const struct dray_retire_look *look, struct dray_retire_facts *facts, struct dray_error *err);

/* 0, or -ENOTSUP with kind "retire" and why. */
int dray_retire_possible(const struct dray_retire_facts *facts, enum dray_retire_way way, struct dray_error *err);
/* "none, read-only or zero": the ways that are possible. Returns buf. */
char *dray_retire_legal(const struct dray_retire_facts *facts, char *buf, size_t size);
/* What will be done, for people: "/srv/a will be renamed to /srv/a.retired-s-..". `session` NULL: not known yet. Returns buf. */
char *dray_retire_plan(const struct dray_retire_facts *facts, enum dray_retire_way way, const char *resource,
	const char *session, char *buf, size_t size);

/* ---- doing it ---- */

/* Steps on record. The caller keeps the last one, and gives it back when the work is repeated after a crash.
 *   ""       nothing was touched
 *   begun    all checks were passed; from here on things may have been touched. `path` is the real path
 *   moved    delete: the file has its tombstone's name, and is about to go
 * `done_bytes` of zero and discard: everything before it is durably done. */
struct dray_retire_order {
	enum dray_retire_way way;
	const char *resource;
	uint64_t offset, length;
	const char *identity;  /* as it was when the source was migrated */
	bool same_boot;        /* the host was not restarted since then */
	const char *session;   /* its id */
	unsigned pair;
	const char *step;      /* as recorded last */
	const char *path;      /* with it; NULL or "": none */
	uint64_t done_bytes;   /* with it */
	uint64_t rate;         /* most bytes to write per second; UINT64_MAX: no limit. Discards write nothing */
	uint64_t wait_ns;      /* how long somebody may still have it open, before that is a reason to fail */
	bool allow_faults;
	/* Required. On the thread that does the work. */
	void *ctx;
	/* Makes it durable; 0, or negative: the work ends there with that error. */
	int (*record)(void *ctx, const char *step, const char *path, uint64_t done_bytes);
	void (*progress)(void *ctx, uint64_t done_bytes, uint64_t total_bytes);
	/* Whether to leave off: the work then ends with -ECANCELED and can be gone on with. */
	bool (*stop)(void *ctx);
	/* Tests: named points, see base/crash.h. */
	void (*point)(void *ctx, const char *name);
	/* Tests: another clock than the machine's for zero and discard, and how to wait on it. NULL: the machine's. */
	uint64_t (*now)(void *ctx);
	void (*wait)(void *ctx, uint64_t ns);
};

struct dray_retire_result {
	char name[PATH_MAX]; /* what it is called now, where that is something new; "" */
	char detail[256];    /* what was done */
};

/* 0: it is so (and was before, if this is a repeat). -ECANCELED: left off. Else it was not done: kinds "not_found",
 * "replaced" (another storage has its name), "held", "retire" (not possible here), or what the storage says. Whatever was begun
 * and could be taken back was. */
int dray_retire_do(const struct dray_retire_order *order, struct dray_retire_result *result, struct dray_error *err);

/* ---- between the files ---- */

/* Device names move: what the device with this identity is called now, into buf; or `resource`, where that is it, or nothing is. Of other
 * storages: `resource`. */
const char *dray_retire_where(const char *resource, const char *identity, uint64_t offset, uint64_t length, char *buf, size_t size);
/* "/srv/a.img" -> "/srv/a.img.retired-s-1"; the name behind the last slash may become too long: -ENAMETOOLONG. */
int dray_retire_new_name(const char *path, const char *session, char *buf, size_t size);
int dray_retire_file(const struct dray_retire_order *order, struct dray_retire_result *result, struct dray_error *err);
int dray_retire_device(const struct dray_retire_order *order, enum dray_retire_kind kind, struct dray_retire_result *result,
	struct dray_error *err);
int dray_retire_lvm(const struct dray_retire_order *order, struct dray_retire_result *result, struct dray_error *err);
int dray_retire_wipe(const struct dray_retire_order *order, struct dray_retire_result *result, struct dray_error *err);
/* The identity of the whole of a logical volume. */
bool dray_retire_is_lv(const char *identity);
/* What stands against each way of a logical volume, into facts->no. */
void dray_retire_lvm_look(struct dray_retire_facts *facts);
/* The SCSI disk's file in /sys that says running or offline. 0, or -ENOENT: it is no such disk. `dev` is a dev_t. */
int dray_retire_scsi_state(uint64_t dev, char *buf, size_t size);
/* Whether files there can be renamed so that nothing is replaced (RENAME_NOREPLACE), by the f_type of statfs(2): false where it is
 * known that they can't. */
bool dray_retire_may_rename(long f_type);
/* The kind of a block device, by what /sys has of it (storage/sysfs.h). `dev` is a dev_t. */
enum dray_retire_kind dray_retire_kind_of_device(uint64_t dev);
/* The kind of an open file or device. */
int dray_retire_kind_of_fd(int fd, enum dray_retire_kind *kind);
/* The identity of what is open there is the order's: 0, or -ESTALE "replaced". Slices are not looked at. */
int dray_retire_same(const struct dray_retire_order *order, int fd, const char *path, struct dray_error *err);

#endif
