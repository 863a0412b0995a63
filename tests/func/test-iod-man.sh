#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# dray-iod --help and its manual page name the same options, and wrong usage is told.
set -eu
page=$DRAY_SOURCE/man/dray-iod.8
help=$(dray-iod --help | grep -o -- '^  --[a-z-]*' | tr -d ' ' | sort -u)
man=$(sed -n 's/^\.It Fl -\([a-z-]*\).*/--\1/p' "$page" | sort -u)
[ -n "$help" ]
[ "$help" = "$man" ] || { printf 'help:\n%s\nman:\n%s\n' "$help" "$man"; exit 1; }
[ "$(dray-iod --version | cut -d' ' -f1)" = dray-iod ]
for bad in --nonsense "--threads 0" "--threads x" "--log loud" extra; do
  rc=0
  # shellcheck disable=SC2086
  dray-iod $bad 2>/dev/null || rc=$?
  [ $rc = 2 ] || { echo "$bad: status $rc"; exit 1; }
done
