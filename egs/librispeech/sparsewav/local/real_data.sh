#!/usr/bin/env bash
# Prepares real speech for a recipe's scripts: data_real/pretrain (LibriSpeech audio, one reader in twelve in
# test/) and data_real/digits (FSDD).
#   local/real_data.sh LIBRISPEECH_ROOT FSDD_DATA_ROOT
set -euo pipefail
speechlite data prepare --corpus librispeech --librispeech_root "$1" --out_dir data_real/librispeech
speechlite data split data_real/librispeech/train_clean_100 --out_dir data_real/pretrain \
    --test_speakers "$(cut -d ' ' -f 1 data_real/librispeech/train_clean_100/spk2utt | sed -n '1~12p' | paste -sd,)"
speechlite data prepare --corpus kaldi --data_root "$2" --out_dir data_real/digits
