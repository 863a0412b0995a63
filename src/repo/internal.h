/* SPDX-License-Identifier: BSD-3-Clause */
/* Shared by the files of the repository; nobody else includes it. */
#ifndef DRAY_REPO_INTERNAL_H
#define DRAY_REPO_INTERNAL_H

#include "repo/repo.h"

#include <sqlite3.h>

#define REPO_SESSION_COLUMNS "seq, id, name, state, live, open, finished, document, work, summary"

#define REPO_SESSION_COLUMNS_BRIEF "seq, id, name, state, live, open, finished, '', '', summary"

/* Every statement, prepared at its first use and kept. */
#define REPO_STATEMENTS(X)                                                                                      \
	X(BEGIN, "BEGIN IMMEDIATE")                                                                             \
	X(COMMIT, "COMMIT")                                                                                     \
	X(ROLLBACK, "ROLLBACK")                                                                                 \
	X(ID_ADD, "INSERT INTO ids(id) VALUES(?1)")                                                             \
	X(ID_USED, "SELECT 1 FROM ids WHERE id = ?1")                                                           \
	X(NAME_LIVE, "SELECT id FROM sessions WHERE name = ?1 AND live")                                        \
	X(SESSION_ADD,                                                                                          \
		"INSERT INTO sessions(id, name, state, live, open, finished, document, work, summary) "         \
		"VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)")                                                   \
	X(SESSION_SAVE,                                                                                         \
		"UPDATE sessions SET state = ?3, live = ?4, open = ?5, finished = ?6, document = ?7, work = ?8, " \
		"summary = ?9 WHERE id = ?1 AND name = ?2")                                                     \
	X(SESSIONS, "SELECT " REPO_SESSION_COLUMNS " FROM sessions ORDER BY seq")                               \
	X(SESSIONS_OPEN, "SELECT " REPO_SESSION_COLUMNS " FROM sessions WHERE open ORDER BY seq")               \
	X(SESSION_GET, "SELECT " REPO_SESSION_COLUMNS " FROM sessions WHERE id = ?1")                           \
	X(SESSION_NAMED, "SELECT " REPO_SESSION_COLUMNS " FROM sessions WHERE name = ?1 ORDER BY seq DESC LIMIT 1") \
	X(SUMMARIES_NEWEST,                                                                                     \
		"SELECT " REPO_SESSION_COLUMNS_BRIEF " FROM sessions WHERE NOT open AND seq > ?1 "              \
		"AND (?2 IS NULL OR state = ?2) ORDER BY seq DESC LIMIT ?3")                                    \
	X(SUMMARIES_OLDEST,                                                                                     \
		"SELECT " REPO_SESSION_COLUMNS_BRIEF " FROM sessions WHERE NOT open AND seq > ?1 "              \
		"AND (?2 IS NULL OR state = ?2) ORDER BY seq LIMIT ?3")                                         \
	X(SESSIONS_BY_STATE, "SELECT state, count(*) FROM sessions WHERE NOT open GROUP BY state")              \
	X(PAIRS_BY_STATE, "SELECT state, count(*) FROM pairs GROUP BY state")                                   \
	X(TO_REMOVE,                                                                                            \
		"SELECT " REPO_SESSION_COLUMNS_BRIEF " FROM sessions WHERE NOT open AND (finished < ?2 OR ?1 > 0) " \
		"AND id NOT IN (SELECT session FROM locks) "                                                    \
		"AND id NOT IN (SELECT session FROM intents WHERE outcome IS NULL) "                            \
		"ORDER BY finished, seq LIMIT ?3")                                                              \
	X(OVER_COUNT, "SELECT count(*) FROM sessions WHERE NOT open")                                           \
	X(REMOVE_PAIRS, "DELETE FROM pairs WHERE session = (SELECT seq FROM sessions WHERE id = ?1 AND NOT open)") \
	X(REMOVE_EVENTS, "DELETE FROM events WHERE session = ?1")                                               \
	X(REMOVE_INTENTS, "DELETE FROM intents WHERE session = ?1")                                             \
	X(REMOVE_SESSION, "DELETE FROM sessions WHERE id = ?1 AND NOT open")                                    \
	X(PAIR_SAVE,                                                                                            \
		"INSERT INTO pairs(session, pair, state, document, work) VALUES(?1, ?2, ?3, ?4, ?5) "           \
		"ON CONFLICT(session, pair) DO UPDATE SET state = excluded.state, document = excluded.document, " \
		"work = excluded.work")                                                                         \
	X(PAIRS, "SELECT pair, state, document, work FROM pairs WHERE session = ?1 ORDER BY pair")              \
	X(LOCK_COLLISIONS,                                                                                      \
		"SELECT identity, resource, start, end, session, pair, role, since FROM locks "                 \
		"WHERE identity = ?1 AND start < ?3 AND end > ?2 ORDER BY id")                                  \
	X(LIES_ON_COLLISIONS,                                                                                   \
		"SELECT identity, resource, start, end, session, pair, role, since FROM lies_on "               \
		"WHERE identity = ?1 AND start < ?3 AND end > ?2 ORDER BY rowid LIMIT 1")                       \
	X(LIES_ON_ADD,                                                                                          \
		"INSERT INTO lies_on(identity, resource, start, end, session, pair, role, since) "              \
		"VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")                                                       \
	X(LIES_ON_FREE, "DELETE FROM lies_on WHERE session = ?1")                                               \
	X(LIES_ON_FREE_PAIR, "DELETE FROM lies_on WHERE session = ?1 AND pair = ?2")                            \
	X(LOCK_ADD,                                                                                             \
		"INSERT INTO locks(identity, resource, start, end, session, pair, role, since) "                \
		"VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")                                                       \
	X(LOCKS, "SELECT identity, resource, start, end, session, pair, role, since FROM locks ORDER BY id")    \
	X(LOCKS_FREE, "DELETE FROM locks WHERE session = ?1")                                                   \
	X(LOCKS_FREE_PAIR, "DELETE FROM locks WHERE session = ?1 AND pair = ?2")                                \
	X(EVENT_ADD,                                                                                            \
		"INSERT INTO events(time_ms, session, pair, event, actor, before, after, detail) "              \
		"VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")                                                       \
	X(EVENTS,                                                                                               \
		"SELECT seq, time_ms, session, pair, event, actor, before, after, detail FROM events "          \
		"WHERE seq > ?1 ORDER BY seq LIMIT ?2")                                                         \
	X(EVENTS_OF,                                                                                            \
		"SELECT seq, time_ms, session, pair, event, actor, before, after, detail FROM events "          \
		"WHERE seq > ?1 AND session = ?3 ORDER BY seq LIMIT ?2")                                        \
	X(EVENTS_LAST, "SELECT coalesce(max(seq), 0) FROM events")                                              \
	X(INTENT_ADD, "INSERT INTO intents(token, session, kind, members, since) VALUES(?1, ?2, ?3, ?4, ?5)")   \
	X(INTENT_END, "UPDATE intents SET outcome = ?2 WHERE token = ?1 AND outcome IS NULL")                   \
	X(INTENTS,                                                                                              \
		"SELECT token, session, kind, members, outcome, since FROM intents "                            \
		"WHERE outcome IS NULL ORDER BY since, token")                                                  \
	X(VOLUME_SEEN,                                                                                          \
		"INSERT INTO volumes(name, uuid, epoch) VALUES(?1, ?2, ?3) ON CONFLICT(name) DO UPDATE SET "    \
		"epoch = CASE WHEN uuid = excluded.uuid THEN max(epoch, excluded.epoch) ELSE excluded.epoch END, " \
		"uuid = excluded.uuid")                                                                         \
	X(VOLUME_FORGET, "DELETE FROM volumes WHERE name = ?1")                                                 \
	X(VOLUMES, "SELECT name, uuid, epoch FROM volumes ORDER BY name")                                       \
	X(META_GET, "SELECT value FROM meta WHERE key = ?1")                                                    \
	X(META_SET,                                                                                             \
		"INSERT INTO meta(key, value) VALUES(?1, ?2) ON CONFLICT(key) DO UPDATE SET value = excluded.value")

enum repo_statement {
#define X(name, sql) REPO_##name,
	REPO_STATEMENTS(X)
#undef X
	REPO_STATEMENT_COUNT
};

struct dray_repo {
	sqlite3 *db;
	sqlite3_stmt *stmts[REPO_STATEMENT_COUNT];
	bool in_transaction;
	uint64_t errors;
};

/* The statement, reset and with nothing bound, or NULL with the error set. */
sqlite3_stmt *repo_stmt(struct dray_repo *repo, enum repo_statement which, struct dray_error *err);
/* Turns the last failure of the database into a negative errno with words. */
int repo_fail(struct dray_repo *repo, int rc, struct dray_error *err, const char *what);
/* Runs a statement that gives no rows. 0 or negative. */
int repo_run(struct dray_repo *repo, sqlite3_stmt *st, struct dray_error *err, const char *what);

void repo_bind_text(sqlite3_stmt *st, int at, const char *text);
void repo_bind_u64(sqlite3_stmt *st, int at, uint64_t value);
const char *repo_text(sqlite3_stmt *st, int column);
int repo_exec(struct dray_repo *repo, const char *sql, struct dray_error *err, const char *what);

/* upgrade.c: makes the tables, or brings them up to this program's version. Inside a transaction. */
int repo_upgrade(struct dray_repo *repo, struct dray_error *err);

#endif
