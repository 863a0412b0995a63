#!/bin/bash
# The tests that need a real kernel of their own (LVM, SCSI, md, kernel NBD, loss of power), in emulated machines: tests/vm/test-*.py.
# Closes with one line: N passed, N failed, N skipped. Logs: BUILD/vm/logs.
# Usage: vm-check.sh BUILD [TEST...]      TEST: test-NAME.py, or any part of its name (default: all)
#   VM_JOBS     machines side by side (default: the number of processors, at most 4)
#   VM_TIMEOUT  seconds for a test (default 1200)
#   VM_ACCEL    of qemu (default tcg: emulation, which works everywhere; kvm where that works)
set -u
cd "$(dirname "$0")/.." || exit 1
case ${1:-} in -h | --help | '') sed -n '2,8s/^# \{0,1\}//p' scripts/vm-check.sh; [ -n "${1:-}" ] && exit 0; exit 2 ;; esac
dir=$1
shift
command -v qemu-system-x86_64 >/dev/null || {
  echo "vm-check.sh: there is no qemu-system-x86_64: it comes with Debian's package qemu-system-x86 (scripts/packages.sh vm installs it)" >&2
  exit 1
}
scripts/vm-guest.sh "$dir" || {
  echo "vm-check.sh: there is no machine to test on: see above" >&2
  exit 1
}
DRAY_BUILD=$(cd "$dir" && pwd)
export DRAY_BUILD
logs=$DRAY_BUILD/vm/logs
rm -rf "$logs"
mkdir -p "$logs"
tests=()
for t in tests/vm/test-*.py; do
  [ $# = 0 ] && tests+=("$t")
  for want in "$@"; do case ${t##*/} in *"$want"*) tests+=("$t"); break ;; esac; done
done
[ ${#tests[@]} -gt 0 ] || { echo "no test is named like that: $*" >&2; exit 2; }

one() { # test
  local t=$1 name=${1##*/} from=$SECONDS rc
  timeout -k 10 "${VM_TIMEOUT:-1200}" python3 "$t" >"$2/$name.log" 2>&1 </dev/null
  rc=$?
  echo "$rc" >"$2/$name.rc"
  case $rc in
    0) echo "ok   $name $((SECONDS - from)) s" ;;
    77) echo "skip $name: $(sed -n 's/^SKIP: //p' "$2/$name.log")" ;;
    *)
      echo "FAIL $name $((SECONDS - from)) s, status $rc:"
      tail -n 150 "$2/$name.log" | sed 's/^/     /'
      ;;
  esac
}
export -f one
jobs=${VM_JOBS:-$(nproc)}
[ "$jobs" -le 4 ] || jobs=4
printf '%s\n' "${tests[@]}" | xargs -P "$jobs" -I{} bash -c 'one "$@"' - {} "$logs"

passed=0 failed=0 skipped=0
for t in "${tests[@]}"; do
  case $(cat "$logs/${t##*/}.rc" 2>/dev/null) in
    0) passed=$((passed + 1)) ;;
    77) skipped=$((skipped + 1)) ;;
    *) failed=$((failed + 1)) ;;
  esac
done
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ] && [ $passed -gt 0 ]
