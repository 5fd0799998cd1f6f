#!/usr/bin/env bash
# DPHuBERT: joint distillation and structured pruning of a self-supervised speech model.
# Takes or pretrains a teacher, prunes and distils it in two steps, trains four students of equal size
# beside it, and compares what all of them still can do.
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
tasks=phone,ctc # tasks of stage evaluate joined by commas: phone, ctc
teacher= # published checkpoint to import as the teacher; none pretrains one
stage_features() { run local/units.sh "$scale" "$teacher"; }
stage_pretrain() { run local/teacher.sh "$scale" "$seeds" "$exp_dir/$scale" "$teacher" "$pretrain_overrides"; }
main "$@"
