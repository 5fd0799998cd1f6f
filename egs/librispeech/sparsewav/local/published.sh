#!/usr/bin/env bash
# Table 1 of a published recogniser: imported with its CTC head, pruned to 75 %, fine-tuned, scored after each step.
#   local/published.sh MODEL [SCALE] [OPTION ...]
# MODEL is a folder of transformers with vocab.json, such as wav2vec2-base-100h or wavlm-base-plus-100h; data/ is
# what `./run.sh --stage data --stop_stage data --corpus librispeech ...` made. Options are those of compressions.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ $# -lt 1 ]; then
    printf 'usage: local/published.sh MODEL [SCALE] [OPTION ...]\n' >&2
    exit 2
fi
# shellcheck source=egs/TEMPLATE/path.sh
. ../../TEMPLATE/path.sh
scale=${2:-full}
exp=exp/published/$(basename "$1")
options=("${@:3}")

score() { # score NAME ROW
    speechlite evaluate --config_dir conf --config "evaluate_finetuned_$scale" --model "$exp/$1/model" \
        --out_dir "$exp/$1" --row "$2"
}

step() { # step NAME ROW FROM CONFIG [OPTION ...]
    speechlite compress --config_dir conf --config "$4_$scale" --model "$exp/$3/model" --out_dir "$exp/$1" \
        "${@:5}" "${options[@]}"
    score "$1" "$2"
}

paper="OBS + mixed sparsity + improved saliency"
speechlite import "$1" --out_dir "$exp/dense/model"
if [ ! -d "$exp/dense/model/head" ]; then
    printf 'local/published.sh: error: %s has no CTC head with its vocab.json; fine-tune it by run.sh --model\n' "$1" >&2
    exit 3
fi
score dense dense
step obs75 "OBS" dense compress_uniform
step mixed75 "OBS + mixed sparsity" dense compress_prune compressor.improved_saliency=false
step paper75 "$paper" dense compress_prune
step one75 "$paper + post-pruning finetune" paper75 compress_recover
step progress60 "60 %" dense compress_prune compressor.sparsity=0.6
step progress60_tuned "60 %, fine-tuned" progress60 compress_recover
step progress75 "75 % after it" progress60_tuned compress_prune
step progress75_tuned "$paper + post-pruning finetune + progress" progress75 compress_recover
speechlite compare "$exp" --reported conf/reported_table1.csv --out_dir "$exp" --title "SparseWAV: $(basename "$1")"
