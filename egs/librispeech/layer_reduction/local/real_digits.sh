#!/usr/bin/env bash
# Real speech: pretrains on LibriSpeech audio without transcripts, then CTC on spoken digits (FSDD).
#   local/real_digits.sh LIBRISPEECH_ROOT FSDD_DATA_ROOT
# LIBRISPEECH_ROOT holds LibriSpeech/train-clean-100; FSDD_DATA_ROOT holds Kaldi-style train and test
# directories. Each speaker of FSDD is the test speaker once; the next one in the list is for dev.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ $# -ne 2 ]; then
    printf 'usage: local/real_digits.sh LIBRISPEECH_ROOT FSDD_DATA_ROOT\n' >&2
    exit 2
fi
# shellcheck source=egs/TEMPLATE/path.sh
. ../../TEMPLATE/path.sh
speakers=(george jackson lucas yweweler george)
sweep=(--config_dir conf --experiments conf/experiments.yaml --select "fbank,untrained,1" --exp_dir exp/real)

local/real_pretrain.sh "$1" "$2"
for fold in 0 1 2 3; do
    speechlite data split data_real/digits/train --out_dir "data_real/fold$fold" \
        --test_speakers "${speakers[$fold]}" --dev_speakers "${speakers[$((fold + 1))]}"
    # digits as short as 0.14 s leave too few frames for CTC where four are joined
    speechlite evaluate "${sweep[@]}" --config evaluate_ctc_mini head.stack_frames=2 \
        "task.name=digits_${speakers[$fold]}" \
        "task.train=[data_real/fold$fold/train]" "task.dev=[data_real/fold$fold/dev]" \
        "task.test=[data_real/fold$fold/test]"
done
speechlite compare exp/real --out_dir exp/real --title "CTC on spoken digits, by test speaker"
