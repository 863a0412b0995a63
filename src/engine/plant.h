/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Planted faults: the teeth of the simulator.
 *
 * At each line that closes a hazard stands `if (PLANT(NAME))` with the mistake a careful engineer might make there. In every
 * ordinary build PLANT is the constant false and the mistake is not compiled. `make sim-teeth` builds the engine
 * with DRAY_TEETH, plants one after the other and fails unless the simulator, with its ordinary generator and
 * seeds, finds each.
 */
#ifndef DRAY_ENGINE_PLANT_H
#define DRAY_ENGINE_PLANT_H

/* clang-format off */
#define DRAY_PLANTS(X) \
	X(H1_CLEAN_WITHOUT_PRIMARY_FLUSH, "a region is recorded clean after a flush of the target alone") \
	X(H1_INTENT_CLEARED_WITHOUT_FLUSH, "an intent is cleared without any flush") \
	X(H3_CLAIM_OVER_WRITE, "a claim is granted while a write is in flight to its range") \
	X(H4_PARTS_FORGOTTEN, "a write to a copied part of a dirty region goes to the primary only") \
	X(H5_EXTENTS_BEFORE_CLAIM, "holes of the source are asked before the claim") \
	X(H5_ZERO_PROOF_KEPT, "the proof that the target is zero outlives a write there") \
	X(H6_UNSETTLED_IGNORED, "a range with an unsettled write is copied again") \
	X(H6_LATE_NOT_DOUBTED, "a write that may land late leaves no doubt behind") \
	X(H7_DEGRADED_STAYS_CLEAN, "a write answered without a stalled leg leaves its region clean") \
	X(H8_RESUME_WHILE_RECORDING, "past the deadline a sealed volume resumes without strict mirroring") \
	X(H8_NO_SUPERSEDE, "after a failed record the volumes resume without a superseding record") \
	X(H8_FORCED_DOUBT_ONE_SIDED, "in doubt of a forced undo a write to a dirty region goes to the old primary only") \
	X(H10_RESUME_BEFORE_OUTCOME, "a volume resumes on the target before the record is durable") \
	X(H12_DIRTY_IN_MEMORY_ONLY, "a clean region is dirtied while paused without a durable trace") \
	X(H12_NO_RECHECK_BEFORE_CLEAN, "clean is recorded without looking again after the flush") \
	X(H13_FLUSH_ERROR_FORGOTTEN, "a failed flush leaves the regions clean") \
	X(H13_READ_NOT_VOUCHED, "a read of another leg is answered while a flush there may be about to say that it was lost") \
	X(H13_CLOSED_FORGOTTEN, "what a storage that was opened anew had not flushed stays clean") \
	X(H13_PRIMARY_CLOSED_FORGOTTEN, "what a primary that was opened anew had not flushed leaves the other legs clean") \
	X(H13_CLOSED_NOT_OWED, "the application isn't told what a primary that was opened anew had not flushed") \
	X(H15_DISCARD_PASSED_ON, "a discard goes to mirrored legs as a discard") \
	X(H16_VERIFY_WITHOUT_CLAIM, "verify reads the legs without claiming the range") \
	X(H16_REPAIR_FROM_TARGET, "verify repairs the primary from the leg") \
	X(H17_ZEROED_BEFORE_DURABLE, "zeroes are written for what can't be read before the list of bad ranges is durable") \
	X(H17_NOT_REFUSED, "a switch leaves bad ranges behind that nobody accepted") \
	X(H17_ZEROES_SERVED, "after the switch a bad range reads as what the new primary holds there") \
	X(H17_ZEROES_SERVED_BY_LEG, "a read of a bad range that the primary fails is served by a leg that was given zeroes") \
	X(H17_EXTENTS_SAY_ZERO, "after the switch a bad range is a hole for those who ask") \
	X(H17_CLEARED_WHEN_SENT, "a bad range is cleared when a write to it is sent") \
	X(H17_CLEARED_UNFLUSHED, "a bad range is cleared before the write is durable") \
	X(H17_CLEAR_NOT_AWAITED, "a write to a bad range is answered before the list says so") \
	X(H17_ORIGIN_OVERWRITTEN, "after the switch the copy back writes zeroes over what only the old primary may hold") \
	X(H17_RECHECK_BEFORE_DIRTY, "a bad range is dropped for another look while legs still count as clean there") \
	X(H17_DROPPED_BEFORE_DURABLE, "a bad range that is dropped for another look counts as good before the list on disk is without it") \
	X(H17_NOT_ASKED_AGAIN, "a read that was not kept waiting for the primary fails when no other leg has it any more") \
	X(H18_OLD_LEG_FLUSH_DECIDES, "a failed flush of the old leg at the switch is fatal for the switch") \
	X(H19_UNDO_WITH_DIRTY_LEG, "an undo goes to a leg that has dirty regions") \
	X(H19_FORCED_TO_UNSETTLED, "a forced undo goes to a leg on which an old write may still land") \
	X(H19_FORCED_CALLED_EQUAL, "after a forced undo the old primary counts as equal") \
	X(H19_FORCED_ANSWERS_ERRORS, "a forced undo answers with the errors of the dying primary while it is drained") \
	X(H21_KEPT_STILL_WRITTEN, "a leg that a split keeps is paused, and mirrored on") \
	X(INTENT_AFTER_WRITE, "the intent is written after the mirrored write was sent") \
	X(OVERLAP_NOT_ORDERED, "two overlapping mirrored writes are in flight together") \
	X(SWITCH_WITHOUT_RECOUNT, "the switch does not recount what is dirty after the drain") \
	X(REVERSE_FORGETS_DISCARD, "after the switch discards and zeroes are not mirrored back") \
	X(LATE_TOKEN_ACCEPTED, "a token is accepted after its deadline") \
	X(TORN_PAGE_CLEAN, "a torn map page is read as all clean") \
	X(PRIMARY_ERROR_STAYS_CLEAN, "a failed write on the primary leaves its region clean") \
	X(NEW_PRIMARY_NOT_FLUSHED, "the switch does not flush the new primary") \
	X(PROGRESS_BEFORE_WRITE, "a step counts as done when its write was sent")
/* clang-format on */

enum dray_plant {
	DRAY_PLANT_NONE,
#define X(name, what) DRAY_PLANT_##name,
	DRAY_PLANTS(X)
#undef X
	DRAY_PLANT_COUNT
};

#ifdef DRAY_TEETH
extern enum dray_plant dray_planted;
#define PLANT(name) (dray_planted == DRAY_PLANT_##name)
#else
#define PLANT(name) 0
#endif

#endif
