/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The NBD driver's own: nbd_connect.c makes a connection and knows the address, nbd.c, nbd_again.c and nbd_conn.c use it (nbd_state.h), nbd_kept.c
 * keeps what may be lost with it.
 */
#ifndef DRAY_STORAGE_NBD_H
#define DRAY_STORAGE_NBD_H

#include "storage/driver.h"

#include <libnbd.h>

/* Connects and negotiates; blocks, at most DRAY_NBD_CONNECT_NS or until *quit (atomic) is set. Fills *h, and `info` but for
 * its identity. 0, or -ECONNREFUSED "unreachable", -ENOENT "not_found" (no such export) ... */
#define DRAY_NBD_CONNECT_NS UINT64_C(10000000000)
int dray_nbd_connect(struct nbd_handle **h, const char *uri, const bool *quit, struct dray_storage_info *info,
	struct dray_error *err);

/* One read, which is given up when the clock that only runs forward shows `until_ns`: -ETIMEDOUT. Then, as the answer may still come, nothing but
 * nbd_close may be done with the handle (another read fails likewise), and `buf` must live no longer than until then. 0 or a negative errno. */
int dray_nbd_read(struct nbd_handle *h, void *buf, size_t n, uint64_t offset, uint64_t until_ns);

/* What the export holds there, by its server's word: the bytes that it does not say to read as zeroes. Likewise given up at `until_ns`, or when that takes more
 * than 1000 answers; `sum` must live as long as the handle. 0; -ENOTSUP: it does not tell; or another negative errno, and *sum is of no use. */
struct dray_nbd_sum {
	uint64_t data_bytes, at, end;
};
int dray_nbd_data(struct nbd_handle *h, uint64_t offset, uint64_t length, uint64_t until_ns, struct dray_nbd_sum *sum);

/* Says in the log that the server owes `n` answers on that connection, none having come for so long, and whose turn it is as far as can be seen here:
 * bytes that arrived and are not read (the loop's, which polls for input and output as given), or that the server does not take. */
void dray_nbd_silent(struct nbd_handle *h, const char *uri, unsigned n, uint64_t since_ns, bool polls_in, bool polls_out);

/* ---- nbd_kept.c: what was acknowledged and is not durable yet; the loop's thread ---- */

struct dray_nbd_kept_one {
	struct dray_list node;
	enum dray_op op;
	uint32_t flags;
	bool busy; /* the host's: it is being sent; ends with dray_nbd_kept_done */
	bool dropped;
	uint64_t seq, offset, length, bytes;
	unsigned char data[];
};

struct dray_nbd_kept {
	struct dray_list list; /* of dray_nbd_kept_one, oldest first */
	uint64_t bytes, seq, missing_seq;
	bool missing; /* there was more than could be kept */
};

void dray_nbd_kept_init(struct dray_nbd_kept *k);
/* A change that was carried out: its data is copied. */
void dray_nbd_kept_add(struct dray_nbd_kept *k, const struct dray_sio *sio);
/* A flush has succeeded that was sent when k->seq was `seq`. */
void dray_nbd_kept_flushed(struct dray_nbd_kept *k, uint64_t seq);
/* So much that it is time for a flush. */
bool dray_nbd_kept_much(const struct dray_nbd_kept *k);
void dray_nbd_kept_drop(struct dray_nbd_kept *k);
void dray_nbd_kept_done(struct dray_nbd_kept_one *one);

/* What a URI says, escapes undone; "" where it says nothing. */
struct dray_nbd_address {
	char host[512], export[4200], socket[4200]; /* host: with the port */
};
void dray_nbd_address(const char *uri, struct dray_nbd_address *address);

/* Another identity line for an export of a server on this host: by the process that listens, so that its unix socket and its TCP port are one. For
 * comparing, while that process lives. 0; -ENOENT: it is no server here, or it can't be seen which process it is (others' processes
 * show their sockets to root alone). Blocks. */
int dray_nbd_process(const char *uri, uint64_t size_bytes, char *buf, size_t size);

/* "nbd:host:10809/export:size", with defaults filled in and escapes undone. */
void dray_nbd_identity(const char *uri, uint64_t size_bytes, char *buf, size_t size);
/* The server that a URI names: its socket's path, or its host and port. All names of our own host are "localhost"; of others the name counts. */
void dray_nbd_server(const char *uri, char *buf, size_t size);
/* Another identity line for the same export of a host that has several names: its address stands for them, "localhost" for our own. It
 * holds for as long as the addresses do, so it is for comparing, not for records. 0; -ENOENT: there is none. Looks the name up: blocks. */
int dray_nbd_alias(const char *identity, char *buf, size_t size);

#endif
