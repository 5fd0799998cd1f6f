#!/usr/bin/env bash
# SparseWAV: one-shot unstructured pruning of a speech recogniser, with and without fine-tuning after it.
# Takes or pretrains a model, fine-tunes it by CTC, prunes it in many ways, and compares what they still can do.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck disable=SC2034 # options and stages are read by driver.sh
recipe_features= # the frontend is trained
recipe_stages=(data features pretrain compress evaluate compare)
# shellcheck source=egs/TEMPLATE/driver.sh
. ../../TEMPLATE/driver.sh
# shellcheck disable=SC2034
experiments= # ids from conf/experiments.yaml joined by commas, or all; none takes the default ones
# shellcheck disable=SC2034
tasks=finetuned # tasks of stage evaluate joined by commas: finetuned, beam, frozen
model= # published checkpoint to fine-tune (wav2vec 2.0, HuBERT, WavLM); none pretrains one
stage_features() {
    run local/parts.sh "$scale"
    run local/units.sh "$scale" "$model"
}
stage_pretrain() { run local/model.sh "$scale" "$seeds" "$exp_dir/$scale" "$model" "$pretrain_overrides"; }
main "$@"
