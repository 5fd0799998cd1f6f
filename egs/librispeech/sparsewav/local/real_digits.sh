#!/usr/bin/env bash
# Real speech: pretrains a mini model on LibriSpeech audio without transcripts, fine-tunes it by CTC on spoken
# digits (FSDD), prunes it at several sparsities, and scores unseen speakers.
#   local/real_digits.sh LIBRISPEECH_ROOT FSDD_DATA_ROOT [OPTION ...]
# LIBRISPEECH_ROOT holds LibriSpeech/train-clean-100; FSDD_DATA_ROOT holds Kaldi-style train and test
# directories. Each speaker of FSDD is the test speaker once; the next one in the list is for dev.
# Options are those of training, as in trainer.threads=1.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ $# -lt 2 ]; then
    printf 'usage: local/real_digits.sh LIBRISPEECH_ROOT FSDD_DATA_ROOT [OPTION ...]\n' >&2
    exit 2
fi
# shellcheck source=egs/TEMPLATE/path.sh
. ../../TEMPLATE/path.sh
speakers=(george jackson lucas yweweler george)
conf=(--config_dir conf)

# compress_to NAME FROM CONFIG [OPTION ...], and a score of the result
compress_to() {
    speechlite compress "${conf[@]}" --config "$3" --model "$out/$2/model" --out_dir "$out/$1" "${speech[@]}" "${@:4}"
    speechlite evaluate "${conf[@]}" --config evaluate_finetuned_mini --model "$out/$1/model" --out_dir "$out/$1" \
        --row "$1" "task.name=digits_$speaker" "task.train=[$fold/train]" "task.dev=[$fold/dev]" "task.test=[$fold/test]"
}

local/real_data.sh "$1" "$2"
speechlite units "${conf[@]}" --config units_mfcc_mini --out_dir dump_real/units \
    'data.train=[data_real/pretrain/train]' 'data.other=[data_real/pretrain/test]'
speechlite pretrain "${conf[@]}" --config pretrain_mini --out_dir exp/real/pretrain data.units=dump_real/units \
    'data.train=[data_real/pretrain/train]' 'data.valid=[data_real/pretrain/test]' "${@:3}"
for number in 0 1 2 3; do
    speaker=${speakers[$number]} fold=data_real/fold$number
    out=exp/real/$speaker
    speechlite data split data_real/digits/train --out_dir "$fold" \
        --test_speakers "$speaker" --dev_speakers "${speakers[$((number + 1))]}"
    speech=("data.train=[$fold/train]" "data.valid=[$fold/dev]" "${@:3}")
    mkdir -p "$out"
    ln -sfn ../pretrain "$out/pretrain"
    compress_to dense pretrain compress_finetune_mini trainer.max_steps=400
    for percent in 50 60 70 80 90; do
        sparsity=compressor.sparsity=0.${percent%0}
        compress_to "magnitude_$percent" dense compress_uniform_mini compressor=magnitude "$sparsity"
        compress_to "obs_$percent" dense compress_uniform_mini "$sparsity"
        compress_to "obs_${percent}_tuned" "obs_$percent" compress_recover_mini trainer.max_steps=100
    done
done
speechlite compare exp/real --out_dir exp/real --title "CTC on spoken digits, by test speaker"
