/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The least a copy can be: reads and writes through one io_uring with O_DIRECT, registered files and buffers,
 * then fdatasync. What dray's copy is measured against. Copies whole files of equal size; knows no holes, no
 * errors but the end.
 *
 *     uring-copy SOURCE TARGET [STEP_KIB (256)] [STEPS (16)]
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct step {
	uint64_t offset;
	unsigned length, index;
	int writing;
	void *buf;
};

static void die(const char *what, int error)
{
	fprintf(stderr, "uring-copy: %s: %s\n", what, strerror(error));
	exit(1);
}

static void submit(struct io_uring *ring, struct step *s)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	if (!sqe)
		die("submission queue", EBUSY);
	if (s->writing)
		io_uring_prep_write_fixed(sqe, 1, s->buf, s->length, s->offset, (int)s->index);
	else
		io_uring_prep_read_fixed(sqe, 0, s->buf, s->length, s->offset, (int)s->index);
	io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
	io_uring_sqe_set_data(sqe, s);
}

int main(int argc, char **argv)
{
	if (argc < 3) {
		fprintf(stderr, "usage: uring-copy SOURCE TARGET [STEP_KIB] [STEPS]\n");
		return 2;
	}
	unsigned step_bytes = (argc > 3 ? (unsigned)atoi(argv[3]) : 256) * 1024,
		 steps = argc > 4 ? (unsigned)atoi(argv[4]) : 16;
	int fds[2] = {open(argv[1], O_RDONLY | O_DIRECT | O_CLOEXEC),
		open(argv[2], O_WRONLY | O_DIRECT | O_CLOEXEC)};
	if (fds[0] < 0 || fds[1] < 0)
		die(argv[fds[0] < 0 ? 1 : 2], errno);
	uint64_t size = (uint64_t)lseek(fds[0], 0, SEEK_END), next = 0, left = 0;

	struct io_uring ring;
	struct io_uring_params params = {.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN};
	int rc = io_uring_queue_init_params(steps * 2, &ring, &params);
	if (rc < 0)
		die("io_uring", -rc);
	struct step *all = calloc(steps, sizeof *all);
	struct iovec *iov = calloc(steps, sizeof *iov);
	for (unsigned i = 0; i < steps; i++) {
		all[i] = (struct step){.index = i, .buf = aligned_alloc(4096, step_bytes)};
		iov[i] = (struct iovec){all[i].buf, step_bytes};
		memset(all[i].buf, 0, step_bytes);
	}
	if ((rc = io_uring_register_buffers(&ring, iov, steps)) < 0 ||
		(rc = io_uring_register_files(&ring, fds, 2)) < 0)
		die("registration", -rc);
	for (unsigned i = 0; i < steps && next < size; i++, left++) {
		all[i].offset = next;
		all[i].length = size - next < step_bytes ? (unsigned)(size - next) : step_bytes;
		next += all[i].length;
		submit(&ring, &all[i]);
	}
	while (left > 0) {
		struct io_uring_cqe *cqe;
		unsigned head, seen = 0;
		if ((rc = io_uring_submit_and_wait(&ring, 1)) < 0)
			die("submit", -rc);
		io_uring_for_each_cqe(&ring, head, cqe)
		{
			struct step *s = io_uring_cqe_get_data(cqe);
			seen++;
			if (cqe->res != (int)s->length)
				die(s->writing ? "write" : "read", cqe->res < 0 ? -cqe->res : EIO);
			if (!s->writing) {
				s->writing = 1;
			} else if (next < size) {
				s->writing = 0;
				s->offset = next;
				s->length = size - next < step_bytes ? (unsigned)(size - next) : step_bytes;
				next += s->length;
			} else {
				left--;
				continue;
			}
			submit(&ring, s);
		}
		io_uring_cq_advance(&ring, seen);
	}
	if (fdatasync(fds[1]) != 0)
		die("fdatasync", errno);
	return 0;
}
