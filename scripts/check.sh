#!/bin/sh
# Runs the tests of a build folder and closes with one line: N passed, N failed, N skipped. Usage: check.sh FOLDER [meson test options]
set -u
cd "$(dirname "$0")/.." || exit 1
dir=$1
shift
# Most of them wait for something most of the time, for a disk above all: three for each processor.
meson test -C "$dir" --no-rebuild --print-errorlogs --num-processes "$((3 * $(nproc)))" "$@"
rc=$?
python3 - "$dir/meson-logs/testlog.json" <<'P' || rc=1
import json, sys
n = {}
for line in open(sys.argv[1]):
    r = json.loads(line)["result"]
    n[r] = n.get(r, 0) + 1
good = n.pop("OK", 0) + n.pop("EXPECTEDFAIL", 0)
skip = n.pop("SKIP", 0)
bad = sum(n.values())
print(f"{good} passed, {bad} failed, {skip} skipped")
sys.exit(bad > 0 or good == 0)
P
exit $rc
