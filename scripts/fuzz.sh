#!/bin/sh
# Runs each fuzz target (tests/fuzz/fuzz-*.c) under libFuzzer with AddressSanitizer, starting from its corpus. What it finds is left in
# build-fuzz/found/; a finding that was mended belongs into tests/fuzz/corpus-NAME/, which `make check` replays.
#   FUZZ_SECONDS   for each target (default 30)
set -eu
cd "$(dirname "$0")/.."
top=$PWD
CC=clang scripts/build.sh build-fuzz -Dfuzz=true -Db_sanitize=address,undefined -Db_lundef=false
mkdir -p build-fuzz/found
rc=0
for t in build-fuzz/tests/fuzz-*; do
  if [ ! -f "$t" ] || [ ! -x "$t" ]; then continue; fi
  name=${t##*/fuzz-}
  mkdir -p "build-fuzz/corpus-$name"
  echo "fuzz-$name"
  "$t" -max_total_time="${FUZZ_SECONDS:-30}" -print_final_stats=1 -artifact_prefix="$top/build-fuzz/found/$name-" \
    "build-fuzz/corpus-$name" "tests/fuzz/corpus-$name" || rc=1
done
exit $rc
