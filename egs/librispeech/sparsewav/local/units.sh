#!/usr/bin/env bash
# Labels the phones of frames where there are alignments, and makes the units of a model.
set -euo pipefail
speechlite data labels data/*/
if [ -n "$2" ]; then exit; fi
speechlite units --config_dir conf --config "units_mfcc_$1" --out_dir dump/units/mfcc
