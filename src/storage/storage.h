/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Storage resources: opening what bytes live on, and doing I/O on it.
 *
 * A driver is one file and one entry in the table of drivers. All data calls are asynchronous on one loop: they take a
 * `struct dray_sio` (embedded in the caller's own), and call its `done` once, on the loop's thread, never inside the
 * call. Several may be under way at once, in no order.
 *
 * A resource is named by a path (`/dev/sdb`, `/srv/a.img`, `file:/srv/a.img`) or a URI (`nbd://host:port/export`,
 * `nbd+unix:///export?socket=PATH`). `fault:OPTIONS:RESOURCE` wraps another one for tests (see fault.c), and is
 * refused unless the program allowed it.
 *
 * Beside this header: storage/identity.h (are two storages the same, do they overlap?), storage/content.h (what does one
 * hold already?) and storage/dead.h (is it there still?).
 */
#ifndef DRAY_STORAGE_STORAGE_H
#define DRAY_STORAGE_STORAGE_H

#include "base/error.h"
#include "engine/engine.h" /* dray_op, dray_op_flags, dray_extent */
#include "loop/loop.h"

struct dray_storage;
struct dray_storage_driver;

struct dray_storage_options {
	bool read_only;
	bool no_lock;            /* probing only: take no lock on the resource, and don't ask whether others use it */
	bool look;               /* probing only: all that would keep it from being opened is found, and nothing is touched: it is
	                          * opened for reading, even if it is to be written (then it is asked whether it can be); what
	                          * locks are needed to look are shared and short; the file's times stay where the
	                          * system allows that */
	bool allow_faults;       /* `fault:` is understood */
	uint64_t lock_wait_ns;   /* how long to wait for another holder of the lock to let go (H6); 0: not at all */
	uint64_t offset, length; /* a slice; length 0: all of it */
	unsigned connections;    /* NBD: how many (0: as the server allows, at most 4) */
	bool retry_primary;      /* NBD: requests cut off by a lost connection are sent again after reconnect, for as long
	                          * as retry_ns; else they fail at once with may_land_late. With it the server is trusted to
	                          * keep what it acknowledged over its own death; without it the next flush after a loss
	                          * fails if anything was not flushed (see nbd.c) */
	uint64_t retry_ns;       /* default 30 s (0) */
};

/* What the driver found; constant while the storage is open. */
struct dray_storage_info {
	uint64_t size_bytes;         /* of the slice, if one was asked for */
	uint32_t block_bytes;        /* every offset, length and (for direct I/O) address is a multiple; 1 = any */
	uint32_t preferred_bytes;
	uint32_t max_bytes;          /* most per request */
	uint32_t memory_align;       /* of buffers; 1 = any */
	bool read_only, direct;      /* direct: O_DIRECT in use */
	bool is_block_device;
	bool can_extents, can_zero, can_discard, can_fua, can_fast_zero, can_cache, can_multi_conn;
	bool rotational;
	bool thin;                   /* deallocated ranges exist or may exist */
	bool late_writes;            /* network: a lost connection leaves writes of unknown outcome */
	bool stable_identity;        /* identity survives a reboot and a change of device names (H2) */
	uint64_t device;             /* the kernel's number of the device, or of what the file's file system is on; 0: neither */
	/* One line that is equal for two names of the same storage, on this host: "file:dev=...,ino=...,btime=...",
	 * "block:wwid=...", "block:8:16", "nbd:host:10809/export:size" ... With a slice: "...+offset,length". */
	char identity[256];
	const char *driver;
};

/* One operation on a storage. */
struct dray_sio {
	/* error: 0 or negative errno; may_land_late: see DRAY_C_MAY_LAND_LATE. */
	void (*done)(struct dray_sio *sio, int error, bool may_land_late);
	enum dray_op op; /* READ WRITE ZERO DISCARD FLUSH EXTENTS CACHE */
	uint32_t flags;  /* dray_op_flags, and dray_flags_prio: a driver that can't pass that on leaves it */
	uint64_t offset, length;
	void *data;
	struct dray_extent *extents;
	unsigned max_extents, n_extents;
	/* the driver's own */
	struct dray_ioc ioc;
	struct iovec iov;
	struct dray_list node;
	struct dray_storage *storage;
	uint64_t at; /* progress inside the operation */
	void *priv[4];
};

/* Each driver fills this table; generic code fills the gaps at registration (ZERO without `zero` writes zeroes, DISCARD
 * without support is a success that does nothing, EXTENTS without support says "all data", FUA without support is a
 * write and a flush), so that callers never test for NULL. */
struct dray_storage_driver {
	const char *name;
	/* Required. Does this driver understand the resource's name? */
	bool (*matches)(const char *resource);
	/* Required. May block (called on a control thread with the loop not yet using it). Fills st->info. */
	int (*open)(struct dray_storage *st, const char *resource, const struct dray_storage_options *options,
		struct dray_error *err);
	/* Required. Nothing is under way. May block briefly. */
	void (*close)(struct dray_storage *st);
	/* Required. */
	void (*submit)(struct dray_storage *st, struct dray_sio *sio);
	/* Optional. Called on the loop's thread once before the first submit (registration of file descriptors, polls). */
	void (*attach)(struct dray_storage *st);
	/* Optional. Called on the loop's thread after the last completion, before close. `done` when the loop is left. */
	void (*detach)(struct dray_storage *st, void (*done)(void *arg), void *arg);
	/* Optional. The loop's thread: `retry_primary` changes, for requests that fail or come from now on. */
	void (*set_retry)(struct dray_storage *st, bool retry_primary);
	/* Optional. The loop's thread: set_retry(false), and what is still under way after that time is to end, with an error. The next
	 * set_retry takes it back. */
	void (*give_up)(struct dray_storage *st, uint64_t after_ns);
	/* Optional. Any thread. What is written there is lost when it is closed: a file that was removed. */
	bool (*gone)(const struct dray_storage *st);
	/* Optional. Any thread: see storage/dead.h. */
	int (*dup)(const struct dray_storage *st);
};

struct dray_storage {
	const struct dray_storage_driver *driver;
	struct dray_storage_info info;
	struct dray_loop *loop;
	char *resource;
	uint64_t slice_offset;
	void *priv;
};

/* Opens a resource. Blocks; call it on a control thread. It is not usable before dray_storage_attach on its loop's thread.
 * Errors (with kind): -ENOENT "not_found", -EACCES "not_accessible", -EBUSY "held" (locked by another program, or, for a
 * device, mounted or in use: says by whom), -EINVAL "bad_resource", -EROFS "read_only", -ECONNREFUSED "unreachable" ... */
int dray_storage_open(struct dray_storage **st, const char *resource, const struct dray_storage_options *options,
	struct dray_error *err);
void dray_storage_attach(struct dray_storage *st, struct dray_loop *loop);
void dray_storage_detach(struct dray_storage *st, void (*done)(void *arg), void *arg);
/* Attached, on the loop's thread: the storage becomes, or stops being, a volume's primary (a switch). What waits for a connection
 * already goes on waiting. */
void dray_storage_set_retry(struct dray_storage *st, bool retry_primary);
/* Attached, on the loop's thread: a primary is given up. Nothing waits for a connection any more, and what its server has not answered after
 * that time ends with an error, if the driver can end it (an operation that is in the kernel can't be ended). Until set_retry. */
void dray_storage_give_up(struct dray_storage *st, uint64_t after_ns);
void dray_storage_close(struct dray_storage *st);
/* It has no name any more: nobody could open it again, and what it holds goes with its last user. Any thread; does not block. */
bool dray_storage_gone(const struct dray_storage *st);

/* Checks alignment, range and read-only (-> -EINVAL, -EROFS through done), splits by max_bytes, then the driver. */
void dray_storage_submit(struct dray_storage *st, struct dray_sio *sio);

/* Looks at a resource without keeping it open: identity, sizes, abilities. `size_bytes` etc. as above. Blocks. */
int dray_storage_probe(const char *resource, const struct dray_storage_options *options, struct dray_storage_info *info,
	struct dray_error *err);

/* Creates a missing regular file of `size_bytes`: thin (sparse) or full (allocated), fsynced with its directory. A crash leaves all of it or nothing.
 * -EEXIST. */
int dray_storage_create(const char *resource, uint64_t size_bytes, bool full, struct dray_error *err);

#endif
