#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# The tables in docs/RETIRE.md are what the table of ways says; and each way that is possible for a kind of storage is done to one by a
# test that exists, says so, and is run. A test says so in a line "# Shows: KIND: WAY...", and names each of the ways in its code.
set -eu
out=$(mktemp -d "${TMPDIR:-/tmp}/retire-doc.XXXXXX")
trap 'rm -rf "$out"' EXIT
cd "$DRAY_SOURCE"
retire-doc >"$out/table"
sed -n '/^| storage |/,/^## Fine print/p' docs/RETIRE.md | sed '/^## Fine print/d' | diff -u - "$out/table" || {
  echo "docs/RETIRE.md is out of date: put the output of ./run retire-doc between its headings" >&2
  exit 1
}
retire-doc shown >"$out/shown"
[ "$(wc -l <"$out/shown")" -ge 20 ] || { echo "retire-doc shown says nothing" >&2; exit 1; }
bad=0
while read -r test kind way; do
  case $test in
    nobody) echo "$kind: \"$way\" is possible, and no test shows it: refuse it, or show it" >&2; bad=1; continue ;;
    refused) echo "$kind: \"$way\" is refused, and said to be shown" >&2; bad=1; continue ;;
  esac
  if [ ! -x "$test" ]; then
    echo "$kind: \"$way\" is shown by $test, which does not exist" >&2
    bad=1
  elif ! sed -n "s/^# Shows: $kind: \(.*\)$/ \1 /p" "$test" | grep -q -e " $way "; then
    echo "$kind: \"$way\": $test does not say that it shows it" >&2
    bad=1
  elif ! grep -v '^ *#' "$test" | grep -q -e "\"$way\""; then
    echo "$kind: \"$way\": $test does nothing of the kind" >&2
    bad=1
  fi
done <"$out/shown"
# Nor does a test claim what the table does not have.
grep -H '^# Shows: ' tests/*/test-*.py | while IFS=: read -r file _ kind ways; do
  for way in $ways; do
    grep -qx -e "$file${kind} $way" "$out/shown" || { echo "$file says that it shows$kind: \"$way\": the table knows nothing of it" >&2; echo bad >"$out/bad"; }
  done
done
[ "$bad" = 0 ] && [ ! -e "$out/bad" ]
