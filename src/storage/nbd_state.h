/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of the NBD driver that use its connections share: nbd.c (requests), nbd_again.c (what was lost with a connection), nbd_conn.c
 * (connections). All of it on the loop's thread, but for what is the worker's.
 */
#ifndef DRAY_STORAGE_NBD_STATE_H
#define DRAY_STORAGE_NBD_STATE_H

#include "storage/nbd.h"

#define NBD_MOST_CONNECTIONS 4
#define NBD_BACKOFF_FIRST_NS UINT64_C(100000000)

/* sio->priv: */
enum {
	CONN,   /* the connection that carries it */
	LATE,   /* it was sent over a connection that was lost */
	EXPIRY, /* when it stops waiting in `queue` (ns) */
	MARK,   /* flush: kept.seq when it was sent */
};

struct nbd;

enum conn_state {
	CONNECTED,
	CLOSING,    /* lost; its polls are being canceled */
	WAITING,    /* for the time to try again */
	CONNECTING, /* a worker is at it */
	GONE,       /* detached */
};

struct conn {
	struct nbd *nbd;
	enum conn_state state;
	struct nbd_handle *h;
	struct dray_ioc in, out, call;
	bool in_armed, out_armed;
	unsigned under_way;
	uint64_t heard_ns; /* when it last answered, or was first asked */
	uint64_t told_ns;  /* when it was last said that it doesn't; 0: not since then */
	uint64_t backoff_ns;
	struct dray_loop_timer timer;
	/* the worker's */
	struct nbd_handle *new_h;
	struct dray_storage_info new_info;
};

/* The driver's own requests: its flush, and what is sent again. */
#define NBD_AGAIN_MOST 8
struct own {
	struct dray_sio sio;
	bool busy;
	struct dray_nbd_kept_one *one;
};

struct nbd {
	struct dray_storage *st;
	struct own own_flush, again[NBD_AGAIN_MOST];
	unsigned n_own;
	struct dray_nbd_kept kept;
	bool again_due;          /* a connection was lost: nothing is sent before what is kept was */
	uint64_t again_seq;      /* so far it was sent; 0: to be begun */
	struct conn conns[NBD_MOST_CONNECTIONS];
	unsigned n;
	bool retry, quit, broken, unflushed, flush_lost, can_flush;
	uint64_t retry_ns;
	struct dray_list queue; /* of dray_sio: wait for a connection */
	struct dray_loop_timer expiry, cut, silence;
	void (*left)(void *arg);
	void *left_arg;
};

/* ---- nbd.c ---- */
/* Completes the request from the loop, later. */
void dray_nbd_finish(struct nbd *n, struct dray_sio *sio, int error);
/* The living connection with the least in flight, or NULL. */
struct conn *dray_nbd_choose(struct nbd *n);
void dray_nbd_send_on(struct nbd *n, struct conn *c, struct dray_sio *sio);
/* What waits for a connection, as far as it may be sent. */
void dray_nbd_send_queue(struct nbd *n);
/* The timer of those that wait follows the first of them. */
void dray_nbd_set_expiry(struct nbd *n);

/* ---- nbd_again.c ---- */
/* One of the driver's own requests. */
bool dray_nbd_is_own(const struct nbd *n, const struct dray_sio *sio);
void dray_nbd_own_replied(struct nbd *n, struct dray_sio *sio, int res);
/* A connection was, with what the server had acknowledged. Also for an answer that is heard after its connection's end. */
void dray_nbd_lost(struct nbd *n);
/* It is no primary any more: what may be lost is told to the next flush. */
void dray_nbd_keep_no_more(struct nbd *n);
/* Flushes where a lot is kept. */
void dray_nbd_flush_kept(struct nbd *n);
/* Sends again what is due. true: all of it was, or nothing is due: others may be sent. */
bool dray_nbd_sent_again(struct nbd *n);

/* ---- nbd_conn.c ---- */
/* After libnbd was called: polls for what it wants next, or sees that the connection is lost. */
void dray_nbd_check_alive(struct conn *c);
void dray_nbd_start_closing(struct conn *c);
/* Answers a detach, once nothing is left. */
void dray_nbd_maybe_left(struct nbd *n);
/* The timer of a connection that waits to be tried again. */
void dray_nbd_try_again(struct dray_loop_timer *timer);

#endif
