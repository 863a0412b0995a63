/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A writer killed with SIGKILL at any moment leaves whole transactions only, and every one that it was told is durable.
 *
 * The child changes a session's state, its locks and one event in each transaction, all carrying the same number, and reports the number
 * over a pipe after the commit. The parent kills it at a random moment, and looks.
 */
#include "repo/repo.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static void writer(const char *path, unsigned from, int report)
{
	struct dray_repo *repo;
	if (dray_repo_open(&repo, path, NULL))
		_exit(1);
	for (unsigned i = from;; i++) {
		char word[16];
		snprintf(word, sizeof word, "%u", i);
		struct dray_repo_session row = { .id = "s-1", .name = "one", .state = word, .live = true, .document = word,
			.work = word };
		struct dray_repo_lock lock = { .identity = word, .resource = word, .start = 0, .end = 1, .session = "s-1",
			.pair = 1, .role = "target" };
		struct dray_repo_event event = { .session = "s-1", .event = word, .actor = "drayd" };
		if (dray_repo_begin(repo, NULL) || dray_repo_session_save(repo, &row, NULL) ||
			dray_repo_locks_free(repo, "s-1", 0, NULL) || dray_repo_locks_take(repo, &lock, 1, NULL, NULL, NULL) ||
			dray_repo_event_add(repo, &event, NULL) || dray_repo_commit(repo, NULL) ||
			write(report, &i, sizeof i) != sizeof i)
			_exit(1);
	}
}

struct seen {
	unsigned state, document, lock, event, locks;
};

static int see_session(void *arg, const struct dray_repo_session *row)
{
	struct seen *s = arg;
	s->state = (unsigned)atoi(row->state);
	s->document = (unsigned)atoi(row->document);
	return 0;
}

static int see_lock(void *arg, size_t i, const struct dray_repo_lock *lock)
{
	struct seen *s = arg;
	s->lock = (unsigned)atoi(lock->identity);
	s->locks++;
	return 0;
}

static int see_event(void *arg, const struct dray_repo_event *event)
{
	struct seen *s = arg;
	assert_int_equal(atoi(event->event), s->event + 1); /* none missing, none twice */
	s->event++;
	return 0;
}

static void killed_at_any_moment(void **state)
{
	char dir[] = "/tmp/dray-repo-XXXXXX", path[64], cmd[64];
	struct dray_repo *repo;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof path, "%s/repo.db", dir);
	assert_int_equal(dray_repo_open(&repo, path, NULL), 0);
	struct dray_repo_session row = { .id = "s-1", .name = "one", .state = "0", .live = true, .document = "0", .work = "0" };
	dray_repo_begin(repo, NULL);
	assert_int_equal(dray_repo_session_add(repo, &row, NULL), 0);
	assert_int_equal(dray_repo_commit(repo, NULL), 0);
	dray_repo_close(repo);

	unsigned last = 0;
	srand(7);
	for (int round = 0; round < 25; round++) {
		int report[2];
		assert_int_equal(pipe(report), 0);
		pid_t pid = fork();
		if (!pid)
			writer(path, last + 1, report[1]);
		close(report[1]);
		unsigned told = last, n;
		/* The first report says that it is writing; then let it, for up to 20 ms. */
		assert_int_equal(read(report[0], &told, sizeof told), sizeof told);
		usleep((useconds_t)(rand() % 20000));
		kill(pid, SIGKILL);
		while (read(report[0], &n, sizeof n) == sizeof n)
			told = n;
		close(report[0]);
		waitpid(pid, NULL, 0);

		struct seen s = { 0 };
		assert_int_equal(dray_repo_open(&repo, path, NULL), 0);
		assert_int_equal(dray_repo_sessions(repo, see_session, &s, NULL), 0);
		assert_int_equal(dray_repo_locks(repo, see_lock, &s, NULL), 0);
		assert_int_equal(dray_repo_events(repo, NULL, 0, 1000000, see_event, &s, NULL), 0);
		dray_repo_close(repo);
		assert_true(s.state >= told && s.state <= told + 1);
		assert_int_equal(s.document, s.state);
		assert_int_equal(s.lock, s.state);
		assert_int_equal(s.locks, 1);
		assert_int_equal(s.event, s.state);
		last = s.state;
	}
	snprintf(cmd, sizeof cmd, "rm -r %s", dir);
	assert_int_equal(system(cmd), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(killed_at_any_moment) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
