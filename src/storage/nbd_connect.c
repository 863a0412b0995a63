/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One connection to an NBD export: made by blocking calls, on a control thread or a worker, since looking up a host may
 * take long and libnbd does it inside the call.
 */
#include "storage/nbd.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <xxhash.h>

static uint64_t clock_ns(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec;
}

static int failed(const char *uri, struct dray_error *err)
{
	int e = nbd_get_errno();
	const char *text = nbd_get_error();
	if (!text)
		text = "connection failed";
	/* libnbd's texts begin with the name of its function. */
	const char *colon = strstr(text, ": ");
	if (!strncmp(text, "nbd_", 4) && colon)
		text = colon + 2;
	if (e == ENOENT && strstr(text, "connect"))
		return dray_error_kind(err, -ECONNREFUSED, "unreachable", "%s: %s", uri, text);
	if (e == ENOENT || strstr(text, "not available") || strstr(text, "unknown export"))
		return dray_error_kind(err, -ENOENT, "not_found", "%s: %s", uri, text);
	if (e == EINVAL)
		return dray_error_kind(err, -EINVAL, "bad_resource", "%s: %s", uri, text);
	if (e == EACCES || e == EPERM)
		return dray_error_kind(err, -EACCES, "not_accessible", "%s: %s", uri, text);
	return dray_error_kind(err, -ECONNREFUSED, "unreachable", "%s: %s", uri, text);
}

static void fill(struct nbd_handle *h, struct dray_storage_info *info)
{
	int64_t min = nbd_get_block_size(h, LIBNBD_SIZE_MINIMUM), preferred = nbd_get_block_size(h, LIBNBD_SIZE_PREFERRED),
		max = nbd_get_block_size(h, LIBNBD_SIZE_MAXIMUM);
	info->size_bytes = (uint64_t)nbd_get_size(h);
	info->block_bytes = min > 0 && min <= 65536 ? (uint32_t)min : 1;
	if (preferred > 0 && preferred <= 32 << 20)
		info->preferred_bytes = (uint32_t)preferred;
	if (max > 0 && max < (int64_t)info->max_bytes)
		info->max_bytes = (uint32_t)max - (uint32_t)max % info->block_bytes;
	info->read_only = nbd_is_read_only(h) > 0;
	info->can_extents = nbd_can_meta_context(h, LIBNBD_CONTEXT_BASE_ALLOCATION) > 0;
	info->can_zero = nbd_can_zero(h) > 0;
	info->can_fast_zero = nbd_can_fast_zero(h) > 0;
	info->can_discard = nbd_can_trim(h) > 0;
	info->can_fua = nbd_can_fua(h) > 0;
	info->can_cache = nbd_can_cache(h) > 0;
	info->can_multi_conn = nbd_can_multi_conn(h) > 0;
	info->rotational = nbd_is_rotational(h) > 0;
	info->thin = info->can_discard;
	info->late_writes = true;
	info->stable_identity = true;
}

int dray_nbd_connect(struct nbd_handle **out, const char *uri, const bool *quit, struct dray_storage_info *info,
	struct dray_error *err)
{
	struct nbd_handle *h = nbd_create();
	if (!h)
		return dray_error_errno(err, -ENOMEM, "%s", uri);
	/* Reads fill the whole buffer or fail: no need to clear it first. */
	nbd_set_pread_initialize(h, false);
	if (nbd_add_meta_context(h, LIBNBD_CONTEXT_BASE_ALLOCATION) || nbd_aio_connect_uri(h, uri)) {
		int rc = failed(uri, err);
		nbd_close(h);
		return rc;
	}
	uint64_t end = clock_ns() + DRAY_NBD_CONNECT_NS;
	while (nbd_aio_is_connecting(h) > 0) {
		if (__atomic_load_n(quit, __ATOMIC_ACQUIRE) || clock_ns() > end) {
			nbd_close(h);
			return dray_error_kind(err, -ETIMEDOUT, "unreachable", "%s: no answer", uri);
		}
		if (nbd_poll(h, 100) < 0)
			break;
	}
	if (nbd_aio_is_ready(h) <= 0) {
		int rc = failed(uri, err);
		nbd_close(h);
		return rc;
	}
	fill(h, info);
	if (info->size_bytes % info->block_bytes) {
		nbd_close(h);
		return dray_error_kind(err, -EINVAL, "bad_resource", "%s: its %llu bytes are not whole blocks of %u bytes", uri,
			(unsigned long long)info->size_bytes, info->block_bytes);
	}
	*out = h;
	return 0;
}

/* ---- identity ---- */

/* Undoes %XX; stops at `end` or the end of buf. */
static void unescape(const char *s, const char *end, char *buf, size_t size)
{
	size_t n = 0;
	while (s < end && n + 1 < size) {
		unsigned c;
		if (*s == '%' && end - s > 2 && sscanf(s + 1, "%2x", &c) == 1) {
			buf[n++] = (char)c;
			s += 3;
		} else {
			buf[n++] = *s++;
		}
	}
	buf[n] = 0;
}

void dray_nbd_identity(const char *uri, uint64_t size_bytes, char *buf, size_t size)
{
	char host[512], export[4200], socket[4200] = "", where[8600];
	const char *p = strstr(uri, "://") + 3, *slash = p + strcspn(p, "/?"), *query = strchr(p, '?'),
		   *end = p + strlen(p);
	const char *at = memchr(p, '@', (size_t)(slash - p));
	unescape(at ? at + 1 : p, slash, host, sizeof host);
	export[0] = 0;
	if (*slash == '/')
		unescape(slash + 1, query ? query : end, export, sizeof export);
	for (const char *q = query; q; q = strchr(q + 1, '&'))
		if (!strncmp(q + 1, "socket=", 7))
			unescape(q + 8, q + 1 + strcspn(q + 1, "&"), socket, sizeof socket);
	if (socket[0]) {
		char *real = realpath(socket, NULL);
		snprintf(where, sizeof where, "%s", real ? real : socket);
		free(real);
	} else {
		for (char *c = host; *c; c++)
			*c = (char)tolower((unsigned char)*c);
		/* A colon behind the last bracket, if any, begins the port. */
		const char *bracket = strrchr(host, ']'), *port = strrchr(bracket ? bracket : host, ':');
		int n = (int)(port ? (size_t)(port - host) : strlen(host));
		static const char *const here[] = { "", "localhost", "127.0.0.1", "[::1]" };
		bool local = false;
		for (size_t i = 0; i < sizeof here / sizeof here[0]; i++)
			local |= (size_t)n == strlen(here[i]) && !strncmp(host, here[i], (size_t)n);
		snprintf(where, sizeof where, "%.*s%s", local ? 9 : n, local ? "localhost" : host, port ? port : ":10809");
	}
	if ((size_t)snprintf(buf, size, "nbd:%s/%s:%llu", where, export, (unsigned long long)size_bytes) + 48 < size)
		return;
	/* Too long to carry about; room is left for a slice. */
	char all[sizeof where + sizeof export];
	int n = snprintf(all, sizeof all, "%s/%s", where, export);
	XXH128_hash_t hash = XXH3_128bits(all, (size_t)n);
	snprintf(buf, size, "nbd:xxh=%016llx%016llx:%llu", (unsigned long long)hash.high64, (unsigned long long)hash.low64,
		(unsigned long long)size_bytes);
}
