/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * May this storage become a leg? Refused: what is a leg of this process already (under any spelling, or a slice that overlaps
 * one), and what is an export of this process, directly or through devices of the kernel (H29): a volume that feeds itself.
 *
 * Identities come from the storage drivers and are equal for two names of one storage; a slice carries "+offset,length"
 * behind the identity of the whole. What the kernel's NBD devices are is looked up in peers.c.
 */
#include "iod/peers.h"
#include "iod/volume.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct range {
	size_t base; /* bytes of the identity that name the whole */
	uint64_t start, end;
};

static struct range range_of(const char *identity)
{
	struct range r = { strlen(identity), 0, UINT64_MAX };
	const char *plus = strrchr(identity, '+');
	unsigned long long offset, length;
	int used = 0;
	if (plus && sscanf(plus, "+%llu,%llu%n", &offset, &length, &used) == 2 && !plus[used]) {
		r.base = (size_t)(plus - identity);
		r.start = offset;
		r.end = offset + length;
	}
	return r;
}

/* `r`: the range of b. Most others differ in their first bytes. */
static bool overlap(const char *a, const char *b, const struct range *r)
{
	if (strncmp(a, b, r->base) != 0)
		return false;
	struct range other = range_of(a);
	return other.base == r->base && other.start < r->end && r->start < other.end;
}

int iod_leg_check_other(struct iod *iod, const struct iod_leg *leg, const char *identity, struct dray_error *err)
{
	char name[DRAY_VOLUME_NAME_MAX + 1] = "";
	unsigned id = 0;
	struct range range = range_of(identity);
	pthread_mutex_lock(&iod->lock);
	dray_list_for_each(n, &iod->volumes)
	{
		const struct iod_volume *v = dray_container(n, struct iod_volume, node);
		for (unsigned i = 0; i < v->n_legs; i++) {
			const struct iod_leg *other = v->legs[i];
			if (other != leg && other->def->identity[0] && overlap(other->def->identity, identity, &range)) {
				snprintf(name, sizeof name, "%s", v->def.name);
				id = other->def->id;
			}
		}
	}
	pthread_mutex_unlock(&iod->lock);
	if (id)
		return dray_error_kind(err, -EEXIST, "exists", "%s: it is leg %u of volume %s already",
			leg->def->resource, id, name);
	return 0;
}

/* The value of `key` in the query of a URI, percent-decoded; false: there is none. */
static bool query_value(const char *uri, const char *key, char *out, size_t size)
{
	const char *q = strchr(uri, '?');
	size_t n = strlen(key);
	for (; q; q = strchr(q, '&')) {
		q++;
		if (strncmp(q, key, n) != 0 || q[n] != '=')
			continue;
		size_t used = 0;
		for (const char *p = q + n + 1; *p && *p != '&' && *p != '#' && used + 1 < size; p++) {
			unsigned c;
			if (*p == '%' && sscanf(p + 1, "%2x", &c) == 1) {
				out[used++] = (char)c;
				p += 2;
			} else {
				out[used++] = *p;
			}
		}
		out[used] = '\0';
		return true;
	}
	return false;
}

static bool same_file(const char *a, const char *b)
{
	struct stat sa, sb;
	return stat(a, &sa) == 0 && stat(b, &sb) == 0 && sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino;
}

/* nbd://HOST[:PORT]/... is what --tcp listens on? */
static bool tcp_is_ours(const struct iod *iod, const char *authority)
{
	char host[256] = "", port[32] = "10809", own_port[32] = "10809";
	size_t n = strcspn(authority, "/?#");
	const char *at = memchr(authority, '@', n);
	if (at) {
		n -= (size_t)(at + 1 - authority);
		authority = at + 1;
	}
	const char *close = *authority == '[' ? memchr(authority, ']', n) : NULL;
	const char *colon = memchr(close ? close : authority, ':', n - (size_t)((close ? close : authority) - authority));
	snprintf(host, sizeof host, "%.*s", (int)(close ? close - authority - 1 : colon ? colon - authority : (long)n),
		close ? authority + 1 : authority);
	if (colon)
		snprintf(port, sizeof port, "%.*s", (int)(authority + n - colon - 1), colon + 1);
	const char *own = strrchr(iod->options.tcp, ':');
	if (own)
		snprintf(own_port, sizeof own_port, "%s", own + 1);
	return strcmp(port, own_port) == 0 && iod_address_is_ours(host);
}

int iod_leg_check_self(struct iod *iod, const char *resource, struct dray_error *err)
{
	const char *uri = strstr(resource, "nbd+unix:"), *tcp = strstr(resource, "nbd://");
	char path[4096];
	bool self = false;

	if (!uri)
		uri = strstr(resource, "nbds+unix:");
	if (uri && query_value(uri, "socket", path, sizeof path))
		self = same_file(path, iod->nbd_socket);
	else if (tcp && iod->options.tcp)
		self = tcp_is_ours(iod, tcp + 6);
	if (self)
		return dray_error_kind(err, -ELOOP, "self_export", "%s: it is an export of this same dray-iod", resource);
	return iod_peers_check(iod, resource, err);
}
