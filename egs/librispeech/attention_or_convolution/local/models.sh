#!/usr/bin/env bash
# Pretrains the encoders that were asked for.
set -euo pipefail
scale=$1 seeds=$2 exp_dir=$3 experiments=$4
read -ra overrides <<<"$5"
selected=()
if [ -n "$experiments" ]; then selected=(--select "$experiments"); fi
speechlite pretrain --config_dir conf --config "pretrain_$scale" --experiments conf/experiments.yaml \
    --exp_dir "$exp_dir" --seeds "$seeds" "${selected[@]}" "${overrides[@]}"
