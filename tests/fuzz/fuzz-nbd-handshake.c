/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Any bytes as a client's negotiation, in pieces of a size that the first byte chooses. Checked beside memory
 * safety: what the server says is always well-formed and comes in bounded amounts, progress is made or more
 * is asked for, and no reference to an export is left behind.
 */
#include "nbd/negotiate.h"
#include "nbd/proto.h"
#include "../nbd-ram.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The answers to options, from the front of what one step produced. */
static void check_answers(const uint8_t *p, size_t n)
{
	while (n) {
		assert(n >= NBD_ANSWER_HEADER_BYTES && nbd_get64(p) == NBD_MAGIC_ANSWER);
		size_t len = nbd_get32(p + 16);
		assert(len <= n - NBD_ANSWER_HEADER_BYTES);
		p += NBD_ANSWER_HEADER_BYTES + len;
		n -= NBD_ANSWER_HEADER_BYTES + len;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct ram_export exports[3];
	static struct ram ram = {exports, 3};
	if (!exports[0].data) {
		ram_export_init(&exports[0], "disk", 65536);
		ram_export_init(&exports[1], "ro", 65536);
		ram_export_init(&exports[2], "plain", 65536);
		exports[1].info.read_only = true;
		exports[2].info.can_extents = false;
	}
	if (size == 0)
		return 0;
	size_t piece = data[0] ? data[0] : SIZE_MAX;
	data++;
	size--;

	struct dray_nego n;
	dray_nego_init(&n, &ram_ops, &ram, 32 << 20);
	assert(n.out_len == NBD_GREETING_BYTES);
	n.out_len = 0;
	size_t at = 0, seen = 0;
	for (;;) {
		size_t used, state = n.state;
		enum dray_nego_result r = dray_nego_feed(&n, data + at, seen - at, &used);
		assert(used <= seen - at);
		at += used;
		assert(n.out_len <= 65536 && n.out_len <= n.out_cap);
		bool export_name = r == DRAY_NEGO_TRANSMIT && (n.out_len == 10 || n.out_len == 134);
		if (!export_name)
			check_answers(n.out, n.out_len);
		n.out_len = 0;
		if (r == DRAY_NEGO_CLOSE) {
			assert(!n.handle);
			break;
		}
		if (r == DRAY_NEGO_TRANSMIT) {
			assert(n.handle && n.session.max_payload_bytes >= 65536);
			assert(!n.session.allocation || (n.session.structured && n.session.info.can_extents));
			break;
		}
		if (r == DRAY_NEGO_AGAIN) {
			assert(used || n.state != state);
			continue;
		}
		assert(seen - at < DRAY_NBD_OPTION_BYTES + NBD_OPTION_HEADER_BYTES);
		if (seen == size)
			break;
		seen = size - seen < piece ? size : seen + piece;
	}
	dray_nego_free(&n);
	for (unsigned i = 0; i < 3; i++)
		assert(exports[i].refs == 0);
	return 0;
}
