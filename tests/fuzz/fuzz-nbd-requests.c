/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Any bytes as a client's requests, through a real connection over a socket pair: the first byte chooses the
 * export and what was negotiated, the second how the bytes are cut into pieces. Checked beside memory safety:
 * the backend is never asked for what lies outside of the export (nbd-ram.h asserts it), every answer is
 * well-formed, the connection ends when the client does, and every request, buffer and reference has come
 * back.
 */
#include "nbd/proto.h"
#include "nbd/server.h"
#include "../nbd-ram.h"

#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define EXPORT_BYTES 65536

static struct ram_export exports[5];
static struct ram ram = {exports, 5};
static struct dray_loop *loop;
static struct dray_nbd_server *srv;

static void set_up(void)
{
	static const char *const names[] = {"disk", "ro", "plain", "blocks", "errors"};
	struct dray_nbd_limits limits = {
		.max_requests = 4, .max_payload_bytes = 32768, .connection_bytes = 40960};
	assert(dray_loop_new(&loop, DRAY_LOOP_EPOLL, 64, NULL) == 0);
	for (unsigned i = 0; i < ram.n; i++) {
		ram_export_init(&exports[i], names[i], EXPORT_BYTES);
		exports[i].loop = loop;
	}
	exports[1].info.read_only = true;
	exports[2].info.can_trim = exports[2].info.can_fua = exports[2].info.can_extents = false;
	exports[3].info.block_min = 512;
	exports[3].buf_limit = 8192;
	exports[4].errors = true;
	assert(dray_nbd_server_new(&srv, loop, &limits, &ram_ops, &ram) == 0);
}

static uint8_t *option(uint8_t *p, uint32_t code, const uint8_t *data, uint32_t len)
{
	p = nbd_put32(nbd_put32(nbd_put64(p, NBD_MAGIC_OPTION), code), len);
	if (len)
		memcpy(p, data, len);
	return p + len;
}

/* The client's side of the negotiation in one go; it doesn't wait for the answers. Returns how long they will
 * be. */
static size_t negotiate(int fd, const char *name, bool structured, bool meta)
{
	uint8_t out[512], body[128], *p = nbd_put32(out, NBD_HS_FIXED_NEWSTYLE | NBD_HS_NO_ZEROES), *b;
	const char *context = NBD_CONTEXT_ALLOCATION;
	uint32_t len = (uint32_t)strlen(name), context_len = (uint32_t)strlen(context);
	if (structured)
		p = option(p, NBD_OPT_STRUCTURED_REPLY, NULL, 0);
	if (meta) {
		b = nbd_put32(body, len);
		memcpy(b, name, len);
		b = nbd_put32(nbd_put32(b + len, 1), context_len);
		memcpy(b, context, context_len);
		p = option(p, NBD_OPT_SET_META_CONTEXT, body, (uint32_t)(b + context_len - body));
	}
	p = option(p, NBD_OPT_EXPORT_NAME, (const uint8_t *)name, len);
	assert(write(fd, out, (size_t)(p - out)) == p - out);
	return (size_t)(p - out);
}

/* What the server said, with the negotiation's answers at its front. */
struct said {
	uint8_t bytes[1 << 20];
	size_t n;
	bool cut;
};

static void listen_to(int fd, struct said *s)
{
	for (;;) {
		uint8_t waste[4096];
		bool fits = s->n < sizeof s->bytes;
		ssize_t r = fits ? recv(fd, s->bytes + s->n, sizeof s->bytes - s->n, MSG_DONTWAIT)
				 : recv(fd, waste, sizeof waste, MSG_DONTWAIT);
		if (r <= 0)
			return;
		if (fits)
			s->n += (size_t)r;
		else
			s->cut = true;
	}
}

static void check_said(const struct said *s, bool structured)
{
	const uint8_t *p = s->bytes, *end = p + s->n;
	assert(s->n >= NBD_GREETING_BYTES);
	p += NBD_GREETING_BYTES;
	while (end - p >= NBD_ANSWER_HEADER_BYTES && nbd_get64(p) == NBD_MAGIC_ANSWER)
		p += NBD_ANSWER_HEADER_BYTES + nbd_get32(p + 16);
	assert(end - p >= 10);
	p += 10;
	/* Without structured replies a read's data has no frame of its own: it takes the requests to know it.
	 */
	while (structured && !s->cut && p < end) {
		if (end - p < NBD_SIMPLE_REPLY_BYTES)
			return; /* cut off by a connection that ended */
		if (nbd_get32(p) == NBD_MAGIC_SIMPLE) {
			assert(nbd_get32(p + 4) == 0);
			p += NBD_SIMPLE_REPLY_BYTES;
			continue;
		}
		assert(nbd_get32(p) == NBD_MAGIC_STRUCTURED);
		if (end - p < NBD_CHUNK_HEADER_BYTES)
			return;
		uint16_t type = nbd_get16(p + 6);
		uint32_t len = nbd_get32(p + 16);
		assert(nbd_get16(p + 4) == NBD_CHUNK_DONE);
		p += NBD_CHUNK_HEADER_BYTES;
		if ((size_t)(end - p) < len)
			return;
		if (type == NBD_CHUNK_ERROR) {
			assert(len >= 6 && nbd_get32(p) != 0 && nbd_get16(p + 4) == len - 6);
		} else if (type == NBD_CHUNK_OFFSET_DATA) {
			assert(len > 8 && nbd_get64(p) + (len - 8) <= EXPORT_BYTES);
		} else {
			assert(type == NBD_CHUNK_BLOCK_STATUS && len >= 12 && (len - 4) % 8 == 0);
			for (uint32_t at = 4; at < len; at += 8)
				assert(nbd_get32(p + at) > 0 && nbd_get32(p + at + 4) <= 3);
		}
		p += len;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct said said;
	int fd[2];
	if (!loop)
		set_up();
	if (size < 2)
		return 0;
	bool structured = data[0] & 1, meta = structured && data[0] & 2;
	struct ram_export *e = &exports[(data[0] >> 2) % ram.n];
	size_t piece = data[1] ? (size_t)data[1] * 16 : SIZE_MAX;
	data += 2;
	size -= 2;

	assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd) == 0);
	said.n = 0;
	said.cut = false;
	negotiate(fd[0], e->info.name, structured, meta);
	assert(dray_nbd_server_serve(srv, fd[1]) == 0);
	for (size_t at = 0; at < size;) {
		size_t n = size - at < piece ? size - at : piece;
		ssize_t r = send(fd[0], data + at, n, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (r < 0 && errno != EAGAIN)
			break;
		at += r > 0 ? (size_t)r : 0;
		dray_loop_once(loop, 0);
		listen_to(fd[0], &said);
	}
	shutdown(fd[0], SHUT_WR);
	for (int i = 0; e->refs || e->clients || i < 8; i++) {
		assert(i < 100000);
		dray_loop_once(loop, i < 8 ? 0 : 100000);
		listen_to(fd[0], &said);
	}
	close(fd[0]);
	assert(e->bufs == 0 && e->buf_bytes == 0);
	check_said(&said, structured);
	return 0;
}
