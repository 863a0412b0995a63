/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The command line: what its files share.
 *
 * main.c reads the command and its options along the tables of table.c, and calls the command's function with what it found.
 * Results go to stdout, everything else to stderr. A command's function returns the exit status.
 */
#ifndef DRAY_CLI_CLI_H
#define DRAY_CLI_CLI_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum exit_status {
	EXIT_DONE = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_REFUSED = 3,
	EXIT_NOT_FOUND = 4,
	EXIT_ILLEGAL = 5,
	EXIT_UNREACHABLE = 6,
	EXIT_TIMED_OUT = 7,
	EXIT_DETACHED = 130,
};

/* id, letter (0: none), name, argument (NULL: none), help. The order is that of --help. */
#define OPTIONS(X) \
	X(NAME, 0, "name", "NAME", "the session's name (default: the volume's, or the target's file name)") \
	X(RATE, 0, "rate", "SIZE", "most bytes a second to copy, such as 50MiB") \
	X(IN_FLIGHT, 0, "in-flight", "SIZE", "most bytes being copied at one moment") \
	X(STEP, 0, "step", "SIZE", "size of one copy step") \
	X(STEPS, 0, "steps", "N", "most copy steps in flight") \
	X(PRIORITY, 0, "priority", "P", "low, normal, high, or 1 to 9") \
	X(CREATE, 0, "create", "HOW", "make a missing target file: thin or full") \
	X(FORMAT, 0, "format", "FORM", "what the source is: auto (default; a disk image is refused) or raw") \
	X(OVERWRITE, 0, "overwrite", NULL, "allow a target that holds data") \
	X(VEHICLE, 0, "vehicle", "NAME", "how the bytes are moved: auto or host") \
	X(COPY, 0, "copy", NULL, "make a copy: the source stays in use") \
	X(WHEN, 0, "when", "WHEN", "when to switch: synced (default), manual, a time, or {event: NAME}") \
	X(DEADLINE, 0, "deadline", "TIME", "longest the volume may be suspended by the switch") \
	X(COMMIT, 0, "commit", "WHEN", "manual (default; undo is possible), switched (at once), or after a time such as 24h") \
	X(RETIRE, 0, "retire", "WAY", "the source after the commit: none, read-only, offline, discard, zero, delete or rename") \
	X(VERIFY, 0, "verify", "HOW", "compare before the switch: none, sample or full") \
	X(NO_CHECKPOINT, 0, "no-checkpoint", NULL, "keep no record on disk of what is copied") \
	X(NO_WAIT, 0, "no-wait", NULL, "return once the session has begun") \
	X(WAIT, 0, "wait", NULL, "wait until the session is switched, or over") \
	X(PROGRESS, 0, "progress", NULL, "tell the progress, in lines where there is no terminal") \
	X(PAIR, 'p', "pair", "ID", "this pair only; may be given several times") \
	X(SAMPLE, 0, "sample", "N", "compare every Nth step only (default: all)") \
	X(REPAIR, 0, "repair", NULL, "write what differs from the side that is in use") \
	X(DETACH, 0, "detach", NULL, "stop mirroring as well: the targets are tracked only") \
	X(ACCEPT_BAD, 0, "accept-bad", NULL, "leave behind what can't be read on the side in use: it reads as an error then") \
	X(HOW, 0, "how", "WAY", "read-only, offline, discard, zero, delete or rename (default: as the document says)") \
	X(YES, 'y', "yes", NULL, "do not ask") \
	X(TIMEOUT, 't', "timeout", "TIME", "give up after this time: seconds, or 500ms, 10m, 2h") \
	X(FOLLOW, 'f', "follow", NULL, "go on with new events as they come") \
	X(AFTER, 0, "after", "SEQ", "only events after this number") \
	X(STATE, 0, "state", "STATE", "only sessions in this state") \
	X(LIMIT, 'n', "limit", "N", "at most so many sessions, the newest ones: 1 or more") \
	X(ALL, 0, "all", NULL, "all of them: also those that were over long ago") \
	X(BLOCK_SIZE, 0, "block-size", "SIZE", "serve in blocks of this size, such as 4096 (default: the resource's own)") \
	X(DRY_RUN, 0, "dry-run", NULL, "check the document and tell what would be done; start nothing") \
	X(FORCE, 0, "force", NULL, "shutdown: even while clients are connected; undo: although something is lost") \
	X(OUTPUT, 'o', "output", "FORM", "json, for programs; yaml") \
	X(SOCKET, 0, "socket", "PATH", "the agent's socket (default: DRAY_SOCKET, or where drayd puts it)") \
	X(HELP, 'h', "help", NULL, "this help")

enum option_id {
#define X(id, ...) OPT_##id,
	OPTIONS(X)
#undef X
	OPTION_COUNT
};

struct option_spec {
	char letter;
	const char *name, *argument, *help;
};
extern const struct option_spec option_specs[OPTION_COUNT];

enum output_form { OUTPUT_HUMAN, OUTPUT_JSON, OUTPUT_YAML };

struct args {
	const struct command *command;
	const char *value[OPTION_COUNT]; /* NULL: not given; "" for a flag */
	const char **pairs;              /* of --pair */
	size_t n_pairs;
	const char **positional;
	size_t n_positional;
	enum output_form output;
};

struct command {
	const char *name;      /* "start", "volume add" */
	const char *arguments; /* "SESSION KEY=VALUE..." */
	unsigned least, most;  /* positional arguments; most 0 with least 0: none */
	const char *summary;   /* one phrase */
	const char *text;      /* what a user must know: paragraphs */
	const char *examples;  /* lines */
	const enum option_id *options; /* ended by OPTION_COUNT; --output, --socket and --help are everybody's */
	int (*run)(const struct args *args);
};
extern const struct command commands[];
extern const size_t commands_n;
#define MANY 10000

static inline bool given(const struct args *args, enum option_id id)
{
	return args->value[id];
}

/* ---- help.c ---- */
void help_program(void);
void help_command(const struct command *command);
/* The commands that begin with `word` ("volume"). */
void help_group(const char *word);

/* ---- plan.c ---- */
/* The answer of a dry run. */
void print_plan(const json_t *doc);
/* The document's warnings on stderr, without those that were told with `told` (or NULL) already. */
void print_warnings(const json_t *doc, const json_t *told);

/* ---- fail.c: errors, as text or as problem+json on stderr. Each returns the exit status. ---- */
int fail(const struct args *args, int status, const char *code, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/* As the agent said it. `where`: the document's name, NULL: it has none, "": there is no document to be seen. */
int fail_problem(const struct args *args, const json_t *problem, const char *where);
/* "/pairs/1/target" on stderr as people count: "pair 2: target"; "/limits/rate": "limits.rate". */
void put_place(const char *pointer);
/* A remark on stderr, "dray: ...". */
void note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* --socket, DRAY_SOCKET, or where drayd puts it: /run/dray for root, else the user's runtime directory, else the state
 * directory's "run". malloc'ed. */
char *socket_path(const struct args *args);

/* ---- client.c: the agent's API ---- */
struct reply {
	int status;   /* of HTTP; 0: the agent was not reached */
	char *body;   /* NUL-terminated */
	size_t len;
	json_t *json; /* NULL if the body is not JSON */
	bool left_out; /* the agent has more of it */
};
struct call {
	const char *method, *path;        /* the path begins with "/v1" */
	const char *type, *body;          /* NULL: JSON; none */
	size_t len;
	const char *accept;               /* NULL: JSON */
	const char *where;                /* see fail_problem */
	bool quiet;                       /* an agent that is not there, or ends, is not told: -1 is returned */
};
/* 0 if the answer is 2xx; else what went wrong has been told, and it is the exit status. The reply is freed in any case by
 * reply_free. */
int request(const struct args *args, const struct call *call, struct reply *reply);
/* GET of JSON. */
int request_json(const struct args *args, const char *path, struct reply *reply);
void reply_free(struct reply *reply);
/* Those who follow something look for an agent that is gone for so long, in seconds. */
#define AGENT_PATIENCE 60
/* Server-sent events: `line` is called for each event's data until it returns false. 0: it ended, or `line` wanted no more; -1: the
 * agent was lost; -2: (only where `quiet`) it is not there, or ends, which was not told. */
int request_events(const struct args *args, const char *path, bool quiet, bool (*line)(void *arg, const char *data), void *arg);
/* "/v1/sessions/NAME" + suffix, NAME escaped. malloc'ed. */
char *path_of(const char *collection, const char *name, const char *suffix);

/* ---- output.c ---- */
void print_json(const json_t *json);
void print_yaml(const json_t *json);
/* In the form asked for; true if that was a machine's. */
bool printed(const struct args *args, const json_t *json);
struct table;
struct table *table_new(const char *const *headings); /* NULL-ended; a heading that begins with '>' is of a right-aligned column */
void table_add(struct table *t, const char *cell);    /* copied */
void table_print(struct table *t);                    /* and freed */
const char *text_of(const json_t *object, const char *key); /* "" if there is none */
/* Whether colours are welcome on this stream. */
bool colours(int fd);
const char *state_colour(const char *state); /* an escape sequence */
extern const char plain[];
/* Something is done at it, or waits for a person; it failed (show.c). */
bool pair_is_at_work(const json_t *pair);
bool pair_failed(const json_t *pair);
/* Columns that it takes on a terminal. */
size_t text_width(const char *text);
/* As much of it as fits into so many columns. Returns buf. */
char *text_cut(char *buf, size_t size, const char *text, size_t columns);
/* "1.5 GiB" of a number, "-" of null. buf of 32. */
char *size_text(const json_t *n, char *buf);
/* "42 s", "5 min 10 s", "2 h 3 min". buf of 32. */
char *seconds_text(uint64_t s, char *buf);
/* Whether ask() would: on a terminal, without --yes. */
bool asks(const struct args *args);
/* "s-4k2" known as "orders": the name, or the id if there is none. */
const char *session_name(const json_t *doc);
bool ask(const struct args *args, const char *question_fmt, ...) __attribute__((format(printf, 2, 3)));

/* ---- follow.c: watching a session until something is so ---- */
enum follow_end { FOLLOW_GO_ON, FOLLOW_GOOD, FOLLOW_BAD };
struct follow {
	const struct args *args;
	const char *session;
	bool bar;      /* draw on the terminal */
	bool lines;    /* tell in lines */
	bool each;     /* -o json: print the document at each change of state */
	double timeout; /* seconds; 0: none */
	enum follow_end (*look)(const json_t *doc, void *arg);
	void *arg;
};
/* Until `look` says otherwise: its exit status (0 or 1), 7 on time-out, 130 on Ctrl-C, 4 and 6. `*doc` is the last document, a
 * new reference or NULL. */
int follow(const struct follow *f, json_t **doc);
/* Where `migrate`, `start --wait` and `watch` end. */
enum follow_end look_moved(const json_t *doc, void *arg);

/* ---- outcome.c ---- */
/* What became of a session, in a line or several on stdout, or the document. */
void print_outcome(const struct args *args, const json_t *doc);
/* Whether the command named this pair. */
bool asked_for(const struct args *args, const char *pair);

/* ---- verb.c ---- */
/* The body of a verb, from the options. New reference. */
json_t *verb_body(const struct args *args);
/* An option that was given, as a number if it is one. */
void set_option(json_t *map, const char *key, const struct args *args, enum option_id id);
/* The positional arguments from `first` on, KEY=VALUE, as an object (new reference); else wrong usage, which was told. */
int keys_and_values(const struct args *args, size_t first, json_t **body);
/* Sends `body`, which it takes. The exit status, as request() has it. */
int send_json(const struct args *args, const char *method, const char *path, json_t *body, struct reply *reply);

/* ---- retire.c ---- */
/* What became of the pair's source; nothing where nothing was to. */
void print_retired(const json_t *pair);
/* How the session's sources are retired by themselves after a commit; "" where they are not, or it can't be found out. malloc'ed. */
char *retired_by(const struct args *args, const char *session);

/* ---- bar.c ---- */
/* Draws the session's progress in place of what was drawn before. */
void bar_draw(const json_t *doc, const char *remark);
/* Leaves what is drawn and goes to the next line. */
void bar_end(void);
/* What the session, or its first pair that does, waits for or suffers from; "" else. */
const char *trouble_of(const json_t *doc, char *buf, size_t size);
/* The phase, where it says more than the state; else "". */
const char *phase_of(const json_t *session_or_pair);
/* One line: "orders: copying, 40 %, ..." malloc'ed. */
char *progress_line(const json_t *doc);

/* Relative paths mean a file here; the agent may be elsewhere. malloc'ed. */
char *absolute(const char *resource);

/* ---- commands ---- */
int cmd_volume_add(const struct args *args);
int cmd_volume_list(const struct args *args);
int cmd_volume_show(const struct args *args);
int cmd_volume_release(const struct args *args);
int cmd_volume_accept(const struct args *args);
int cmd_volume_remove(const struct args *args);
int cmd_migrate(const struct args *args);
int cmd_start(const struct args *args);
int cmd_estimate(const struct args *args);
int cmd_apply(const struct args *args);
int cmd_list(const struct args *args);
int cmd_show(const struct args *args);
int cmd_watch(const struct args *args);
int cmd_retire(const struct args *args);
int cmd_verb(const struct args *args);
int cmd_verify(const struct args *args);
int cmd_set(const struct args *args);
int cmd_wait(const struct args *args);
int cmd_events(const struct args *args);
int cmd_status(const struct args *args);
int cmd_settings(const struct args *args);
int cmd_locks(const struct args *args);
int cmd_vehicles(const struct args *args);
int cmd_event(const struct args *args);
int cmd_shutdown(const struct args *args);

#endif
