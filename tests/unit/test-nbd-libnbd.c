/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libnbd, another implementation of the protocol, against the server: every command, every flag, every option
 * and the error of each thing that can be refused. The server runs on a thread of its own, over memory.
 */
#include "nbd/server.h"
#include "../nbd-ram.h"

#include <libnbd.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>
#include <cmocka.h>

#define SIZE (UINT64_C(4) << 20)

enum { DISK, RO, PLAIN, BLOCKS, ERRORS, N };
static struct ram_export exports[N];
static struct ram ram = {exports, N};
static struct dray_loop *loop;
static struct dray_nbd_server *srv;
static pthread_t thread;
static char dir[] = "/tmp/dray-nbd-XXXXXX", path[64];
static char uri_buf[128];

static void *run(void *arg)
{
	dray_loop_run(loop);
	return NULL;
}

static void stopped(void *arg)
{
	dray_loop_stop(loop);
}

static int set_up(void **state)
{
	static const char *const names[N] = {"disk", "ro", "plain", "blocks", "errors"};
	struct dray_nbd_limits limits = {.max_payload_bytes = 1 << 20};
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof path, "%s/s", dir);
	assert_int_equal(dray_loop_new(&loop, DRAY_LOOP_AUTO, 64, NULL), 0);
	for (unsigned i = 0; i < N; i++) {
		ram_export_init(&exports[i], names[i], SIZE);
		exports[i].loop = loop;
	}
	exports[RO].info.read_only = true;
	struct dray_nbd_export_info *p = &exports[PLAIN].info;
	p->can_multi_conn = p->can_fast_zero = p->can_trim = p->can_fua = p->can_cache = p->can_extents =
		false;
	p->rotational = true;
	exports[BLOCKS].info.block_min = 512;
	exports[BLOCKS].info.block_max = 65536;
	exports[ERRORS].errors = true;
	struct dray_error err = DRAY_ERROR_INIT;
	assert_int_equal(dray_nbd_server_new(&srv, loop, &limits, &ram_ops, &ram), 0);
	int fd = dray_nbd_listen_unix(path, &err);
	assert_true(fd >= 0);
	assert_int_equal(dray_nbd_server_listen(srv, fd, &err), 0);
	return pthread_create(&thread, NULL, run, NULL);
}

static int tear_down(void **state)
{
	dray_nbd_server_stop(srv, stopped, NULL);
	pthread_join(thread, NULL);
	dray_nbd_server_free(srv);
	dray_loop_free(loop);
	for (unsigned i = 0; i < N; i++)
		ram_export_free(&exports[i]);
	unlink(path);
	rmdir(dir);
	return 0;
}

/* ---- helpers ---- */

static struct nbd_handle *client(void)
{
	struct nbd_handle *h = nbd_create();
	assert_non_null(h);
	/* Mistakes are ours to send and the server's to refuse. */
	assert_int_equal(nbd_set_strict_mode(h, 0), 0);
	return h;
}

static void hook_up(struct nbd_handle *h)
{
	if (nbd_connect_unix(h, path) < 0)
		fail_msg("connect: %s", nbd_get_error());
}

static struct nbd_handle *open_export(const char *name)
{
	struct nbd_handle *h = client();
	nbd_set_export_name(h, name);
	nbd_add_meta_context(h, LIBNBD_CONTEXT_BASE_ALLOCATION);
	hook_up(h);
	return h;
}

static void done(struct nbd_handle *h)
{
	assert_int_equal(nbd_shutdown(h, 0), 0);
	nbd_close(h);
}

static void expect_errno(int rc, int error)
{
	assert_int_equal(rc, -1);
	if (nbd_get_errno() != error)
		fail_msg("errno %d instead of %d: %s", nbd_get_errno(), error, nbd_get_error());
}

static const char *uri(const char *name)
{
	snprintf(uri_buf, sizeof uri_buf, "nbd+unix:///%s?socket=%s", name, path);
	return uri_buf;
}

static uint8_t buf[2 << 20], back[2 << 20];

static void pattern(uint8_t *p, size_t n, unsigned seed)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)(i * 7 + (i >> 8) * 13 + seed);
}

static void expect_text(char *text, const char *want)
{
	assert_non_null(text);
	assert_string_equal(text, want);
	free(text);
}

/* ---- what is offered ---- */

static void offers(void **state)
{
	struct nbd_handle *h = open_export("disk");
	assert_int_equal(nbd_get_size(h), SIZE);
	assert_string_equal(nbd_get_protocol(h), "newstyle-fixed");
	assert_int_equal(nbd_get_structured_replies_negotiated(h), 1);
	assert_int_equal(nbd_can_meta_context(h, LIBNBD_CONTEXT_BASE_ALLOCATION), 1);
	assert_int_equal(nbd_is_read_only(h), 0);
	assert_int_equal(nbd_is_rotational(h), 0);
	assert_int_equal(nbd_can_cache(h), 1);
	assert_int_equal(nbd_can_df(h), 1);
	assert_int_equal(nbd_can_fast_zero(h), 1);
	assert_int_equal(nbd_can_flush(h), 1);
	assert_int_equal(nbd_can_fua(h), 1);
	assert_int_equal(nbd_can_multi_conn(h), 1);
	assert_int_equal(nbd_can_trim(h), 1);
	assert_int_equal(nbd_can_zero(h), 1);
	assert_int_equal(nbd_get_block_size(h, LIBNBD_SIZE_MINIMUM), 1);
	assert_int_equal(nbd_get_block_size(h, LIBNBD_SIZE_PREFERRED), 4096);
	assert_int_equal(nbd_get_block_size(h, LIBNBD_SIZE_MAXIMUM), 1 << 20);
	done(h);

	h = open_export("plain");
	assert_int_equal(nbd_can_meta_context(h, LIBNBD_CONTEXT_BASE_ALLOCATION), 0);
	assert_int_equal(nbd_is_rotational(h), 1);
	assert_int_equal(nbd_can_cache(h) + nbd_can_fast_zero(h) + nbd_can_fua(h) + nbd_can_multi_conn(h) +
				 nbd_can_trim(h),
		0);
	assert_int_equal(nbd_can_zero(h), 1);
	done(h);

	h = open_export("ro");
	assert_int_equal(nbd_is_read_only(h), 1);
	assert_int_equal(nbd_can_trim(h) + nbd_can_zero(h) + nbd_can_fast_zero(h), 0);
	done(h);

	h = open_export("blocks");
	assert_int_equal(nbd_get_block_size(h, LIBNBD_SIZE_MINIMUM), 512);
	assert_int_equal(nbd_get_block_size(h, LIBNBD_SIZE_MAXIMUM), 65536);
	done(h);
}

/* ---- commands ---- */

static void reads_and_writes(void **state)
{
	/* On both sides of what is copied out of the receive buffer and what is received straight into place.
	 */
	static const size_t sizes[] = {
		1, 511, 512, 4096, 16383, 16384, 16385, 65536, 262144, 262145, 1000001, 1 << 20};
	for (int structured = 0; structured < 2; structured++) {
		struct nbd_handle *h = client();
		nbd_set_export_name(h, "disk");
		nbd_set_request_structured_replies(h, structured);
		hook_up(h);
		assert_int_equal(nbd_get_structured_replies_negotiated(h), structured);
		for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
			uint64_t at = i * 12345;
			pattern(buf, sizes[i], (unsigned)i);
			uint32_t flags = i % 2 ? LIBNBD_CMD_FLAG_FUA : 0;
			assert_int_equal(nbd_pwrite(h, buf, sizes[i], at, flags), 0);
			memset(back, 0, sizes[i]);
			assert_int_equal(nbd_pread(h, back, sizes[i], at, 0), 0);
			assert_memory_equal(buf, back, sizes[i]);
			assert_memory_equal(exports[DISK].data + at, buf, sizes[i]);
		}
		done(h);
	}
}

struct seen {
	unsigned chunks;
	uint64_t bytes;
};

static int on_chunk(void *user, const void *p, size_t n, uint64_t offset, unsigned status, int *error)
{
	struct seen *s = user;
	s->chunks++;
	s->bytes += n;
	assert_int_equal(status, LIBNBD_READ_DATA);
	return 0;
}

static void do_not_fragment(void **state)
{
	struct nbd_handle *h = open_export("disk");
	struct seen s = {0};
	assert_int_equal(nbd_pread_structured(h, back, 1 << 20, 4096,
				 (nbd_chunk_callback){on_chunk, &s, NULL}, LIBNBD_CMD_FLAG_DF),
		0);
	assert_int_equal(s.chunks, 1);
	assert_int_equal(s.bytes, 1 << 20);
	done(h);
}

static void flags_reach_the_backend(void **state)
{
	struct nbd_handle *h = open_export("disk");
	struct ram_export *e = &exports[DISK];
	unsigned long fua = e->fua, fast = e->fast, unmap = e->unmap, flushes = e->flushes;
	assert_int_equal(nbd_zero(h, 4096, 0, LIBNBD_CMD_FLAG_FUA | LIBNBD_CMD_FLAG_NO_HOLE), 0);
	assert_true(e->fua == fua + 1 && e->unmap == unmap && e->fast == fast);
	assert_int_equal(nbd_zero(h, 4096, 0, LIBNBD_CMD_FLAG_FAST_ZERO), 0);
	assert_true(e->fua == fua + 1 && e->unmap == unmap + 1 && e->fast == fast + 1);
	assert_int_equal(nbd_trim(h, 4096, 0, LIBNBD_CMD_FLAG_FUA), 0);
	assert_true(e->fua == fua + 2);
	assert_int_equal(nbd_flush(h, 0), 0);
	assert_int_equal(e->flushes, flushes + 1);
	assert_int_equal(nbd_cache(h, 1 << 20, 0, 0), 0);
	done(h);
}

static void zeroes_and_trim(void **state)
{
	struct nbd_handle *h = open_export("disk");
	memset(buf, 0xaa, 65536);
	assert_int_equal(nbd_pwrite(h, buf, 65536, 0, 0), 0);
	assert_int_equal(nbd_zero(h, 8192, 4096, 0), 0);
	assert_int_equal(nbd_trim(h, 8192, 32768, 0), 0);
	assert_int_equal(nbd_pread(h, back, 65536, 0, 0), 0);
	memset(buf + 4096, 0, 8192);
	memset(buf + 32768, 0, 8192);
	assert_memory_equal(buf, back, 65536);
	/* More than one request may carry, all at once. */
	assert_int_equal(nbd_zero(h, SIZE, 0, 0), 0);
	assert_int_equal(nbd_trim(h, SIZE, 0, 0), 0);
	done(h);
}

struct map {
	unsigned calls;
	size_t n;
	uint32_t entries[64];
};

static int on_extents(
	void *user, const char *context, uint64_t offset, uint32_t *entries, size_t n, int *error)
{
	struct map *m = user;
	assert_string_equal(context, LIBNBD_CONTEXT_BASE_ALLOCATION);
	m->calls++;
	m->n = n;
	memcpy(m->entries, entries, (n < 64 ? n : 64) * sizeof *entries);
	return 0;
}

static void block_status(void **state)
{
	struct nbd_handle *h = open_export("disk");
	struct map m = {0};
	assert_int_equal(nbd_trim(h, SIZE, 0, 0), 0);
	assert_int_equal(nbd_pwrite(h, buf, 8192, 16384, 0), 0);
	assert_int_equal(nbd_block_status(h, SIZE, 0, (nbd_extent_callback){on_extents, &m, NULL}, 0), 0);
	const uint32_t all[] = {16384, 3, 8192, 0, SIZE - 24576, 3};
	assert_int_equal(m.calls, 1);
	assert_int_equal(m.n, 6);
	assert_memory_equal(m.entries, all, sizeof all);
	/* The last extent ends where the question does. */
	assert_int_equal(nbd_block_status(h, 5000, 15000, (nbd_extent_callback){on_extents, &m, NULL}, 0), 0);
	const uint32_t some[] = {1384, 3, 3616, 0};
	assert_int_equal(m.n, 4);
	assert_memory_equal(m.entries, some, sizeof some);
	assert_int_equal(nbd_block_status(h, SIZE, 0, (nbd_extent_callback){on_extents, &m, NULL},
				 LIBNBD_CMD_FLAG_REQ_ONE),
		0);
	assert_int_equal(m.n, 2);
	assert_memory_equal(m.entries, all, 8);
	done(h);
}

static void many_in_flight(void **state)
{
	/* More than the server takes at once, of mixed sizes, through several connections at the same time.
	 */
	enum { CONNS = 4, EACH = 300 };
	struct nbd_handle *h[CONNS];
	static int64_t cookies[CONNS][EACH];
	pattern(buf, 65536, 99);
	for (int c = 0; c < CONNS; c++)
		h[c] = open_export("disk");
	for (int i = 0; i < EACH; i++)
		for (int c = 0; c < CONNS; c++) {
			size_t n = i % 3 ? 512 : 20000;
			uint64_t at = (uint64_t)(i % 40 + c * 40) * 20480;
			cookies[c][i] = i % 2 ? nbd_aio_pwrite(h[c], buf, n, at, NBD_NULL_COMPLETION, 0)
					      : nbd_aio_pread(h[c], back, n, at, NBD_NULL_COMPLETION, 0);
			assert_true(cookies[c][i] >= 0);
		}
	for (int c = 0; c < CONNS; c++) {
		while (nbd_aio_in_flight(h[c]) > 0)
			assert_true(nbd_poll(h[c], 60000) == 1);
		for (int i = 0; i < EACH; i++)
			assert_int_equal(nbd_aio_command_completed(h[c], (uint64_t)cookies[c][i]), 1);
		done(h[c]);
	}
}

/* ---- refusals ---- */

/* Everything that is refused leaves the connection usable. */
static void still_works(struct nbd_handle *h)
{
	assert_int_equal(nbd_pread(h, back, 512, 0, 0), 0);
}

static void refused(struct nbd_handle *h)
{
	struct map m;
	nbd_extent_callback on = {on_extents, &m, NULL};
	expect_errno(nbd_pread(h, back, 4096, SIZE - 4095, 0), EINVAL);
	expect_errno(nbd_pread(h, back, (1 << 20) + 1, 0, 0), EINVAL);
	expect_errno(nbd_pread(h, back, 0, 0, 0), EINVAL);
	still_works(h);
	expect_errno(nbd_pwrite(h, buf, 4096, SIZE, 0), ENOSPC);
	expect_errno(nbd_pwrite(h, buf, 1 << 20, SIZE - 4096, 0), ENOSPC);
	expect_errno(nbd_pwrite(h, buf, (1 << 20) + 1, 0, 0), EINVAL);
	expect_errno(nbd_pwrite(h, buf, sizeof buf, 0, 0), EINVAL);
	still_works(h);
	expect_errno(nbd_zero(h, 4096, SIZE - 1, 0), ENOSPC);
	expect_errno(nbd_trim(h, 4096, SIZE - 1, 0), EINVAL);
	expect_errno(nbd_cache(h, 4096, SIZE - 1, 0), EINVAL);
	expect_errno(nbd_block_status(h, 4096, SIZE - 1, on, 0), EINVAL);
	still_works(h);
	expect_errno(nbd_pwrite(h, buf, 4096, 0, 0x8000), EINVAL);
	expect_errno(nbd_pread(h, back, 4096, 0, LIBNBD_CMD_FLAG_NO_HOLE), EINVAL);
	expect_errno(nbd_flush(h, LIBNBD_CMD_FLAG_DF), EINVAL);
	still_works(h);
}

static void refusals(void **state)
{
	struct nbd_handle *h = open_export("disk");
	refused(h);
	done(h);
}

static void refusals_without_structured_replies(void **state)
{
	struct nbd_handle *h = client();
	nbd_set_export_name(h, "disk");
	nbd_set_request_structured_replies(h, false);
	hook_up(h);
	expect_errno(nbd_pread(h, back, 4096, SIZE - 4095, 0), EINVAL);
	expect_errno(nbd_pread(h, back, 4096, 0, LIBNBD_CMD_FLAG_DF), EINVAL);
	expect_errno(nbd_pwrite(h, buf, (1 << 20) + 1, 0, 0), EINVAL);
	expect_errno(nbd_pwrite(h, buf, 4096, SIZE, 0), ENOSPC);
	still_works(h);
	done(h);
}

static void read_only(void **state)
{
	struct nbd_handle *h = open_export("ro");
	expect_errno(nbd_pwrite(h, buf, 1 << 20, 0, 0), EPERM);
	expect_errno(nbd_zero(h, 4096, 0, 0), EPERM);
	expect_errno(nbd_trim(h, 4096, 0, 0), EPERM);
	assert_int_equal(nbd_flush(h, 0), 0);
	still_works(h);
	done(h);
}

static void not_offered(void **state)
{
	struct map m;
	struct nbd_handle *h = open_export("plain");
	expect_errno(nbd_trim(h, 4096, 0, 0), EINVAL);
	expect_errno(nbd_cache(h, 4096, 0, 0), EINVAL);
	expect_errno(nbd_pwrite(h, buf, 4096, 0, LIBNBD_CMD_FLAG_FUA), EINVAL);
	expect_errno(nbd_zero(h, 4096, 0, LIBNBD_CMD_FLAG_FAST_ZERO), EINVAL);
	expect_errno(nbd_block_status(h, 4096, 0, (nbd_extent_callback){on_extents, &m, NULL}, 0), EINVAL);
	assert_int_equal(nbd_zero(h, 4096, 0, 0), 0);
	still_works(h);
	done(h);
}

static void unaligned(void **state)
{
	struct nbd_handle *h = open_export("blocks");
	assert_int_equal(nbd_pwrite(h, buf, 512, 512, 0), 0);
	expect_errno(nbd_pwrite(h, buf, 512, 100, 0), EINVAL);
	expect_errno(nbd_pread(h, back, 100, 0, 0), EINVAL);
	expect_errno(nbd_zero(h, 513, 0, 0), EINVAL);
	expect_errno(nbd_trim(h, 512, 1, 0), EINVAL);
	expect_errno(nbd_pread(h, back, 65536 + 512, 0, 0), EINVAL);
	still_works(h);
	done(h);
}

static void errors_of_the_storage(void **state)
{
	static const int as_seen[] = {EIO, ENOSPC, ENOMEM, EPERM, EINVAL, EINVAL, ESHUTDOWN, EPERM};
	for (int structured = 0; structured < 2; structured++) {
		struct nbd_handle *h = client();
		nbd_set_export_name(h, "errors");
		nbd_set_request_structured_replies(h, structured);
		hook_up(h);
		for (size_t i = 0; i < sizeof as_seen / sizeof as_seen[0]; i++) {
			uint64_t at = (i + 1) * RAM_BLOCK;
			expect_errno(nbd_pread(h, back, 4096, at, 0), as_seen[i]);
			expect_errno(nbd_pwrite(h, buf, 4096, at, 0), as_seen[i]);
			expect_errno(nbd_zero(h, 4096, at, 0), as_seen[i]);
			still_works(h);
		}
		/* "Not fast" is an answer only to who asked for fast. */
		expect_errno(nbd_zero(h, 4096, 6 * RAM_BLOCK, LIBNBD_CMD_FLAG_FAST_ZERO), ENOTSUP);
		done(h);
	}
}

/* ---- options ---- */

static int on_name(void *user, const char *name, const char *description)
{
	unsigned *n = user;
	assert_string_equal(name, exports[*n].info.name);
	assert_string_equal(description, exports[*n].info.description);
	(*n)++;
	return 0;
}

static int on_context(void *user, const char *name)
{
	assert_string_equal(name, LIBNBD_CONTEXT_BASE_ALLOCATION);
	(*(unsigned *)user)++;
	return 0;
}

static void options(void **state)
{
	struct nbd_handle *h = client();
	nbd_set_opt_mode(h, true);
	nbd_set_full_info(h, true);
	hook_up(h);
	unsigned n = 0;
	assert_int_equal(nbd_opt_list(h, (nbd_list_callback){on_name, &n, NULL}), N);
	assert_int_equal(n, N);
	nbd_set_export_name(h, "ro");
	assert_int_equal(nbd_opt_info(h), 0);
	assert_int_equal(nbd_is_read_only(h), 1);
	expect_text(nbd_get_canonical_export_name(h), "ro");
	expect_text(nbd_get_export_description(h), "ro in memory");
	n = 0;
	assert_int_equal(nbd_opt_list_meta_context(h, (nbd_context_callback){on_context, &n, NULL}), 1);
	nbd_set_export_name(h, "nothing");
	expect_errno(nbd_opt_info(h), ENOENT);
	expect_errno(nbd_opt_go(h), ENOENT);
	nbd_set_export_name(h, "");
	nbd_add_meta_context(h, LIBNBD_CONTEXT_BASE_ALLOCATION);
	assert_int_equal(nbd_opt_go(h), 0);
	expect_text(nbd_get_canonical_export_name(h), "disk");
	assert_int_equal(nbd_can_meta_context(h, LIBNBD_CONTEXT_BASE_ALLOCATION), 1);
	still_works(h);
	done(h);

	h = client();
	nbd_set_opt_mode(h, true);
	hook_up(h);
	assert_int_equal(nbd_opt_abort(h), 0);
	nbd_close(h);
}

static void old_handshakes(void **state)
{
	static const uint32_t flags[] = {
		0, LIBNBD_HANDSHAKE_FLAG_FIXED_NEWSTYLE, LIBNBD_HANDSHAKE_FLAG_NO_ZEROES};
	for (size_t i = 0; i < 3; i++) {
		struct nbd_handle *h = client();
		nbd_set_handshake_flags(h, flags[i]);
		nbd_set_export_name(h, "disk");
		hook_up(h);
		assert_int_equal(nbd_get_size(h), SIZE);
		still_works(h);
		done(h);
	}
}

static void uris_and_unknown_exports(void **state)
{
	struct nbd_handle *h = client();
	assert_int_equal(nbd_connect_uri(h, uri("disk")), 0);
	still_works(h);
	done(h);
	h = client();
	expect_errno(nbd_connect_uri(h, uri("nothing")), ENOENT);
	nbd_close(h);
	h = client();
	nbd_set_tls(h, LIBNBD_TLS_REQUIRE);
	assert_int_equal(nbd_connect_unix(h, path), -1);
	nbd_close(h);
}

/* Ends all connections to one export, and no others. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t told = PTHREAD_COND_INITIALIZER;
static int n_told;

static void disconnected(void *arg)
{
	pthread_mutex_lock(&lock);
	n_told++;
	pthread_cond_signal(&told);
	pthread_mutex_unlock(&lock);
}

static void disconnect(void **state)
{
	struct nbd_handle *a = open_export("disk"), *b = open_export("disk"), *other = open_export("plain");
	still_works(a);
	still_works(b);
	n_told = 0;
	assert_int_equal(dray_nbd_server_disconnect(srv, "disk", disconnected, NULL), 0);
	assert_int_equal(dray_nbd_server_disconnect(srv, "nothing", disconnected, NULL), 0);
	pthread_mutex_lock(&lock);
	while (n_told < 2)
		pthread_cond_wait(&told, &lock);
	pthread_mutex_unlock(&lock);
	assert_int_equal(exports[DISK].clients, 0);
	assert_int_equal(exports[DISK].refs, 0);
	assert_int_equal(nbd_pread(a, back, 512, 0, 0), -1);
	assert_int_equal(nbd_pread(b, back, 512, 0, 0), -1);
	still_works(other);
	nbd_close(a);
	nbd_close(b);
	done(other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(offers),
		cmocka_unit_test(reads_and_writes),
		cmocka_unit_test(do_not_fragment),
		cmocka_unit_test(flags_reach_the_backend),
		cmocka_unit_test(zeroes_and_trim),
		cmocka_unit_test(block_status),
		cmocka_unit_test(many_in_flight),
		cmocka_unit_test(refusals),
		cmocka_unit_test(refusals_without_structured_replies),
		cmocka_unit_test(read_only),
		cmocka_unit_test(not_offered),
		cmocka_unit_test(unaligned),
		cmocka_unit_test(errors_of_the_storage),
		cmocka_unit_test(options),
		cmocka_unit_test(old_handshakes),
		cmocka_unit_test(uris_and_unknown_exports),
		cmocka_unit_test(disconnect),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
