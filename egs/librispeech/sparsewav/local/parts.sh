#!/usr/bin/env bash
# Draws the parts of the transcribed speech that Figure 4 fine-tunes on: a tenth and a hundredth, or
# half and a quarter of the mini corpus.
set -euo pipefail
case $1 in
    full) large=0.1 small=0.01 ;;
    *) large=0.5 small=0.25 ;;
esac
speechlite data subset data/train_clean_100 --out_dir data/train_large_part --share "$large"
# of the mini corpus, the quarter of this seed has every letter
speechlite data subset data/train_clean_100 --out_dir data/train_small_part --share "$small" --seed 3
