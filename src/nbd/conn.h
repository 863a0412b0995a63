/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One connection: what the files of this room share.
 *
 * A connection is a phase and a socket. It begins on the server's loop (negotiate.c behind handshake.c), is
 * posted to the loop of its export, and lives there until it is gone (transmit.c); then it is posted back to
 * be struck off the server's list and freed. At any moment one thread owns it: the fields below say which
 * thread touches which.
 *
 *     HANDSHAKE --GO--> OPEN --leaves, is ended--> DRAIN --all answered--> DEAD --all let go--> (freed)
 *         |               '-----broken rule, socket error-------------------^
 *         '--ABORT, time-out, broken rule, socket error--> (freed)
 *
 * OPEN reads and answers. DRAIN reads nothing more, but what was asked is answered. DEAD answers nothing:
 * requests under way complete into nothing, and the socket is closed as soon as no operation of the loop
 * refers to it.
 */
#ifndef DRAY_NBD_CONN_H
#define DRAY_NBD_CONN_H

#include "nbd/negotiate.h"
#include "nbd/proto.h"
#include "nbd/reply.h"
#include "nbd/server.h"

#include <sys/socket.h>

/* The receive buffer: requests are parsed out of it, many per recv. */
#define NBD_RECV_BYTES 262144
/* A payload that lacks at least this much is received straight into its own buffer. */
#define NBD_DIRECT_BYTES 16384
/* DRAIN: a client that takes no replies for this long is cut off. */
#define NBD_LINGER_NS UINT64_C(10000000000)
/* When payload memory is short: who takes no replies for this long is cut off ... */
#define NBD_STUCK_NS UINT64_C(5000000000)
/* ... and until then whoever holds nothing is helped out with a buffer of up to this size. */
#define NBD_HELP_BYTES 1048576

struct nbd_conn;

enum nbd_phase { NBD_HANDSHAKE, NBD_OPEN, NBD_DRAIN, NBD_DEAD };

/* A request and its reply; max_requests of them are made with the connection. It is free again when the
 * backend has replied and released it, and the reply was sent (or nobody is there to read it). */
struct nbd_req {
	struct dray_request req; /* host[0] is this */
	struct nbd_conn *conn;
	struct dray_list node; /* conn->idle or conn->replies */
	uint64_t cookie;
	uint64_t buf_bytes;
	void *buf;
	int error; /* of a refused request whose payload is being thrown away */
	const char *why;
	uint16_t cmd_flags;
	bool replied, released, sent;
	bool helped;                     /* buf is not the backend's, see buffer_get */
	uint32_t head_bytes, data_bytes; /* the reply: head, then data from buf */
	uint8_t head[DRAY_NBD_REPLY_HEAD];
};

/* The part of a server that lives on one loop: the connections to the exports there. */
struct nbd_shard {
	/* the server's loop */
	struct dray_list node;
	struct dray_loop_msg leave, left;
	/* fixed */
	struct dray_nbd_server *srv;
	struct dray_loop *loop;
	/* its loop */
	struct dray_loop_hook hook; /* there while connections are */
	struct dray_loop_timer retry;
	struct dray_list dirty;   /* connections with something to do at the end of this iteration */
	struct dray_list starved; /* those that wait for payload memory, the longest first */
	struct dray_list members;
	unsigned conns;
};

struct nbd_conn {
	/* Fixed. */
	struct dray_nbd_server *srv;
	const struct dray_nbd_backend_ops *ops;
	void *ctx;
	const struct dray_nbd_limits *limits;
	char peer[96];

	/* The server's loop. */
	struct dray_list node;   /* srv->conns */
	struct nbd_shard *shard; /* set before it is posted there, then fixed */
	char export[256];        /* likewise */
	bool ending;             /* `end` was posted */
	struct dray_loop_msg start, end, gone, bury;

	/* The owner's thread. */
	struct dray_loop *loop;
	enum nbd_phase phase;
	int fd;
	struct dray_ioc recv_ioc, poll_ioc;
	bool recv_busy, poll_busy, eof;
	struct dray_loop_timer timer; /* handshake, later linger */
	uint8_t *rbuf;                /* NBD_RECV_BYTES; [rpos, rend) is not parsed yet */
	size_t rpos, rend, asked;
	struct dray_loop_timer again; /* an export that is not there yet is looked for again */
	uint64_t wait_until_ns;
	struct dray_nego nego;
	enum dray_nego_result outcome;

	/* Transmission. */
	void *handle;
	struct dray_nbd_session session;
	struct nbd_req *reqs;
	struct dray_list idle, replies;
	struct dray_list member_node, dirty_node, starved_node;
	unsigned live;           /* requests not idle */
	uint64_t buf_bytes;      /* payload memory held */
	size_t reply_sent;       /* bytes of the first reply that are sent already */
	struct nbd_req *filling; /* a write whose payload is arriving ... */
	uint32_t fill_got;
	uint32_t skip_bytes; /* ... or is thrown away */
	bool recv_direct;    /* the recv under way goes into filling's buffer */
	bool stalled;        /* a request can't be begun: no idle one, or no memory */
	bool big_writes;     /* the last write was large: read less ahead, to copy less */
	bool told;           /* ops->client(true) was called */
	uint64_t sent_ns;    /* when the client last took something, or had nothing to take */
};

/* handshake.c; the server's loop. */
void nbd_handshake_start(struct nbd_conn *c);
void nbd_handshake_end(struct nbd_conn *c); /* the server stops */

/* transmit.c; the export's loop. Messages `start` and `end` of the connection. */
void nbd_transmit_start(struct dray_loop_msg *msg);
void nbd_transmit_end(struct dray_loop_msg *msg);
uint64_t nbd_transmit_hook(struct dray_loop_hook *hook, uint64_t now_ns);
void nbd_transmit_retry(struct dray_loop_timer *timer);

/* The hook will look at the connection before the loop sleeps. */
void nbd_mark(struct nbd_conn *c);
/* Gives the request back to the idle ones, if the backend and the client are both through with it. */
void nbd_recycle(struct nbd_req *r);
/* The socket is of no use any more. */
void nbd_dead(struct nbd_conn *c);

/* answer.c; the export's loop. */
void nbd_send_replies(struct nbd_conn *c);
void nbd_reply_error(struct nbd_req *r, int error, const char *why);

/* listen.c: an address in numbers; false: it is none. */
bool nbd_address_text(const struct sockaddr_storage *ss, socklen_t len, char *host, size_t host_size,
	char *port, size_t port_size);

/* server.c */
struct dray_loop *nbd_server_loop(const struct dray_nbd_server *srv);
/* Hands a negotiated connection over to the loop of its export. -ENOMEM. */
int nbd_server_hand_over(struct nbd_conn *c);
/* Server's loop: the connection's socket is closed and nothing refers to it any more. Frees it. */
void nbd_server_gone(struct nbd_conn *c);
void nbd_server_gone_msg(struct dray_loop_msg *msg);

#endif
