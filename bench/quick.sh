#!/bin/sh
# The I/O path beside its peers, in under 5 minutes: make bench-quick. See bench/quick.py.
set -eu
cd "$(dirname "$0")/.."
exec python3 bench/quick.py "$@"
