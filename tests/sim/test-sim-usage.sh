#!/bin/bash
# Wrong usage: exit status 2 and the usage on stderr; --help: 0 and the usage on stdout.
set -eu
for args in "--seed x" "--seeds 5" "--seeds 1..b" "--seconds 0" "--steps -1" "--frobnicate" "surplus"; do
  rc=0
  # shellcheck disable=SC2086
  out=$(dray-sim $args 2>&1 >/dev/null) || rc=$?
  [ $rc = 2 ] || { echo "$args: exit status $rc"; exit 1; }
  case $out in *Usage:*) ;; *) echo "$args: no usage on stderr"; exit 1 ;; esac
done
case $(dray-sim --help) in *Usage:*--seed*) ;; *) echo "--help says nothing"; exit 1 ;; esac
