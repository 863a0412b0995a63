/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The NBD server: fixed newstyle negotiation and the transmission phase, on a loop (the public NBD protocol
 * document is the reference; docs/ARCHITECTURE.md lists what of it is served).
 */
#ifndef DRAY_NBD_SERVER_H
#define DRAY_NBD_SERVER_H

#include "nbd/backend.h"

struct dray_nbd_server;

struct dray_nbd_limits {
	unsigned max_connections;   /* default 256 (0) */
	unsigned max_requests;      /* in flight per connection; default 128 (0): further ones are not read */
	uint32_t max_payload_bytes; /* default 32 MiB (0); larger writes are answered EINVAL and skipped,
				       larger reads EINVAL */
	uint64_t handshake_timeout_ns; /* default 10 s (0) */
	uint64_t connection_bytes;     /* payload memory per connection; default 64 MiB (0) */
};

/* -ENOMEM. `loop` accepts and negotiates. */
int dray_nbd_server_new(struct dray_nbd_server **srv, struct dray_loop *loop,
	const struct dray_nbd_limits *limits, const struct dray_nbd_backend_ops *ops, void *ctx);
/* Takes over a listening socket (unix or TCP). Loop's thread. Several may be added. */
int dray_nbd_server_listen(struct dray_nbd_server *srv, int fd, struct dray_error *err);
/* Serves an already connected socket (tests, socket pairs). Loop's thread. Takes the socket over unless it
 * fails: -EMFILE (max_connections), -ENOMEM, -ESHUTDOWN (the server stops). */
int dray_nbd_server_serve(struct dray_nbd_server *srv, int fd);
/* Any thread, once. Stops accepting; ends idle connections, lets requests under way finish (a client that
 * takes no replies is cut off after 10 s); `done` on the server's loop when the last connection is gone. All
 * loops must still run. */
void dray_nbd_server_stop(struct dray_nbd_server *srv, void (*done)(void *arg), void *arg);
/* Any thread. Ends all connections to one export (volume removed or shut down), in the same way; `done` when
 * they are gone: on the export's loop, or on the server's if there was none. Whoever wants no new ones has
 * get() say so before. -ENOMEM. */
int dray_nbd_server_disconnect(
	struct dray_nbd_server *srv, const char *name, void (*done)(void *arg), void *arg);
/* After stop's `done`, or if it has no listeners and its last connection is gone. NULL: nothing. */
void dray_nbd_server_free(struct dray_nbd_server *srv);

/* Open listening sockets: the descriptor, or a negative errno. A stale unix socket (nobody answers) is
 * replaced, a living one is -EADDRINUSE. Mode 0660. */
int dray_nbd_listen_unix(const char *path, struct dray_error *err);
int dray_nbd_listen_tcp(const char *host, const char *port, struct dray_error *err);

#endif
