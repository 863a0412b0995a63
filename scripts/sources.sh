#!/bin/sh
# Prints the files below a folder that match a pattern, sorted: what the build compiles. Usage: sources.sh FOLDER PATTERN
cd "${MESON_SOURCE_ROOT:-$(dirname "$0")/..}" || exit 1
[ -d "$1" ] || exit 0
find "$1" -name "$2" -type f | LC_ALL=C sort
