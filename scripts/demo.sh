#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# make demo: a volume moves from one storage to another and back while an application uses it.
#
# Everything happens in a scratch directory that is removed at the end; no root needed. The application (dray-stamp) writes blocks
# that say which write they are, reads them back all the time and compares with its own record. The exit status says whether
# everything held.
#
#   DRAY_DEMO_SIZE   size of the volume (default 1G)
#   DRAY_DEMO_RATE   copy rate (default: so that the copy takes about 8 seconds)
#   DRAY_DEMO_DIR    where the scratch directory is made (default: TMPDIR or /tmp, else /var/tmp, whichever has the space)
set -euo pipefail
cd "$(dirname "$0")/.."
B=$PWD/${B:-build}
PATH=$B:$B/tests:$PATH
export DRAY_IOD=$B/dray-iod
bytes() { numfmt --from=iec "${1%iB}"; }
size=$(bytes "${DRAY_DEMO_SIZE:-1G}")
rate=${DRAY_DEMO_RATE:-$((size / 8 / 1048576))MiB}

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
  bold=$'\e[1m' dim=$'\e[2m' green=$'\e[32m' red=$'\e[31m' plain=$'\e[0m'
else
  bold='' dim='' green='' red='' plain=''
fi

# --- a place with space for two storages ------------------------------------------------------------------------------
need=$((size * 2 + size / 8 + 64 * 1048576))
place=
for d in ${DRAY_DEMO_DIR:-"${TMPDIR:-/tmp}" /var/tmp "$B"}; do
  free=$(df --output=avail -B1 "$d" 2>/dev/null | tail -n 1) || continue
  if [ "$free" -ge "$need" ]; then
    place=$d
    break
  fi
done
if [ -z "$place" ]; then
  echo "The demo needs $(numfmt --to=iec "$need") of free disk space for two storages of $(numfmt --to=iec "$size"); there is not that much in" \
    "${DRAY_DEMO_DIR:-${TMPDIR:-/tmp}, /var/tmp or $B}." >&2
  echo "Give it another place (DRAY_DEMO_DIR=/path make demo) or a smaller volume (DRAY_DEMO_SIZE=256M make demo)." >&2
  exit 1
fi
dir=$(mktemp -d "$place/dray-demo-XXXXXX")
export DRAY_SOCKET=$dir/run/agent.sock

agent_pid='' app_pid='' migrate_pid=''
cleanup() {
  rc=$?
  trap - EXIT INT TERM
  [ -z "$migrate_pid" ] || kill "$migrate_pid" 2>/dev/null || true
  [ -z "$app_pid" ] || kill "$app_pid" 2>/dev/null || true
  if [ -n "$agent_pid" ]; then
    timeout 10 dray shutdown --force >/dev/null 2>&1 || true
    for pid in "$agent_pid" ${iod_pid:-}; do
      kill "$pid" 2>/dev/null || true
      for _ in $(seq 50); do kill -0 "$pid" 2>/dev/null || break; sleep 0.05; done
      kill -9 "$pid" 2>/dev/null || true
    done
  fi
  if [ $rc != 0 ] && [ -s "$dir/drayd.log" ]; then
    echo "${dim}the end of the agent's log:" >&2
    tail -n 15 "$dir/drayd.log" >&2
    echo -n "$plain" >&2
  fi
  rm -rf "$dir"
  exit $rc
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
note() { printf '%s  %s%s\n' "$dim" "$*" "$plain"; }
exec 3>&2 # what fail says is seen also where stderr is put away
fail() {
  printf '%s%s%s\n' "$red" "$*" "$plain" >&3
  exit 1
}
# Shows a command as a person would type it, and runs it.
run() {
  printf '%s$ dray %s%s\n' "$dim" "${*//$dir\//}" "$plain"
  dray "$@"
}
# json FILE-OR-- EXPRESSION: the expression sees the document as d.
json() { python3 -c 'import json,sys; d=json.load(sys.stdin if sys.argv[1] == "-" else open(sys.argv[1])); print(eval(sys.argv[2]))' "$@"; }
pair() { dray show orders -o json | json - "d['pairs'][0]$1"; }
app() { json "$dir/app.status" "d['$1']"; }
# wait_for SECONDS WHAT COMMAND...: until the command succeeds.
wait_for() {
  local end=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" 2>/dev/null; do
    [ $SECONDS -lt $end ] || fail "waited too long for: $what"
    sleep 0.05
  done
}
app_lives() { kill -0 "$app_pid" 2>/dev/null || fail "the application ended: $(cat "$dir/app.err")"; }
more_writes() {
  local was=$1
  app_lives
  [ "$(app writes)" -ge $((was + 500)) ]
}

# --- two storages, an agent, an application ---------------------------------------------------------------------------
say "Two storages, an agent, and a volume of $(numfmt --to=iec "$size") that an application writes to all the time"
mkdir "$dir/old-storage" "$dir/new-storage"
old=$dir/old-storage/orders.img new=$dir/new-storage/orders.img
truncate -s "$size" "$old"
drayd --state-dir "$dir/state" --run-dir "$dir/run" </dev/null >>"$dir/drayd.log" 2>&1 &
agent_pid=$!
agent_answers() { kill -0 $agent_pid 2>/dev/null || fail "the agent did not start: $(tail -n 3 "$dir/drayd.log")"; [ "$(dray status -o json | json - "d['iod']['connected']")" = True ]; }
wait_for 15 "the agent" agent_answers
iod_pid=$(dray status -o json | json - "d['iod']['pid']")

run volume add orders "$old"
uri="nbd+unix:///orders?socket=$dir/run/nbd.sock"
note "the application fills the volume through its NBD export"
dray-stamp run --uri "$uri" --journal "$dir/app.journal" --fill-only --depth 8 >"$dir/fill.json" 2>"$dir/app.err" ||
  fail "the application could not fill the volume: $(cat "$dir/app.err")"
dray-stamp run --uri "$uri" --journal "$dir/app.journal" --status "$dir/app.status" --depth 8 --rate 2000 --blocks-max 4 \
  --read-percent 40 --flush-every 200 --no-reconnect >"$dir/app.json" 2>"$dir/app.err" &
app_pid=$!
wait_for 30 "the application" test -s "$dir/app.status"
wait_for 10 "the first writes" more_writes 0
note "the application: 2000 requests a second of up to 16 KiB, every block stamped and checked when read back"

# --- copy, pause, resume, switch --------------------------------------------------------------------------------------
say "Migrate: copy while the application goes on; paused and resumed on the way; the switch by itself at the end"
printf '%s$ dray migrate volume:orders new-storage/orders.img --name orders --create thin --rate %s%s\n' "$dim" "$rate" "$plain"
began=$(date +%s.%N)
dray migrate volume:orders "$new" --name orders --create thin --rate "$rate" 2>&1 &
migrate_pid=$!
part_done() { [ "$(pair "['progress']['bytes_done']")" -ge $((size * $1 / 100)) ]; }
told=
progress_line() { # where there is no terminal to draw a bar on
  [ -t 1 ] || [ "$told" = "$1" ] || { told=$1; note "$(dray show orders -o json | json - "'{state}: {0} of {1} MiB'.format(
    d['pairs'][0]['progress']['bytes_done'] >> 20, d['pairs'][0]['progress']['bytes_total'] >> 20, state=d['state'])")"; }
}
wait_for 60 "30 percent" part_done 30
progress_line 30
dray pause orders >/dev/null
before=$(pair "['progress']['bytes_copied']")
writes=$(app writes)
wait_for 20 "the application goes on while the copy is paused" more_writes "$writes"
sleep 0.7 # for the eye: a paused bar
after=$(pair "['progress']['bytes_copied']")
progress_line paused
dray resume orders >/dev/null
wait_for 60 "60 percent" part_done 60
progress_line 60
migrate_status=0
wait "$migrate_pid" || migrate_status=$?
migrate_pid=
ended=$(date +%s.%N)
[ $migrate_status = 0 ] || fail "dray migrate ended with status $migrate_status"
dray show orders -o json >"$dir/switched.json"
note "paused at $((before * 100 / size)) %: the copy stood still, the application did not"
note "$(json "$dir/switched.json" "'switched: predicted blackout {} us, measured {} us'.format(d['pairs'][0]['predicted_blackout_us'], d['pairs'][0]['blackout_us'])")"

# --- undo, again, commit ----------------------------------------------------------------------------------------------
say "On the new storage: more writes, and the old one follows. Undo: back on the old storage, with all of them"
writes=$(app writes)
wait_for 20 "more writes" more_writes "$writes"
run undo orders
dray show orders -o json >"$dir/undone.json"
note "$(json "$dir/undone.json" "'back on the old storage: blackout {} us'.format(d['pairs'][0]['blackout_us'])")"
writes=$(app writes)
wait_for 20 "more writes" more_writes "$writes"

say "Switch again, and commit: the old storage is let go"
run switch orders
dray show orders -o json >"$dir/again.json"
note "$(json "$dir/again.json" "'on the new storage: blackout {} us'.format(d['pairs'][0]['blackout_us'])")"
writes=$(app writes)
wait_for 20 "more writes" more_writes "$writes"
app_lives
kill "$app_pid"
app_status=0
wait "$app_pid" || app_status=$?
app_pid=
run commit orders --yes
dray show orders -o json >"$dir/end.json"

# --- did it hold? -----------------------------------------------------------------------------------------------------
say "Compare"
same=no
cmp -n "$size" "$old" "$new" && same=yes
note "old and new storage, byte by byte: $([ $same = yes ] && echo equal || echo DIFFERENT)"
stamps=no
dray-stamp verify --journal "$dir/app.journal" "$new" >"$dir/verify.json" && stamps=yes
note "$(json "$dir/verify.json" "'every block the application wrote, on the new storage: {} checked, {} wrong'.format(d['blocks_checked'], d['bad'])")"

python3 - "$dir" "$size" "$began" "$ended" "$app_status" $same $stamps $((after - before)) "$green" "$red" "$plain" "$bold" <<'P'
import json, sys
dir, size, began, ended, app_status, same, stamps, while_paused, green, red, plain, bold = sys.argv[1:]
load = lambda name: json.load(open(f"{dir}/{name}.json"))
switched, undone, again, end, app, verify = map(load, ("switched", "undone", "again", "end", "app", "verify"))
at_switch, final = switched["pairs"][0]["progress"], end["pairs"][0]["progress"]
mib = lambda n: f"{n / 1048576:,.0f} MiB"
ms = lambda doc: f"{doc['pairs'][0]['blackout_us'] / 1000:.1f} ms"
seconds = float(ended) - float(began)
blackouts = [d["pairs"][0]["blackout_us"] for d in (switched, undone, again)]
rows = [
    ("bytes moved", mib(at_switch["bytes_copied"]) + (f", and {mib(at_switch['bytes_skipped'])} skipped as empty" if at_switch["bytes_skipped"] else ""),
     at_switch["bytes_copied"] + at_switch["bytes_skipped"] <= int(size)),
    ("bytes moved twice", str(final["bytes_recopied"]), final["bytes_recopied"] == 0),
    ("moved while paused", while_paused, while_paused == "0"),
    ("time, rate", f"{seconds:.1f} s with the pause, {mib(int(size) / seconds)}/s on average (limited)", None),
    ("blackout predicted", f"{switched['pairs'][0]['predicted_blackout_us'] / 1000:.1f} ms", None),
    ("blackout measured", f"switch {ms(switched)}, undo {ms(undone)}, switch {ms(again)}", max(blackouts) < 2_000_000),
    ("the application", f"{app['writes']:,} writes, {app['reads']:,} reads; median {app['p50_us'] / 1000:.1f} ms, p99 {app['p99_us'] / 1000:.1f} ms, "
     f"longest {app['longest_wait_us'] / 1000:.1f} ms", app["writes"] > 0 and app["reads"] > 0),
    ("errors it saw", str(app["errors"] + app["bad"] + app["cut_off"]), app["errors"] + app["bad"] + app["cut_off"] == 0 and app_status == "0"),
    ("old = new storage", same, same == "yes"),
    ("blocks as written", f"{verify['blocks_checked']:,} checked, {verify['bad']} wrong", stamps == "yes" and verify["exact"] and verify["blocks_checked"] > 0),
    ("final state", end["state"], end["state"] == "committed"),
]
print(f"\n{bold}Summary{plain}")
for name, text, good in rows:
    mark = "  " if good is None else f"{green}ok{plain}" if good else f"{red}WRONG{plain}"
    print(f"  {mark}  {name:20} {text}")
bad = [r[0] for r in rows if r[2] is False]
print(f"\n{green}Everything held.{plain}" if not bad else f"\n{red}Did not hold: {', '.join(bad)}{plain}")
sys.exit(bool(bad))
P
