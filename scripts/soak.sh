#!/bin/sh
# The long lane: the crash tests with many more kills, and the simulator for a while. Usage: soak.sh BUILD-FOLDER
#   SOAK_KILLS     kills per crash test (default 50)
#   SOAK_SECONDS   of the simulator (default 600)
set -eu
cd "$(dirname "$0")/.."
DRAY_KILLS=${SOAK_KILLS:-50} scripts/check.sh "$1" --suite crash -t 20
"$1/dray-sim" --seconds "${SOAK_SECONDS:-600}"
