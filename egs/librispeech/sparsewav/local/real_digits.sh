#!/usr/bin/env bash
# Real speech: pretrains a mini model on LibriSpeech audio without transcripts, fine-tunes it by CTC on spoken
# digits (FSDD), prunes it at several sparsities, and scores each model on recordings that it has not heard.
#   local/real_digits.sh LIBRISPEECH_ROOT FSDD_DATA_ROOT [OPTION ...]
# LIBRISPEECH_ROOT holds LibriSpeech/train-clean-100; FSDD_DATA_ROOT holds Kaldi-style train and test
# directories, FSDD's own: takes 0 to 4 of each digit are for test; of the others, 5 to 9 are for dev here.
# Options are those of training, as in trainer.threads=1.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ $# -lt 2 ]; then
    printf 'usage: local/real_digits.sh LIBRISPEECH_ROOT FSDD_DATA_ROOT [OPTION ...]\n' >&2
    exit 2
fi
# shellcheck source=egs/TEMPLATE/path.sh
. ../../TEMPLATE/path.sh
conf=(--config_dir conf)
digits=data_real/digits takes=data_real/takes
speech=("data.train=[$takes/fit]" "data.valid=[$takes/dev]" "${@:3}")

# subset NAME GREP_OPTION: the rows of the training tables whose take is, or is not, for dev
subset() {
    mkdir -p "data_real/kaldi/$1"
    for table in wav.scp text utt2spk; do
        grep -E "$2" '^[a-z]+-[0-9]-0[5-9] ' "$digits/train/$table" >"data_real/kaldi/$1/$table"
    done
    cut -d ' ' -f 2 "data_real/kaldi/$1/utt2spk" | sort -u | while read -r speaker; do
        printf '%s %s\n' "$speaker" "$(grep " $speaker\$" "data_real/kaldi/$1/utt2spk" | cut -d ' ' -f 1 | paste -sd ' ')"
    done >"data_real/kaldi/$1/spk2utt"
}

# compress_to NAME FROM CONFIG [OPTION ...], and a score of the result
compress_to() {
    speechlite compress "${conf[@]}" --config "$3" --model "exp/real/$2/model" --out_dir "exp/real/$1" "${speech[@]}" "${@:4}"
    speechlite evaluate "${conf[@]}" --config evaluate_finetuned_mini --model "exp/real/$1/model" --out_dir "exp/real/$1" \
        --row "$1" task.name=digits "task.train=[$takes/fit]" "task.dev=[$takes/dev]" "task.test=[$digits/test]"
}

local/real_data.sh "$1" "$2"
subset fit -v
subset dev -e
speechlite data prepare --corpus kaldi --data_root data_real/kaldi --out_dir "$takes"
speechlite units "${conf[@]}" --config units_mfcc_mini --out_dir dump_real/units \
    'data.train=[data_real/pretrain/train]' 'data.other=[data_real/pretrain/test]'
speechlite pretrain "${conf[@]}" --config pretrain_mini --out_dir exp/real/pretrain data.units=dump_real/units \
    'data.train=[data_real/pretrain/train]' 'data.valid=[data_real/pretrain/test]' "${@:3}"
compress_to dense pretrain compress_finetune_mini trainer.max_steps=600
for percent in 50 60 70 80 90; do
    sparsity=compressor.sparsity=0.${percent%0}
    compress_to "magnitude_$percent" dense compress_uniform_mini compressor=magnitude "$sparsity"
    compress_to "obs_$percent" dense compress_uniform_mini "$sparsity"
    compress_to "obs_${percent}_tuned" "obs_$percent" compress_recover_mini trainer.max_steps=150
done
speechlite compare exp/real --out_dir exp/real --title "CTC on spoken digits"
