#!/usr/bin/env bash
# Imports the teacher, or pretrains it as HuBERT's first iteration; and builds the baselines.
set -euo pipefail
scale=$1 seeds=$2 exp_dir=$3 teacher=$4
read -ra overrides <<<"$5"
selected=all
if [ -n "$teacher" ]; then
    for seed in ${seeds//,/ }; do
        speechlite import "$teacher" --out_dir "$exp_dir/teacher/seed$seed/pretrain/model"
    done
    selected=fbank
fi
speechlite pretrain --config_dir conf --config "pretrain_$scale" --experiments conf/experiments.yaml \
    --select "$selected" --seeds "$seeds" --exp_dir "$exp_dir" "${overrides[@]}"
