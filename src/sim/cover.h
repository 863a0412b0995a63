/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the generator made happen: one counter for each situation of HAZARDS that belongs to the engine, and for the tools
 * that make them. tests/sim/test-sim-coverage.sh fails if a counter stays zero over the seeds of `make check`:
 * a hazard that never occurs is not tested, however green the run.
 */
#ifndef DRAY_SIM_COVER_H
#define DRAY_SIM_COVER_H

/* clang-format off */
#define SIM_COVERS(X) \
	X(H1_VOLATILE_CLEAN, "H1: power could fail with unflushed data in a clean region") \
	X(H3_WRITE_UNDER_COPY_READ, "H3: a write came while a copy step read its range") \
	X(H4_WRITE_TO_PART_COPIED, "H4: a write came to a region that was copied in part") \
	X(H5_WRITE_UNDER_EXTENTS, "H5: a write came while holes of its range were asked for") \
	X(H6_LATE_COMPLETION, "H6: a secondary's write completed after leg_timeout") \
	X(H6_LANDED_LATE, "H6: a write landed after its connection was lost") \
	X(H6_LANDED_AFTER_RESTART, "H6: a write of the killed process landed later") \
	X(H7_STALL_WITH_WRITE, "H7: a write was under way on a leg that stalled") \
	X(H8_RECORD_HUNG, "H8: the record took longer than the deadline") \
	X(H8_RECORD_FAILED, "H8: the record failed with an unknown outcome") \
	X(H8_IN_DOUBT, "H8: a volume was in doubt") \
	X(H10_GROUP_SWITCHED, "H10: two or more volumes switched at one instant") \
	X(H10_CRASH_IN_GROUP, "H10: a crash between the record and the last apply of a group") \
	X(H12_WRITE_PAST_CLEAN, "H12: a write to a recorded clean region of a leg set aside") \
	X(H13_FLUSH_DROPPED, "H13: a secondary's flush failed and data was dropped") \
	X(H13_DROPPED_EARLY, "H13: a secondary dropped data long before it said that a flush failed") \
	X(H13_PRIMARY_FLUSH_DROPPED, "H13: the primary's flush failed and data was dropped") \
	X(H13_REOPENED_DROPPED, "H13: a storage was opened anew and had dropped data") \
	X(H13_PRIMARY_REOPENED_DROPPED, "H13: the primary was opened anew and had dropped data") \
	X(H15_DISCARD_MIRRORED, "H15: a discard to a clean region") \
	X(H16_WRITE_UNDER_VERIFY, "H16: a write came while a verify ran") \
	X(H16_CORRUPTION_FOUND, "H16: a verify found planted corruption") \
	X(H17_LISTED, "H17: a block that can't be read was listed as bad") \
	X(H17_CLEARED, "H17: a bad range was overwritten, or looked at again") \
	X(H17_LOST_READ, "H17: a read of what a switch left behind failed") \
	X(H17_REFUSED, "H17: a switch was refused because of bad ranges") \
	X(H17_LEFT_BEHIND, "H17: a switch left accepted bad ranges behind") \
	X(H17_CRASH, "H17: a recovery found what a switch had left behind") \
	X(H17_RECOVERED, "H17: a sector came back by itself") \
	X(H17_READ_ELSEWHERE, "H17: a read that the primary failed was served by another leg") \
	X(H17_NOT_WAITED, "H17: a read was not kept waiting for the primary's connection") \
	X(H18_OLD_FLUSH_FAILED, "H18: the old leg's flush failed during a switch") \
	X(H19_SWITCH_TO_DIRTY, "H19: a switch to a leg with dirty regions was asked for") \
	X(H19_UNDONE, "H19: a switch was undone") \
	X(H19_FORCED, "H19: a switch was forced, and something was lost") \
	X(H19_FORCED_KEPT, "H19: a request that the given-up primary had failed was carried out by the other") \
	X(H19_FORCED_CRASH, "H19: a recovery found a forced switch done") \
	X(H21_KEPT, "H21: a split kept its legs as images") \
	X(H21_WRITTEN, "H21: a write came while a leg was a kept image") \
	X(H22_SWITCH_ONE_OF_MANY, "H22: a switch with another target beside the successor") \
	X(SPLIT_DONE, "a split was done") \
	X(COMMITTED, "the reverse leg was let go after a switch") \
	X(CRASH_KILL, "the process was killed") \
	X(CRASH_POWER, "the power failed") \
	X(CRASH_TWICE, "a crash during or right after recovery") \
	X(MAP_TORN, "a map page was torn") \
	X(TOKEN_LATE, "a token was used after its time") \
	X(DEADLINE_PASSED, "a suspend ended at its deadline") \
	X(ROLLED_BACK, "a switch was rolled back") \
	X(LEG_HELD, "the engine gave up on a leg") \
	X(PRIMARY_WRITE_ERROR, "a write failed on the primary") \
	X(READ_AGAINST_WRITE, "a read ran beside a write of its block")
/* clang-format on */

enum sim_cover {
#define X(name, what) COVER_##name,
	SIM_COVERS(X)
#undef X
	COVER_COUNT
};

#endif
