#!/usr/bin/env bash
# Attention or Convolution: five encoders under HuBERT, each in full precision and binarised to one bit.
# Pretrains the encoders over one compact frontend, trains a binary copy of each, and compares what they cost,
# honestly and by the paper's rules, with what they still can do.
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
tasks=phone # tasks of stage evaluate joined by commas: phone, ctc
stage_features() { run local/units.sh --scale "$scale"; }
stage_pretrain() { run local/models.sh "$scale" "$seeds" "$exp_dir/$scale" "$experiments" "$pretrain_overrides"; }
main "$@"
