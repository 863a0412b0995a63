#!/bin/sh
# The long lane: the crash tests with many more kills, and the simulator for a while. Usage: soak.sh BUILD-FOLDER
#   SOAK_KILLS     kills per crash test (default 50)
#   SOAK_VERBS     seconds of random verbs (default 300)
#   DRAY_SEED      what they choose (default: new choices each time; it is printed)
#   SOAK_SECONDS   of the simulator (default 600)
set -eu
cd "$(dirname "$0")/.."
export DRAY_SEED="${DRAY_SEED:-$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}"
echo "DRAY_SEED=$DRAY_SEED"
DRAY_KILLS=${SOAK_KILLS:-50} DRAY_SECONDS=${SOAK_VERBS:-300} scripts/check.sh "$1" --suite crash -t 20
"$1/dray-sim" --seconds "${SOAK_SECONDS:-600}"
