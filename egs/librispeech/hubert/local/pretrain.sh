#!/usr/bin/env bash
# Pretrains the first iteration, clusters a layer of it, and pretrains what was asked for.
# The units of the second iteration come from the first seed's model, for all seeds.
set -euo pipefail
scale=$1 seeds=$2 exp_dir=$3 experiments=$4
read -ra overrides <<<"$5"
selected=()
if [ -n "$experiments" ]; then selected=(--select "$experiments"); fi

pretrain() {
    speechlite pretrain --config_dir conf --config "pretrain_$scale" --experiments conf/experiments.yaml \
        --exp_dir "$exp_dir" "$@" "${overrides[@]}"
}

pretrain --select iteration1 --seeds "${seeds%%,*}"
speechlite units --config_dir conf --config "units_layer_$scale" --out_dir dump/units/iteration2 \
    "model=$exp_dir/iteration1/seed${seeds%%,*}/pretrain/model"
pretrain --seeds "$seeds" "${selected[@]}"
