#!/usr/bin/env bash
# HuBERT: masked prediction of clustered units, in two iterations.
# The first iteration predicts clusters of MFCCs, the second those of the first model's hidden states;
# phone classification and CTC tell what each has learned.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck disable=SC2034 # options and stages are read by driver.sh
recipe_features= # the frontend is trained
recipe_stages=(data features pretrain evaluate compare)
# shellcheck source=egs/TEMPLATE/driver.sh
. ../../TEMPLATE/driver.sh
# shellcheck disable=SC2034
experiments= # ids from conf/experiments.yaml joined by commas, or all; none takes the default ones
# shellcheck disable=SC2034
tasks=phone,ctc # tasks of stage evaluate joined by commas: phone, ctc
stage_features() { run local/units.sh --scale "$scale"; }
stage_pretrain() { run local/pretrain.sh "$scale" "$seeds" "$exp_dir/$scale" "$experiments" "$pretrain_overrides"; }
main "$@"
