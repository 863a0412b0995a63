/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Named points at which the tests end the process, or make a write fail.
 *
 *   DRAY_CRASH_AT=NAME[:COUNT]  ends the process with 137, at once, the COUNTth time (default 1) that NAME is reached
 *   DRAY_CRASH_INTO=FILE        instead of that, writes "c" to FILE and waits for ever: with /proc/sysrq-trigger the whole
 *                               machine stops there
 *   DRAY_CRASH_IF=FILE          arrivals are counted for as long as FILE is there: a test makes it once what comes before is over
 *   DRAY_FAULT_AT=NAME[:COUNT]  the COUNTth arrival at NAME, and that one alone, fails with EIO
 *   DRAY_STALL_IN=FOLDER        whoever arrives at NAME waits for as long as FOLDER/NAME is there, and puts a byte into that first
 *   DRAY_STALL_AT=NAME:FILE     whoever arrives at NAME waits for as long as FILE is there
 *
 * A point's name means nothing else in the programs: tests/func/test-crash-points.py finds by it which points no test uses.
 * Nothing is read from anywhere else, and an unset variable costs one comparison; no point lies on the data path.
 *
 * Crash points of dray-iod, in the order in which the verbs pass them:
 *   target-made         a target file that is to be made has its size, and no name yet
 *   volume-json-before  the temporary file of a volume.json is durable, not yet renamed
 *   volume-json-after   the new volume.json is durable under its name
 *   map-create-after    a new map file is durable, no volume.json names its leg yet
 *   epoch-before        a record is about to be written (switch: all volumes are sealed)
 *   epoch-torn          the first half of a record was written
 *   epoch-after         the record is durable (switch: not yet applied)
 *   apply-before        as epoch-after, after the registry was told
 *   apply-after         the first volume of the group was told to go on
 *   switch-done         all volumes of the group resumed; copy legs not yet forgotten
 *   split-before        the temporary file of a split's record is durable, not yet renamed
 *   split-after         a split is on record, no volume went on yet
 *   detach-forgotten    a leg is durably forgotten, its storage still open
 * Crash points of drayd:
 *   submit-before       a new session with its locks is about to be recorded
 *   submit-after        it is durable, and not answered yet
 *   answers-before      what verbs were asked and answered is about to be recorded
 *   answers-after       it is durable, and not answered yet
 *   record-before       a change of a session is about to be recorded
 *   record-after        it is durable, and nothing that it allows has been done yet
 * Crash points of drayd that a generation passes, in this order:
 *   gen-hooks           that the hooks before the split run is on record, and none was begun
 *   gen-split           the working images are set aside, which is on record; nothing was cloned
 *   gen-thawed          the hooks after the split have ended, which is not on record
 *   gen-cloning         the first clone has its bytes, and is not flushed
 *   gen-cloned          all clones are durable under their own names, which is not on record
 *   gen-placing         the first one has its name, which is not durable
 *   gen-placed          all have their names, durably, which is not on record
 *   gen-complete        it is listed as complete; the working images are not attached again
 *   gen-removing        a file of one that is too old has its tombstone's name, and is there
 *   gen-removed         its files are gone, which is not on record
 * Crash points of drayd that a retire passes, in this order (not every way passes all); stall points, too, but for the first and the last:
 *   retire-pending      the intent is durable, nothing was looked at yet
 *   retire-begun        all checks were passed, which is durable; nothing was touched yet
 *   retire-mode         the file has its new mode, not flushed
 *   retire-renamed      the file has its new name; what has it was not looked at yet, the directory not flushed
 *   retire-moved        delete: that it has its tombstone's name is durable
 *   retire-unlinked     delete: the file is gone, the directory not flushed
 *   retire-lv-skip      offline of a logical volume: it will not be activated any more, and still is active
 *   retire-piece        zero, discard: how far it came is durable
 *   retire-acted        it is done, which is not recorded yet
 *   retire-recorded     the outcome is durable
 * Fault points: epoch-write, volume-json-write, split-write. Stall points: epoch-write; gen-step, when a clone has copied a piece, which is not on the disk.
 */
#ifndef DRAY_BASE_CRASH_H
#define DRAY_BASE_CRASH_H

/* Before threads start. */
void dray_crash_init(void);
/* Any thread. */
void dray_crash_point(const char *name);
/* Any thread. 0 or -EIO. */
int dray_fault_point(const char *name);
/* Any thread that may wait. */
void dray_stall_point(const char *name);

#endif
