#!/bin/bash
# A seed replays exactly: its trace is the same each time, and differs from another seed's.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
for seed in 7 4711; do
  dray-sim --seed $seed >"$dir/first"
  dray-sim --seed $seed >"$dir/second"
  # The last line has the time it took.
  head -n -1 "$dir/first" >"$dir/a"
  head -n -1 "$dir/second" >"$dir/b"
  cmp "$dir/a" "$dir/b"
  [ "$(wc -l <"$dir/a")" -gt 500 ]
done
dray-sim --seed 8 >"$dir/other"
! cmp -s "$dir/first" "$dir/other"
