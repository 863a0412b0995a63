/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The commands and their options: the one table from which the command line is parsed and its help is printed. The man page is
 * held against it by a test.
 */
#include "cli/cli.h"

const struct option_spec option_specs[OPTION_COUNT] = {
#define X(id, letter, name, argument, help) { letter, name, argument, help },
	OPTIONS(X)
#undef X
};

#define LIST(...) (const enum option_id[]){ __VA_ARGS__ __VA_OPT__(, ) OPTION_COUNT }

const struct command commands[] = {
	{ "volume add", "NAME RESOURCE", 2, 2, "serve a storage resource as a volume",
		"RESOURCE is a file, a block device or an NBD URI. Applications connect to the URI that is printed; from then on\n"
		"the data can be moved under them.",
		"dray volume add orders /dev/vg/orders\n", LIST(OPT_BLOCK_SIZE), cmd_volume_add },
	{ "volume list", "", 0, 0, "list the volumes", NULL, "dray volume list\n", LIST(), cmd_volume_list },
	{ "volume show", "NAME", 1, 1, "show a volume: its URI, its legs and their states", NULL,
		"dray volume show orders\n", LIST(), cmd_volume_show },
	{ "volume remove", "NAME", 1, 1, "stop serving a volume",
		"Refused while a client is connected or a session moves it. The data is not touched.",
		"dray volume remove orders\n", LIST(), cmd_volume_remove },

	{ "volume release", "NAME", 1, 1, "let go of a volume's legs that belong to no session",
		"Legs that no session on record owns, as `dray status` names them under orphans: what is left after the agent's\n"
		"repository was lost. What serves the volume stays, and the legs keep the data they have, which ends with that\n"
		"moment: after a switch that is the way back. A hidden volume of a lost session is removed. Asks on a terminal.",
		"dray volume release orders\n", LIST(OPT_YES), cmd_volume_release },
	{ "volume accept", "NAME", 1, 1, "serve a volume as it is found",
		"For a volume that is not served since its state is older than what the agent has seen, or another one of that name\n"
		"(dray-iod's state directory was lost, or an older copy put back), or whose device has no identity that outlives a\n"
		"restart of the host. Its sessions go where it says. Asks on a terminal.",
		"dray volume accept orders\n", LIST(OPT_YES), cmd_volume_accept },

	{ "migrate", "SOURCE TARGET...", 2, MANY, "move one volume or resource: start, show progress, until done",
		"SOURCE is volume:NAME for a volume in use: it is copied while applications go on, and switched to TARGET once in\n"
		"sync; `dray undo` leads back until `dray commit`. SOURCE may also be a file or device that nobody uses: then its\n"
		"data is copied, and that is all. With several targets the first takes over, the others become copies of the\n"
		"moment of the switch. Ctrl-C leaves the session running.",
		"dray migrate volume:orders /dev/mapper/new-orders\n"
		"dray migrate volume:orders /srv/new/orders.img --create thin --rate 100MiB\n"
		"dray migrate old.img new.img --create full\n",
		LIST(OPT_NAME, OPT_RATE, OPT_IN_FLIGHT, OPT_STEP, OPT_STEPS, OPT_PRIORITY, OPT_CREATE, OPT_FORMAT, OPT_OVERWRITE,
			OPT_VEHICLE, OPT_COPY, OPT_WHEN, OPT_DEADLINE, OPT_COMMIT, OPT_RETIRE, OPT_VERIFY, OPT_NO_CHECKPOINT, OPT_NO_WAIT, OPT_PROGRESS),
		cmd_migrate },
	{ "start", "SPEC", 1, 1, "start a session from its document",
		"SPEC is a file in YAML or JSON, or - for standard input; dray-session(5) describes it. Everything wrong with it is\n"
		"told at once, and then nothing has been touched.",
		"dray start move.yaml --wait\n"
		"dray start - --dry-run <move.yaml\n",
		LIST(OPT_WAIT, OPT_PROGRESS, OPT_DRY_RUN), cmd_start },
	{ "list", "", 0, 0, "list the sessions",
		"All that are not over, and the 100 newest of those that are; what is left out is said.",
		"dray list\ndray list --all\ndray list --state copying -o json\n", LIST(OPT_STATE, OPT_LIMIT, OPT_ALL), cmd_list },
	{ "show", "SESSION", 1, 1, "show a session's document with its states and progress",
		"SESSION is an id or a name, here and everywhere.", "dray show orders\ndray show orders -o json\n", LIST(), cmd_show },
	{ "watch", "SESSION", 1, 1, "follow a session's progress until it is switched, or over",
		"Ctrl-C ends the watching, not the session.", "dray watch orders\n", LIST(OPT_PROGRESS), cmd_watch },
	{ "pause", "SESSION", 1, 1, "stop copying for now",
		"What was copied stays mirrored, so that nothing is copied twice. What can't be paused is named.",
		"dray pause orders\ndray pause orders --pair 2\n", LIST(OPT_PAIR, OPT_DETACH), cmd_verb },
	{ "resume", "SESSION", 1, 1, "go on copying after a pause", NULL, "dray resume orders\n", LIST(OPT_PAIR), cmd_verb },
	{ "cancel", "SESSION", 1, 1, "give a session up; the source stays as it is", NULL, "dray cancel orders\n",
		LIST(OPT_PAIR), cmd_verb },
	{ "set", "SESSION KEY=VALUE...", 2, MANY, "change a running session",
		"Keys: priority, start, window, max_duration, limits.active_pairs, limits.rate, limits.in_flight, limits.step,\n"
		"limits.steps, limits.app_latency, limits.vehicle, limits.vehicle.host.active_pairs, limits.vehicle.host.in_flight,\n"
		"switch.when, switch.window, switch.deadline, switch.attempts, switch.on_failure, switch.commit, switch.retire,\n"
		"switch.partial, switch.accept_bad_ranges, on_error, verify. Of a pair: limits.rate, limits.in_flight, limits.step,\n"
		"limits.steps, limits.app_latency, with --pair, or as pairs.2.limits.rate.\n"
		"`none` lifts a limit or a window. All are changed, or none.",
		"dray set orders limits.rate=50MiB priority=high\ndray set orders --pair 2 limits.rate=10MiB\ndray set orders limits.rate=none\n",
		LIST(OPT_PAIR), cmd_set },
	{ "switch", "SESSION", 1, 1, "let the applications use the targets",
		"All volumes of the session switch at one instant; each has to be synced. `dray undo` leads back. Where the source has sectors\n"
		"that can't be read the target has zeroes: refused, unless that is accepted. Afterwards they read as errors until overwritten.",
		"dray switch orders\n", LIST(OPT_PAIR, OPT_ACCEPT_BAD), cmd_verb },
	{ "undo", "SESSION", 1, 1, "go back to the sources after a switch, with everything written since",
		"Refused while a source lacks something. With --force it is done all the same, for a target that is dead: what the source lacks\n"
		"is told, and is as it was before. Asks first on a terminal then.",
		"dray undo orders\ndray undo orders --force --yes\n", LIST(OPT_PAIR, OPT_ACCEPT_BAD, OPT_FORCE, OPT_YES), cmd_verb },
	{ "commit", "SESSION", 1, 1, "let the sources go: no undo any more",
		"Asks first on a terminal.", "dray commit orders --yes\n", LIST(OPT_PAIR, OPT_YES), cmd_verb },
	{ "retire", "SESSION", 1, 1, "make the sources inaccessible, after the commit",
		"Without --how it is done as the document says (switch.retire). Ways but read-only ask first on a terminal. A retire that\n"
		"failed can be tried again, in another way too. What each way does to which storage is in docs/RETIRE.md.",
		"dray retire orders --how read-only\ndray retire orders --how zero --pair 2 --yes\n", LIST(OPT_HOW, OPT_PAIR, OPT_YES),
		cmd_retire },
	{ "retry", "SESSION", 1, 1, "try failed pairs again, from what is there",
		"Of a pair that is not failed, what its source could not read is looked at once more.",
		"dray retry orders --pair 2\ndray retry orders --pair 2 --vehicle host\n", LIST(OPT_PAIR, OPT_VEHICLE), cmd_verb },
	{ "verify", "SESSION", 1, 1, "compare the targets with the source, while in use",
		"Exit status 1 if anything differs, also where it was repaired.", "dray verify orders\ndray verify orders --sample 64\n", LIST(OPT_PAIR, OPT_SAMPLE, OPT_REPAIR), cmd_verify },
	{ "wait", "SESSION STATE", 2, 2, "wait until a session has reached a state",
		"Status 0 when the state is reached, or passed on the normal path; 1 once it can't be reached any more; 7 when the time\n"
		"is over.",
		"dray wait orders synced --timeout 2h\n", LIST(OPT_TIMEOUT), cmd_wait },
	{ "events", "[SESSION]", 0, 1, "tell what happened", NULL, "dray events orders --follow\n", LIST(OPT_FOLLOW, OPT_AFTER),
		cmd_events },
	{ "event", "NAME", 1, 1, "tell the sessions that wait for an event that it came",
		"Those whose start is {event: NAME} begin; those whose switch.when is are switched once they are in sync. It is for the\n"
		"sessions that are there when it comes; nothing is kept of it for later ones.",
		"dray event batch-done\n", LIST(), cmd_event },
	{ "status", "", 0, 0, "tell how the agent and dray-iod are", NULL, "dray status\n", LIST(), cmd_status },
	{ "settings", "[KEY=VALUE...]", 0, MANY, "show the agent's settings, or change them while it runs",
		"What is set here is kept over restarts and goes before the agent's file; the value `default` takes it back. drayd(8) lists the\n"
		"keys. All are changed, or none.",
		"dray settings\ndray settings active_pairs=8 rate=400MiB\ndray settings rate=default\n", LIST(), cmd_settings },
	{ "locks", "", 0, 0, "list the locked devices and the sessions that hold them", NULL, "dray locks\n", LIST(), cmd_locks },
	{ "vehicles", "", 0, 0, "list the ways in which data can be moved", NULL, "dray vehicles\n", LIST(), cmd_vehicles },
	{ "shutdown", "", 0, 0, "end the agent and dray-iod",
		"Refused while a client is connected, unless forced: applications lose their volumes then. (SIGTERM ends drayd alone\n"
		"and leaves the volumes served.)",
		"dray shutdown\n", LIST(OPT_FORCE), cmd_shutdown },
	{ "estimate", "SPEC", 1, 1, "how long a session would take",
		"Nothing is started, locked or written: the sources are read for a moment, and limits, windows and timetables are played through.\n"
		"The answer is a range, with what was assumed for it. `-` reads standard input.",
		"dray estimate night.yaml\ndray estimate -o json night.yaml\n", LIST(), cmd_estimate },
	{ "apply", "SPEC", 1, 1, "change a session by its changed document",
		"The session of that name, or id, gets what `dray set` could change as the document has it, and the limits of its pairs; a key that\n"
		"is left out gets its default. If anything else differs, nothing is changed. What `dray show -o yaml` prints can be edited.",
		"dray show orders -o yaml > orders.yaml\ndray apply orders.yaml\n", LIST(), cmd_apply },
};

const size_t commands_n = sizeof commands / sizeof commands[0];
