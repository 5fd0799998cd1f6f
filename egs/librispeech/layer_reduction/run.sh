#!/usr/bin/env bash
# Layer Reduction: accelerating a Conformer-based self-supervised model via layer consistency.
# Pretrains Conformers with shared layers and random depth, keeps their first layers, and compares
# phone classification, DNN-HMM word error rates and cost with the paper's tables.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck disable=SC2034 # options and stages are read by driver.sh
recipe_stages=(data features pretrain compress evaluate dnn_hmm compare)
# shellcheck source=egs/TEMPLATE/driver.sh
. ../../TEMPLATE/driver.sh
# shellcheck disable=SC2034
experiments= # ids from conf/experiments.yaml joined by commas, or all; none takes the default ones
# shellcheck disable=SC2034
tasks=phone # tasks of stage evaluate joined by commas: phone, phone_hmm, ctc, ctc_lm ...
main "$@"
