#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# The demo holds, with a small volume and without a terminal; it leaves nothing behind, and refuses a place that is too small.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
export DRAY_DEMO_DIR="$dir" B="${DRAY_BUILD##*/}"
DRAY_DEMO_SIZE=64M DRAY_DEMO_RATE=6MiB "$DRAY_SOURCE/scripts/demo.sh" </dev/null >"$dir/out" 2>&1 || {
  cat "$dir/out"
  exit 1
}
cat "$dir/out"
grep -q 'Everything held' "$dir/out"
[ "$(ls "$dir")" = out ]
if DRAY_DEMO_SIZE=1000T "$DRAY_SOURCE/scripts/demo.sh" </dev/null >"$dir/out" 2>&1; then
  echo "a demo of 1000T was not refused"
  exit 1
fi
grep -q 'of free disk space' "$dir/out"
