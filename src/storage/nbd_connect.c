/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One connection to an NBD export: made by blocking calls, on a control thread or a worker, since looking up a host may
 * take long and libnbd does it inside the call.
 */
#include "storage/nbd.h"

#include "base/log.h"

#include <ctype.h>
#include <errno.h>
#include <ifaddrs.h>
#include <limits.h>
#include <linux/sockios.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
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

/* A host that lost its power, or the way to it, says nothing: TCP would send again for a quarter of an hour, or, with nothing to send, wait for
 * ever. So the connection is lost after PEER_SILENT_MS in which nothing was acknowledged, and asked about when it is idle. (A server
 * that is merely slow is acknowledged by its kernel all the while.) A unix socket has none of this, and needs none. */
#define PEER_SILENT_MS 20000

static void watch_peer(struct nbd_handle *h)
{
	int fd = nbd_aio_get_fd(h), yes = 1, idle_s = 5, again_s = 5, times = 3, ms = PEER_SILENT_MS;
	if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof ms))
		return;
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &again_s, sizeof again_s);
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &times, sizeof times);
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &yes, sizeof yes);
}

/* For the answer of a command that was sent, or not (cookie < 0). */
static int wait_answer(struct nbd_handle *h, int64_t cookie, uint64_t until_ns)
{
	while (cookie >= 0) {
		int done = nbd_aio_command_completed(h, (uint64_t)cookie);
		if (done > 0)
			return 0;
		if (done < 0)
			break;
		uint64_t now = clock_ns();
		if (now >= until_ns)
			return -ETIMEDOUT;
		if (nbd_poll(h, until_ns - now < 100000000 ? (int)((until_ns - now) / 1000000) + 1 : 100) < 0)
			break;
	}
	return -(nbd_get_errno() ? nbd_get_errno() : EIO);
}

int dray_nbd_read(struct nbd_handle *h, void *buf, size_t n, uint64_t offset, uint64_t until_ns)
{
	if (nbd_aio_in_flight(h))
		return -ETIMEDOUT; /* that one was given up, and its buffer may be gone */
	return wait_answer(h, nbd_aio_pread(h, buf, n, offset, NBD_NULL_COMPLETION, 0), until_ns);
}

static int add_extents(void *arg, const char *context, uint64_t offset, uint32_t *entries, size_t count, int *error)
{
	struct dray_nbd_sum *sum = arg;
	if (strcmp(context, LIBNBD_CONTEXT_BASE_ALLOCATION))
		return 0;
	for (size_t i = 0; i + 1 < count && sum->at < sum->end; i += 2) {
		uint64_t left = sum->end - sum->at, n = entries[i] < left ? entries[i] : left;
		sum->data_bytes += entries[i + 1] & LIBNBD_STATE_ZERO ? 0 : n;
		sum->at += n;
	}
	return 0;
}

int dray_nbd_data(struct nbd_handle *h, uint64_t offset, uint64_t length, uint64_t until_ns, struct dray_nbd_sum *sum)
{
	*sum = (struct dray_nbd_sum){ .at = offset, .end = offset + length };
	if (nbd_can_meta_context(h, LIBNBD_CONTEXT_BASE_ALLOCATION) <= 0)
		return -ENOTSUP;
	for (int asked = 0; sum->at < sum->end && asked < 1000; asked++) {
		if (nbd_aio_in_flight(h))
			return -ETIMEDOUT;
		uint64_t at = sum->at, n = sum->end - at < UINT32_MAX / 2 ? sum->end - at : UINT32_MAX / 2 + 1;
		nbd_extent_callback each = { .callback = add_extents, .user_data = sum };
		int rc = wait_answer(h, nbd_aio_block_status(h, n, at, each, NBD_NULL_COMPLETION, 0), until_ns);
		if (rc || sum->at == at)
			return rc ? rc : -EIO;
	}
	return sum->at < sum->end ? -E2BIG : 0;
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
	watch_peer(h);
	fill(h, info);
	if (info->size_bytes % info->block_bytes) {
		nbd_close(h);
		return dray_error_kind(err, -EINVAL, "bad_resource", "%s: its %llu bytes are not whole blocks of %u bytes", uri,
			(unsigned long long)info->size_bytes, info->block_bytes);
	}
	*out = h;
	return 0;
}

void dray_nbd_silent(struct nbd_handle *h, const char *uri, unsigned n, uint64_t since_ns, bool polls_in, bool polls_out)
{
	int fd = nbd_aio_get_fd(h), arrived = -1, unsent = -1;
	ioctl(fd, SIOCINQ, &arrived);
	ioctl(fd, SIOCOUTQ, &unsent);
	dray_log(DRAY_LOG_WARN, "nbd-silent",
		"%s: %u request%s on one connection, and no answer for %u s (to be read %d, not taken %d, polled for %s%s, libnbd: %s, waits for %u)", uri, n,
		n == 1 ? "" : "s",
		(unsigned)(since_ns / 1000000000), arrived, unsent, polls_in ? "r" : "", polls_out ? "w" : "", nbd_connection_state(h),
		nbd_aio_get_direction(h));
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

void dray_nbd_address(const char *uri, struct dray_nbd_address *to)
{
	const char *p = strstr(uri, "://") + 3, *slash = p + strcspn(p, "/?"), *query = strchr(p, '?'), *end = p + strlen(p);
	const char *at = memchr(p, '@', (size_t)(slash - p));
	unescape(at ? at + 1 : p, slash, to->host, sizeof to->host);
	to->export[0] = to->socket[0] = 0;
	if (*slash == '/')
		unescape(slash + 1, query ? query : end, to->export, sizeof to->export);
	for (const char *q = query; q; q = strchr(q + 1, '&'))
		if (!strncmp(q + 1, "socket=", 7))
			unescape(q + 8, q + 1 + strcspn(q + 1, "&"), to->socket, sizeof to->socket);
}

/* The server, in lower case, with a port; or the path of its socket. */
static void where_is(struct dray_nbd_address *address, char *where, size_t size)
{
	char *host = address->host, *socket = address->socket;
	if (socket[0]) {
		char *real = realpath(socket, NULL);
		snprintf(where, size, "%s", real ? real : socket);
		free(real);
		return;
	}
	for (char *c = host; *c; c++)
		*c = (char)tolower((unsigned char)*c);
	/* A colon behind the last bracket, if any, begins the port. */
	const char *bracket = strrchr(host, ']'), *port = strrchr(bracket ? bracket : host, ':');
	int n = (int)(port ? (size_t)(port - host) : strlen(host));
	static const char *const here[] = { "", "localhost", "localhost.", "localhost.localdomain", "ip6-localhost", "[::1]", "[::ffff:127.0.0.1]" };
	unsigned b, c, d;
	int used = 0;
	bool local = sscanf(host, "127.%u.%u.%u%n", &b, &c, &d, &used) == 3 && used == n;
	for (size_t i = 0; i < sizeof here / sizeof here[0]; i++)
		local |= (size_t)n == strlen(here[i]) && !strncmp(host, here[i], (size_t)n);
	snprintf(where, size, "%.*s%s", local ? 9 : n, local ? "localhost" : host, port ? port : ":10809");
}

void dray_nbd_server(const char *uri, char *buf, size_t size)
{
	struct dray_nbd_address address;
	dray_nbd_address(uri, &address);
	where_is(&address, buf, size);
}

void dray_nbd_identity(const char *uri, uint64_t size_bytes, char *buf, size_t size)
{
	struct dray_nbd_address address;
	char where[8600], *export = address.export;
	dray_nbd_address(uri, &address);
	where_is(&address, where, sizeof where);
	if ((size_t)snprintf(buf, size, "nbd:%s/%s:%llu", where, export, (unsigned long long)size_bytes) + 48 < size)
		return;
	/* Too long to carry about; room is left for a slice. */
	char all[sizeof where + sizeof address.export];
	int n = snprintf(all, sizeof all, "%s/%s", where, export);
	XXH128_hash_t hash = XXH3_128bits(all, (size_t)n);
	snprintf(buf, size, "nbd:xxh=%016llx%016llx:%llu", (unsigned long long)hash.high64, (unsigned long long)hash.low64,
		(unsigned long long)size_bytes);
}

/* ---- by address ---- */

static bool same_address(const struct sockaddr *a, const struct sockaddr *b)
{
	if (!b || a->sa_family != b->sa_family)
		return false;
	if (a->sa_family == AF_INET)
		return ((const struct sockaddr_in *)a)->sin_addr.s_addr == ((const struct sockaddr_in *)b)->sin_addr.s_addr;
	return a->sa_family == AF_INET6 && !memcmp(&((const struct sockaddr_in6 *)a)->sin6_addr, &((const struct sockaddr_in6 *)b)->sin6_addr, 16);
}

/* One word for all names of a host: "localhost" for our own, else its least address. */
static int host_word(const char *name, char *word, size_t size)
{
	struct addrinfo *found = NULL;
	struct ifaddrs *ours = NULL;
	char text[64];
	word[0] = 0;
	if (getaddrinfo(name, NULL, &(struct addrinfo){ .ai_socktype = SOCK_STREAM }, &found))
		return -ENOENT;
	if (getifaddrs(&ours))
		ours = NULL;
	bool local = false;
	for (struct addrinfo *a = found; a; a = a->ai_next) {
		for (struct ifaddrs *i = ours; i; i = i->ifa_next)
			local |= same_address(a->ai_addr, i->ifa_addr);
		if (getnameinfo(a->ai_addr, a->ai_addrlen, text, sizeof text, NULL, 0, NI_NUMERICHOST))
			continue;
		if (!word[0] || strcmp(text, word) < 0)
			snprintf(word, size, "%s", text);
	}
	if (local)
		snprintf(word, size, "localhost");
	freeaddrinfo(found);
	if (ours)
		freeifaddrs(ours);
	return word[0] ? 0 : -ENOENT;
}

int dray_nbd_alias(const char *identity, char *buf, size_t size)
{
	char host[256], word[64];
	if (strncmp(identity, "nbd:", 4) || identity[4] == '/' || !strncmp(identity, "nbd:xxh=", 8))
		return -ENOENT;
	const char *p = identity + 4, *slash = strchr(p, '/');
	const char *end = *p == '[' ? strchr(p, ']') : NULL, *colon = strchr(end ? end : p, ':');
	if (!slash || !colon || colon > slash)
		return -ENOENT;
	snprintf(host, sizeof host, "%.*s", (int)(end ? end - p - 1 : colon - p), end ? p + 1 : p);
	if (host_word(host, word, sizeof word))
		return -ENOENT;
	bool six = strchr(word, ':');
	int n = snprintf(buf, size, "nbd:%s%s%s%s", six ? "[" : "", word, six ? "]" : "", colon);
	return (size_t)n < size && strcmp(buf, identity) ? 0 : -ENOENT;
}
