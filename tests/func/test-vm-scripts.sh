#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# What `make vm-check` is made of, as far as it can be seen without a machine: the scripts say how they are used and refuse nonsense, the
# tests compile and are executable, and each asks for what the machine has.
set -eu
cd "${DRAY_SOURCE:-$(dirname "$0")/../..}"
for s in vm-check vm-guest; do
  scripts/$s.sh --help | grep -q "^Usage: $s.sh BUILD" || { echo "$s.sh --help says no usage"; exit 1; }
  if scripts/$s.sh >/dev/null 2>&1; then echo "$s.sh without a folder ends with 0"; exit 1; fi
done
guest=$(scripts/packages.sh guest)
case $guest in *lvm2*mdadm*) ;; *) echo "packages.sh guest: $guest"; exit 1 ;; esac
n=0
for t in tests/vm/test-*; do
  n=$((n + 1))
  [ -x "$t" ] || { echo "$t can't be executed"; exit 1; }
  python3 - "$t" <<'P'
import ast, sys
tree = ast.parse(open(sys.argv[1]).read())
assert ast.get_docstring(tree), "says nothing about what it shows"
assert any(isinstance(n, ast.ImportFrom) and (n.module or "").startswith("vm") for n in ast.walk(tree)), "uses no machine"
P
done
[ $n -gt 0 ]
python3 -c 'import ast; ast.parse(open("tests/lib/vm.py").read())'
