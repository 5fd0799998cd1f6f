#!/usr/bin/env bash
# Real speech: pretrains a mini teacher on LibriSpeech audio without transcripts, prunes and distils it on
# the same audio, and recognises spoken digits (FSDD) by CTC with each.
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
sweep=(--config_dir conf --experiments conf/experiments.yaml --exp_dir exp/real
    --select "fbank,teacher,dphubert,no_step2,magnitude,distilhubert")
speech=('data.train=[data_real/pretrain/train]' 'data.valid=[data_real/pretrain/test]')

local/real_data.sh "$1" "$2"
speechlite units --config_dir conf --config units_mfcc_mini --out_dir dump_real/units \
    'data.train=[data_real/pretrain/train]' 'data.other=[data_real/pretrain/test]'
speechlite pretrain "${sweep[@]}" --config pretrain_mini "${speech[@]}" data.units=dump_real/units "${@:3}"
speechlite compress "${sweep[@]}" --scale mini "${speech[@]}" "${@:3}"
for fold in 0 1 2 3; do
    speechlite data split data_real/digits/train --out_dir "data_real/fold$fold" \
        --test_speakers "${speakers[$fold]}" --dev_speakers "${speakers[$((fold + 1))]}"
    # digits as short as 0.14 s leave too few frames for CTC where two are joined; there are so few of them that
    # the head is still falling on dev after the 150 steps of the mini corpus
    speechlite evaluate "${sweep[@]}" --config evaluate_ctc_mini head.stack_frames=1 \
        training.max_steps=400 training.validate_every_steps=100 "task.name=digits_${speakers[$fold]}" "training.threads=1" \
        "task.train=[data_real/fold$fold/train]" "task.dev=[data_real/fold$fold/dev]" \
        "task.test=[data_real/fold$fold/test]"
done
speechlite compare exp/real --out_dir exp/real --title "CTC on spoken digits, by test speaker"
