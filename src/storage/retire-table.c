/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What each kind of storage can be asked for when it is retired: one table, from which the table in docs/RETIRE.md
 * is written.
 *
 * What decided the cells:
 *  - a way must do to exactly this storage what it says, and to nothing else: so a slice is only written inside, an array or
 *    a multipath device is never taken apart, and nothing is deleted or renamed that has no name of its own to lose;
 *  - it must not be undone by somebody within minutes: multipathd makes a map writable again at its next reload;
 *  - it must not outlast the storage and hit the next one: BLKROSET stays on a loop device that is detached and attached to
 *    another file;
 *  - it need not last over a restart of the host, but then the table says so;
 *  - a test has to have done it to such a storage. What none ever did is refused, with what to do instead: so the kinds with none
 *    but refusals.
 */
#include "storage/retire.h"

#include <assert.h>
#include <string.h>

static const char *const ways[] = {
#define X(name, word) [DRAY_RETIRE_##name] = word,
	DRAY_RETIRE_WAYS(X)
#undef X
};

static const char *const kinds[] = {
#define X(name, word) [DRAY_RETIRE_KIND_##name] = word,
	DRAY_RETIRE_KINDS(X)
#undef X
};

#define YES(what, how_long) { .does = what, .lasts = how_long }
#define NO(why)             { .no = why }

#define NOTHING   YES("left as it is", "yes")
#define ZEROED    YES("zeroes are written over all of it and flushed", "yes")
#define UNMAPPED  YES("all its blocks are given back (BLKDISCARD); what is read afterwards is the device's choice", "yes")
#define SET_RO    YES("the kernel takes no more writes (BLKROSET)", "no: until the device appears again")
#define NO_DELETE NO("a device can't be deleted")
#define NO_RENAME NO("a device has no name of its own")
#define NO_OFFLINE NO("the kernel has no way to take such a device offline")
/* Of a kind that dray leaves alone, in no way. */
#define NONE_OF_IT(why) { \
	[DRAY_RETIRE_NONE] = NOTHING, [DRAY_RETIRE_READ_ONLY] = NO(why), [DRAY_RETIRE_OFFLINE] = NO(why), [DRAY_RETIRE_DISCARD] = NO(why), \
	[DRAY_RETIRE_ZERO] = NO(why), [DRAY_RETIRE_DELETE] = NO(why), [DRAY_RETIRE_RENAME] = NO(why) }

static const struct dray_retire_cell whole[DRAY_RETIRE_KIND_COUNT][DRAY_RETIRE_COUNT] = {
	[DRAY_RETIRE_KIND_FILE] = {
		[DRAY_RETIRE_NONE] = NOTHING,
		[DRAY_RETIRE_READ_ONLY] = YES("its write permission bits are taken away; root can still write", "yes"),
		[DRAY_RETIRE_OFFLINE] = YES("all its permission bits are taken away; root can still open it", "yes"),
		[DRAY_RETIRE_DISCARD] = YES("a hole is punched over all of it; the size stays, zeroes are read", "yes"),
		[DRAY_RETIRE_ZERO] = YES("zeroes are written over its data and flushed; holes stay holes", "yes"),
		[DRAY_RETIRE_DELETE] = YES("renamed out of the way, then removed", "yes"),
		[DRAY_RETIRE_RENAME] = YES("renamed to NAME.retired-SESSIONID", "yes"),
	},
	[DRAY_RETIRE_KIND_LV] = {
		[DRAY_RETIRE_NONE] = NOTHING,
		[DRAY_RETIRE_READ_ONLY] = YES("lvchange --permission r", "yes"),
		[DRAY_RETIRE_OFFLINE] = YES("deactivated, and skipped when its group is activated (lvchange)", "yes"),
		[DRAY_RETIRE_DISCARD] = UNMAPPED,
		[DRAY_RETIRE_ZERO] = ZEROED,
		[DRAY_RETIRE_DELETE] = YES("lvremove", "yes"),
		[DRAY_RETIRE_RENAME] = YES("lvrename to NAME.retired-SESSIONID", "yes"),
	},
	[DRAY_RETIRE_KIND_SCSI] = {
		[DRAY_RETIRE_NONE] = NOTHING,
		[DRAY_RETIRE_READ_ONLY] = SET_RO,
		[DRAY_RETIRE_OFFLINE] = YES("the kernel fails all I/O to it (its state in /sys becomes offline)",
			"no: until the device appears again"),
		[DRAY_RETIRE_DISCARD] = UNMAPPED,
		[DRAY_RETIRE_ZERO] = ZEROED,
		[DRAY_RETIRE_DELETE] = NO_DELETE,
		[DRAY_RETIRE_RENAME] = NO_RENAME,
	},
	[DRAY_RETIRE_KIND_DISK] = {
		[DRAY_RETIRE_NONE] = NOTHING,
		[DRAY_RETIRE_READ_ONLY] = SET_RO,
		[DRAY_RETIRE_OFFLINE] = NO_OFFLINE,
		[DRAY_RETIRE_DISCARD] = UNMAPPED,
		[DRAY_RETIRE_ZERO] = ZEROED,
		[DRAY_RETIRE_DELETE] = NO_DELETE,
		[DRAY_RETIRE_RENAME] = NO_RENAME,
	},
	[DRAY_RETIRE_KIND_PARTITION] = {
		[DRAY_RETIRE_NONE] = NOTHING,
		[DRAY_RETIRE_READ_ONLY] = YES("the kernel takes no more writes through it (BLKROSET); the disk can still be written",
			"no: until the device appears again"),
		[DRAY_RETIRE_OFFLINE] = NO("the disk it is on would go with it"),
		[DRAY_RETIRE_DISCARD] = UNMAPPED,
		[DRAY_RETIRE_ZERO] = ZEROED,
		[DRAY_RETIRE_DELETE] = NO("the partition table is not dray's to change"),
		[DRAY_RETIRE_RENAME] = NO("the partition table is not dray's to change"),
	},
	[DRAY_RETIRE_KIND_LOOP] = {
		[DRAY_RETIRE_NONE] = NOTHING,
		[DRAY_RETIRE_READ_ONLY] = NO("the device would stay read-only for whatever is attached to it next"),
		[DRAY_RETIRE_OFFLINE] = NO("what set it up takes it away: losetup --detach"),
		[DRAY_RETIRE_DISCARD] = YES("all its blocks are given back (BLKDISCARD): a hole in its file", "yes"),
		[DRAY_RETIRE_ZERO] = ZEROED,
		[DRAY_RETIRE_DELETE] = NO_DELETE,
		[DRAY_RETIRE_RENAME] = NO_RENAME,
	},
	[DRAY_RETIRE_KIND_NBD] = {
		[DRAY_RETIRE_NONE] = NOTHING,
		[DRAY_RETIRE_READ_ONLY] = NO("the protocol has no such request"),
		[DRAY_RETIRE_OFFLINE] = NO("the protocol has no such request"),
		[DRAY_RETIRE_DISCARD] = YES("all its blocks are given back (trim); what is read afterwards is the server's choice", "yes"),
		[DRAY_RETIRE_ZERO] = YES("the server writes zeroes over all of it and flushes them", "yes"),
		[DRAY_RETIRE_DELETE] = NO("the protocol has no such request"),
		[DRAY_RETIRE_RENAME] = NO("the protocol has no such request"),
	},
	[DRAY_RETIRE_KIND_KERNEL_NBD] = NONE_OF_IT("not supported: name the export by its nbd: URI, or retire it at its server"),
	[DRAY_RETIRE_KIND_MD] = NONE_OF_IT("not supported: stop it (mdadm --stop) and wipe its members by hand"),
	[DRAY_RETIRE_KIND_MULTIPATH] = NONE_OF_IT("not supported: flush its map (multipath -f), or retire it at its storage array"),
	[DRAY_RETIRE_KIND_DM] = NONE_OF_IT("not supported: take it down (dmsetup remove) and wipe what it is made of by hand"),
	[DRAY_RETIRE_KIND_DEVICE] = NONE_OF_IT("not supported: it is of a kind that dray does not know"),
	[DRAY_RETIRE_KIND_OTHER] = {
		[DRAY_RETIRE_NONE] = NOTHING,
		[DRAY_RETIRE_READ_ONLY] = NO("it can only be written to"),
		[DRAY_RETIRE_OFFLINE] = NO("it can only be written to"),
		[DRAY_RETIRE_DISCARD] = YES("all its blocks are given back", "yes"),
		[DRAY_RETIRE_ZERO] = ZEROED,
		[DRAY_RETIRE_DELETE] = NO("it can only be written to"),
		[DRAY_RETIRE_RENAME] = NO("it can only be written to"),
	},
};

/* H23: nothing of a part may reach its neighbours. */
static const struct dray_retire_cell part[DRAY_RETIRE_COUNT] = {
	[DRAY_RETIRE_NONE] = NOTHING,
	[DRAY_RETIRE_READ_ONLY] = NO("a slice: the rest of it would become read-only too"),
	[DRAY_RETIRE_OFFLINE] = NO("a slice: the rest of it would go offline too"),
	[DRAY_RETIRE_DISCARD] = YES("the blocks that lie wholly inside the slice are given back, the rest of it is zeroed", "yes"),
	[DRAY_RETIRE_ZERO] = YES("zeroes are written over the slice, and nothing else, and flushed", "yes"),
	[DRAY_RETIRE_DELETE] = NO("a slice: the rest of it would be deleted too"),
	[DRAY_RETIRE_RENAME] = NO("a slice has no name of its own"),
};

const char *dray_retire_word(enum dray_retire_way way)
{
	assert(way < DRAY_RETIRE_COUNT);
	return ways[way];
}

int dray_retire_from_word(const char *word)
{
	for (int i = 0; i < DRAY_RETIRE_COUNT; i++)
		if (!strcmp(ways[i], word))
			return i;
	return -1;
}

const char *dray_retire_kind_word(enum dray_retire_kind kind)
{
	assert(kind < DRAY_RETIRE_KIND_COUNT);
	return kinds[kind];
}

const struct dray_retire_cell *dray_retire_cell(enum dray_retire_kind kind, bool slice, enum dray_retire_way way)
{
	assert(kind < DRAY_RETIRE_KIND_COUNT && way < DRAY_RETIRE_COUNT);
	/* What may not be written as a whole may not be in a part. */
	const struct dray_retire_cell *all = &whole[kind][way];
	return slice && !(part[way].does && all->no) ? &part[way] : all;
}

bool dray_retire_destroys(enum dray_retire_way way)
{
	return way == DRAY_RETIRE_DISCARD || way == DRAY_RETIRE_ZERO || way == DRAY_RETIRE_DELETE;
}
