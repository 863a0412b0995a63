#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# dray(1) has every command and option that --help has, and no other; the pages are clean for mandoc; dray-session(5) has every key and
# every code of an error.
set -euo pipefail
command -v mandoc >/dev/null || { echo "mandoc is not installed"; exit 77; }
page=$DRAY_SOURCE/man/dray.1 doc=$DRAY_SOURCE/man/dray-session.5
bad=0
complain() { echo "$*" >&2; bad=1; }

for p in "$page" "$doc"; do
  # The house puts EXAMPLES first; file formats have errors too.
  mandoc -T lint -W warning "$p" | grep -vE 'sections out of conventional order|unexpected section: Sh ERRORS' && bad=1
done
text=$(mandoc -T ascii "$page" | col -b)

# What the page has an entry for: ".It Cm NAME ...", or ".Cm NAME" behind ".It Xo".
entries=$(awk 'xo || /^\.It Cm/ { sub(/^\.(It )?Cm /, ""); print } { xo = $0 == ".It Xo" }' "$page")
commands=$(dray --help | sed -n '/^Commands:/,/^Options/s/^  \([a-z]\+\( [a-z]\+\)\?\)   *.*/\1/p')
[ "$(wc -l <<<"$commands")" -gt 20 ]
while read -r c; do
  # shellcheck disable=SC2086
  help=$(dray help $c)
  grep -qE "^$c( |$)" <<<"$entries" || complain "dray(1) lacks the command $c"
  # Its options, in its own synopsis or among the options of all.
  part=$(awk -v c="$c" '/^\.It/ && on { exit } $0 ~ "^\\.It Cm " c "( |$)" || (xo && $0 ~ "^\\.Cm " c "( |$)") { on = 1 } on { print }
    { xo = $0 == ".It Xo" } /^\.Xc/ && on { exit }' "$page")
  for o in $(grep -oE '^  (-[a-z], |    )--[a-z-]+' <<<"$help" | grep -oE -- '--[a-z-]+'); do
    case $o in --output | --socket | --help) in=$text ;; *) in=$part ;; esac
    grep -qE -- "(-|Fl )-?${o#--}( |$|,|\]|\))" <<<"$in" || complain "dray(1) lacks $o of $c"
  done
done <<<"$commands"

all=$(while read -r c; do
  # shellcheck disable=SC2086
  dray help $c
done <<<"$commands"; dray --help)
for o in $(grep -oE -- '--[a-z][a-z-]+' <<<"$text" | sort -u); do
  grep -q -- "$o" <<<"$all" || complain "dray(1) has $o, no command has"
done
while read -r c; do
  grep -qxF "$c" <<<"$commands" || [ "$c" = help ] || complain "dray(1) has the command $c, the program has not"
done < <(sed -E 's/^((volume )?[a-z]+).*/\1/' <<<"$entries")

keys=$(sed -n 's/^	{ "\([a-z_.]*\)", DRAY_T_.*/\1/p' "$DRAY_SOURCE/src/session/schema.c")
[ "$(wc -l <<<"$keys")" -gt 40 ]
for k in $keys; do
  grep -qE "(^|[ .])${k##*.}( |,|$|:)" "$doc" || complain "dray-session(5) lacks the key $k"
done
codes=$(cd "$DRAY_SOURCE/src/session" && grep -hoE '(dray_check_fail|refuse|dray_problems_add|bad)\([^"]*"[a-z_]+"' ./*.c | grep -oE '"[a-z_]+"' | tr -d '"' | sort -u)
[ "$(wc -l <<<"$codes")" -gt 8 ]
for c in $codes; do
  grep -qx ".It Er $c" "$doc" || complain "dray-session(5) lacks the code $c"
done
exit $bad
