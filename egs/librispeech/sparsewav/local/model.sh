#!/usr/bin/env bash
# Imports the model to fine-tune, or pretrains it as HuBERT's first iteration.
set -euo pipefail
scale=$1 seeds=$2 exp_dir=$3 model=$4
read -ra overrides <<<"$5"
if [ -n "$model" ]; then
    for seed in ${seeds//,/ }; do
        speechlite import "$model" --out_dir "$exp_dir/model/seed$seed/pretrain/model"
    done
    exit
fi
speechlite pretrain --config_dir conf --config "pretrain_$scale" --experiments conf/experiments.yaml \
    --seeds "$seeds" --exp_dir "$exp_dir" "${overrides[@]}"
