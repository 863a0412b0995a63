#!/bin/bash
# Each fault planted in the engine is found by the ordinary seeds; a failure says how to replay it, and does replay.
set -eu
dray-sim-teeth --teeth
out=$(dray-sim-teeth --plant OVERLAP_NOT_ORDERED --seeds 1..100) && { echo "a planted fault was not found"; exit 1; }
replay=$(sed -n 's/^ *replay: //p' <<<"$out")
rule=$(sed -n 's/^seed .* ms): //p' <<<"$out")
[ -n "$replay" ] && [ -n "$rule" ]
again=$($replay) && { echo "$replay: does not fail again"; exit 1; }
case $again in *"ms): $rule"*) ;; *) echo "$replay: fails otherwise"; exit 1 ;; esac
