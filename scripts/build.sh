#!/bin/sh
# Configures (or reconfigures, when a source file came or went) and builds a build folder.
# Usage: build.sh FOLDER [meson options]
set -eu
cd "$(dirname "$0")/.."
dir=$1
shift
list=$(find src tests bench man -type f ! -path "bench/results/*" | LC_ALL=C sort; cat ./meson.build ./meson_options.txt ./*/meson.build; echo "$@")
if [ ! -f "$dir/build.ninja" ]; then
  meson setup "$dir" "$@"
  printf '%s\n' "$list" >"$dir/.sources"
elif [ "$list" != "$(cat "$dir/.sources" 2>/dev/null)" ]; then
  meson setup --reconfigure "$dir" "$@"
  printf '%s\n' "$list" >"$dir/.sources"
fi
ninja -C "$dir"
