#!/usr/bin/env bash
# Makes data/<split> from the mini corpus, LibriSpeech or Kaldi-style directories.
# Takes the options of `speechlite data prepare`; an option with an empty value is left out.
set -euo pipefail
arguments=()
while [ $# -ge 2 ]; do
    case "$1=$2" in
        *= | --download=false) ;;
        --download=true) arguments+=(--download) ;;
        *) arguments+=("$1" "$2") ;;
    esac
    shift 2
done
speechlite data prepare --out_dir data "${arguments[@]}"
