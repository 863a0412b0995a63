/* SPDX-License-Identifier: BSD-3-Clause */
/* Locks are taken all or none, overlaps of slices collide, and of two processes that race for one device one wins. */
#include "repo/repo.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static char dir[64], path[96];
static struct dray_repo *repo;

static void add_session(struct dray_repo *r, const char *id)
{
	struct dray_repo_session row = { .id = id, .name = id, .state = "queued", .live = true, .document = "{}",
		.work = "{}" };
	assert_int_equal(dray_repo_begin(r, NULL), 0);
	assert_int_equal(dray_repo_session_add(r, &row, NULL), 0);
	assert_int_equal(dray_repo_commit(r, NULL), 0);
}

static int setup(void **state)
{
	snprintf(dir, sizeof dir, "/tmp/dray-repo-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof path, "%s/repo.db", dir);
	if (dray_repo_open(&repo, path, NULL))
		return -1;
	add_session(repo, "s-a");
	add_session(repo, "s-b");
	return 0;
}

static int teardown(void **state)
{
	char cmd[128];
	dray_repo_close(repo);
	snprintf(cmd, sizeof cmd, "rm -r %s", dir);
	return system(cmd);
}

static struct dray_repo_lock lock(const char *session, unsigned pair, const char *identity, uint64_t start, uint64_t end)
{
	return (struct dray_repo_lock){ .identity = identity, .resource = identity, .start = start, .end = end,
		.session = session, .pair = pair, .role = "target", .since = 1 };
}

struct told {
	char text[256];
};

static int tell(void *arg, size_t wanted, const struct dray_repo_lock *holder)
{
	struct told *t = arg;
	sprintf(t->text + strlen(t->text), "%zu:%s/%u;", wanted, holder->session, holder->pair);
	return 0;
}

static int take(struct dray_repo *r, const struct dray_repo_lock *locks, size_t n, struct told *told)
{
	if (dray_repo_begin(r, NULL))
		return -EBUSY;
	int rc = dray_repo_locks_take(r, locks, n, tell, told, NULL);
	if (rc)
		dray_repo_rollback(r);
	else
		rc = dray_repo_commit(r, NULL);
	return rc;
}

static int count_one(void *arg, size_t i, const struct dray_repo_lock *l)
{
	++*(int *)arg;
	return 0;
}

static int count(void)
{
	int n = 0;
	assert_int_equal(dray_repo_locks(repo, count_one, &n, NULL), 0);
	return n;
}

static void all_or_none(void **state)
{
	struct told told = { "" };
	struct dray_repo_lock a[] = { lock("s-a", 1, "x", 0, DRAY_REPO_END), lock("s-a", 2, "y", 0, DRAY_REPO_END) };
	struct dray_repo_lock b[] = { lock("s-b", 1, "z", 0, DRAY_REPO_END), lock("s-b", 2, "y", 0, DRAY_REPO_END),
		lock("s-b", 3, "x", 0, DRAY_REPO_END) };
	assert_int_equal(take(repo, a, 2, &told), 0);
	assert_int_equal(take(repo, b, 3, &told), -EBUSY);
	assert_string_equal(told.text, "1:s-a/2;2:s-a/1;");
	assert_int_equal(count(), 2);
	dray_repo_begin(repo, NULL);
	assert_int_equal(dray_repo_locks_free(repo, "s-a", 2, NULL), 0);
	dray_repo_commit(repo, NULL);
	assert_int_equal(count(), 1);
	assert_int_equal(take(repo, b, 2, &told), 0);
	assert_int_equal(count(), 3);
	dray_repo_begin(repo, NULL);
	assert_int_equal(dray_repo_locks_free(repo, "s-b", 0, NULL), 0);
	dray_repo_commit(repo, NULL);
	assert_int_equal(count(), 1);
}

static void slices_collide_where_they_overlap(void **state)
{
	struct told told = { "" };
	struct dray_repo_lock a = lock("s-a", 1, "disk", 4096, 8192);
	assert_int_equal(take(repo, &a, 1, &told), 0);
	static const struct {
		uint64_t start, end;
		int rc;
	} cases[] = { { 0, 4096, 0 }, { 8192, 9000, 0 }, { 0, DRAY_REPO_END, -EBUSY }, { 8191, 8192, -EBUSY },
		{ 4096, 8192, -EBUSY }, { 5000, 6000, -EBUSY }, { 0, 4097, -EBUSY } };
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct dray_repo_lock b = lock("s-b", 1, "disk", cases[i].start, cases[i].end);
		assert_int_equal(take(repo, &b, 1, &told), cases[i].rc);
		dray_repo_begin(repo, NULL);
		dray_repo_locks_free(repo, "s-b", 0, NULL);
		dray_repo_commit(repo, NULL);
	}
	struct dray_repo_lock other = lock("s-b", 1, "disk2", 4096, 8192);
	assert_int_equal(take(repo, &other, 1, &told), 0);
}

static void two_of_one_request_collide(void **state)
{
	struct told told = { "" };
	struct dray_repo_lock twice[] = { lock("s-a", 1, "x", 0, 10), lock("s-a", 2, "x", 5, 15) };
	assert_int_equal(take(repo, twice, 2, &told), -EBUSY);
	assert_int_equal(count(), 0);
}

/* What two storages lie on is shared by them, and is nobody's while they are locked; in whichever order they come. */
static void what_others_lie_on(void **state)
{
	struct told told = { "" };
	struct dray_repo_lock a[] = { lock("s-a", 1, "lv1", 0, DRAY_REPO_END), lock("s-a", 1, "disk", 4096, 8192) };
	struct dray_repo_lock b[] = { lock("s-b", 1, "lv2", 0, DRAY_REPO_END), lock("s-b", 1, "disk", 4096, 8192) };
	struct dray_repo_lock disk = lock("s-b", 2, "disk", 0, DRAY_REPO_END), part = lock("s-b", 2, "disk", 0, 4096);
	a[1].lies_on = b[1].lies_on = true;
	assert_int_equal(take(repo, a, 2, &told), 0);
	assert_int_equal(take(repo, b, 2, &told), 0);
	assert_string_equal(told.text, "");
	assert_int_equal(count(), 2);
	assert_int_equal(take(repo, &disk, 1, &told), -EBUSY);
	assert_string_equal(told.text, "0:s-a/1;"); /* the first of them will do */
	assert_int_equal(take(repo, &part, 1, &told), 0);
	dray_repo_begin(repo, NULL);
	assert_int_equal(dray_repo_locks_free(repo, "s-a", 1, NULL), 0);
	assert_int_equal(dray_repo_locks_free(repo, "s-b", 0, NULL), 0);
	dray_repo_commit(repo, NULL);
	told.text[0] = 0;
	assert_int_equal(take(repo, &disk, 1, &told), 0); /* nothing is left behind */
	assert_int_equal(take(repo, a, 2, &told), -EBUSY);
	assert_string_equal(told.text, "1:s-b/2;");
	struct dray_repo_lock itself[] = { a[1], lock("s-a", 2, "disk", 5000, 6000) };
	dray_repo_begin(repo, NULL);
	assert_int_equal(dray_repo_locks_free(repo, "s-b", 0, NULL), 0);
	dray_repo_commit(repo, NULL);
	assert_int_equal(take(repo, itself, 2, &told), -EBUSY); /* nor within one request */
}

/* Several processes, each with its own connection, take two devices in opposite orders: never two winners, never half. */
static void racers_have_one_winner(void **state)
{
	dray_repo_close(repo);
	repo = NULL;
	for (int round = 0; round < 5; round++) {
		int go[2], winners = 0;
		assert_int_equal(pipe(go), 0);
		pid_t pids[4];
		for (int i = 0; i < 4; i++) {
			pids[i] = fork();
			if (pids[i])
				continue;
			struct dray_repo *mine;
			struct told told = { "" };
			char c;
			close(go[1]);
			if (dray_repo_open(&mine, path, NULL) || read(go[0], &c, 1) != 0)
				_exit(2);
			const char *s = i % 2 ? "s-a" : "s-b";
			struct dray_repo_lock l[] = { lock(s, 1, i < 2 ? "p" : "q", 0, 9), lock(s, 2, i < 2 ? "q" : "p", 0, 9) };
			int rc = take(mine, l, 2, &told);
			dray_repo_close(mine);
			_exit(rc == 0 ? 0 : rc == -EBUSY ? 1 : 2);
		}
		close(go[0]);
		close(go[1]);
		for (int i = 0; i < 4; i++) {
			int status;
			waitpid(pids[i], &status, 0);
			assert_true(WIFEXITED(status) && WEXITSTATUS(status) < 2);
			winners += WEXITSTATUS(status) == 0;
		}
		assert_int_equal(winners, 1);
		assert_int_equal(dray_repo_open(&repo, path, NULL), 0);
		assert_int_equal(count(), 2);
		dray_repo_begin(repo, NULL);
		dray_repo_locks_free(repo, "s-a", 0, NULL);
		dray_repo_locks_free(repo, "s-b", 0, NULL);
		dray_repo_commit(repo, NULL);
		dray_repo_close(repo);
		repo = NULL;
	}
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = { T(all_or_none), T(slices_collide_where_they_overlap),
		T(two_of_one_request_collide), T(what_others_lie_on), T(racers_have_one_winner) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
