#!/usr/bin/env bash
# Real speech: DNN-HMM recognition of connected digits (FSDD), each speaker once the test speaker.
#   local/real_digits_hmm.sh LIBRISPEECH_ROOT FSDD_DATA_ROOT [OPTION ...]
# LIBRISPEECH_ROOT holds LibriSpeech/train-clean-100; FSDD_DATA_ROOT holds Kaldi-style train and test
# directories. Strings of 3 to 7 digits are joined from recordings of one speaker; the next speaker in
# the list is for dev. The pretrained model is that of local/real_digits.sh. Options are those of
# conf/hmm_digits.yaml, as in training.threads=1.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ $# -lt 2 ]; then
    printf 'usage: local/real_digits_hmm.sh LIBRISPEECH_ROOT FSDD_DATA_ROOT [OPTION ...]\n' >&2
    exit 2
fi
# shellcheck source=egs/TEMPLATE/path.sh
. ../../TEMPLATE/path.sh
speakers=(george jackson lucas yweweler george)
sweep=(--config_dir conf --experiments conf/experiments.yaml --select "fbank,untrained,1" --exp_dir exp/real)

local/real_pretrain.sh "$1" "$2"
for fold in 0 1 2 3; do
    folder=data_real/strings_${speakers[$fold]}
    speechlite data split data_real/digits/train --out_dir "$folder/single" \
        --test_speakers "${speakers[$fold]}" --dev_speakers "${speakers[$((fold + 1))]}"
    for part in train dev test; do
        speechlite data join "$folder/single/$part" --out_dir "$folder/$part"
    done
    speechlite hmm all "${sweep[@]}" --config hmm_digits "task.name=strings_${speakers[$fold]}" \
        "task.train=[$folder/train]" "task.dev=[$folder/dev]" "task.test=[$folder/test]" "${@:3}"
done
speechlite compare exp/real --out_dir exp/real --title "DNN-HMM on strings of spoken digits"
