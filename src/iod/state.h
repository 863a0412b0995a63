/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The state directory: its lock and the volumes' definitions. docs/ONDISK.md has the formats byte by byte; epochs.h and
 * mapfile.h have the other two kinds of file in it.
 *
 * All functions block on the disk; none may be called on an I/O thread.
 */
#ifndef DRAY_IOD_STATE_H
#define DRAY_IOD_STATE_H

#include "base/error.h"
#include "iod/def.h"

struct iod_state {
	char *path;     /* absolute */
	int dir_fd;     /* of the state directory */
	int volumes_fd; /* of volumes/ in it */
	int lock_fd;
	char boot_id[40];
};

/* Makes the directory if need be and takes its lock. `boot_id_path`: what the kernel says of this boot. -EBUSY "held": another dray-iod has it (H25), the text says who.
 * Others: a system error. After failure nothing is held. */
int iod_state_open(struct iod_state *state, const char *path, const char *boot_id_path, struct dray_error *err);
void iod_state_close(struct iod_state *state);

/* Calls `each` for every volume's folder. 0 or a system error. */
int iod_state_list(struct iod_state *state, void (*each)(void *arg, const char *name), void *arg,
	struct dray_error *err);
/* Makes the folder of a new volume durable. -EEXIST "exists". */
int iod_state_volume_create(struct iod_state *state, const char *name, struct dray_error *err);
/* Removes a volume's folder with what this program puts there; what else is in it stays, and is an error. */
int iod_state_volume_remove(struct iod_state *state, const char *name, struct dray_error *err);

/* A file of ours is replaced in two steps, so that a crash leaves the old one or the new one. Made under another name: the text is durable when it returns 0
 * (what had that name is overwritten). Then given its name, durably; after a failure it may have it or not. 0 or a negative errno. */
int iod_state_file_make(int dir, const char *name, const char *text);
int iod_state_file_name(int dir, const char *made, const char *name);

/* Replaces volume.json; durable when it returns 0. After failure the old one is still valid. */
int iod_state_volume_write(struct iod_state *state, const struct iod_volume_def *def, struct dray_error *err);
/* Reads volume.json into `def` (empty before). -ENOENT; -EBADMSG: it can't be understood, the text says why. */
int iod_state_volume_read(struct iod_state *state, const char *name, struct iod_volume_def *def,
	struct dray_error *err);

#endif
