#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# docs/states.md is what the tables of states say.
set -eu
states-doc | diff -u "$DRAY_SOURCE/docs/states.md" - || {
  echo "docs/states.md is out of date: ./run states-doc > docs/states.md" >&2
  exit 1
}
