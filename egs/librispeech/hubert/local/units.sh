#!/usr/bin/env bash
# Labels the phones of frames where there are alignments, and makes the units of the first iteration.
set -euo pipefail
scale=$2
speechlite data labels data/*/
speechlite units --config_dir conf --config "units_mfcc_$scale" --out_dir dump/units/mfcc
