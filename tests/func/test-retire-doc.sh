#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# The tables in docs/RETIRE.md are what the table of ways says.
set -eu
retire-doc >"${TMPDIR:-/tmp}/retire-doc.$$"
trap 'rm -f "${TMPDIR:-/tmp}/retire-doc.$$"' EXIT
sed -n '/^| storage |/,/^## Fine print/p' "$DRAY_SOURCE/docs/RETIRE.md" | sed '/^## Fine print/d' |
  diff -u - "${TMPDIR:-/tmp}/retire-doc.$$" || {
  echo "docs/RETIRE.md is out of date: put the output of ./run retire-doc between its headings" >&2
  exit 1
}
