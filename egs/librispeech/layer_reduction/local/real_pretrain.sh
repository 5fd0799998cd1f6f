#!/usr/bin/env bash
# Prepares real speech and pretrains on it; local/real_digits.sh and local/real_digits_hmm.sh call this.
#   local/real_pretrain.sh LIBRISPEECH_ROOT FSDD_DATA_ROOT
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ $# -ne 2 ]; then
    printf 'usage: local/real_pretrain.sh LIBRISPEECH_ROOT FSDD_DATA_ROOT\n' >&2
    exit 2
fi
# shellcheck source=egs/TEMPLATE/path.sh
. ../../TEMPLATE/path.sh
sweep=(--config_dir conf --experiments conf/experiments.yaml --select "fbank,untrained,1" --exp_dir exp/real)

local/real_data.sh "$1" "$2"
speechlite data dump data_real/pretrain/*/ --out_dir dump_real --config_dir conf --config pretrain_mini
speechlite pretrain "${sweep[@]}" --config pretrain_mini 'data.train=[data_real/pretrain/train]' \
    'data.valid=[data_real/pretrain/test]' data.features=dump_real
