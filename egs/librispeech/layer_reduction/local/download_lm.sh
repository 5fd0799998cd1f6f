#!/usr/bin/env bash
# Fetches LibriSpeech's lexicon and language models into downloads/, for conf/hmm_full.yaml.
#   local/download_lm.sh [FILE ...]   default: the lexicon, the pruned 3-gram and the 4-gram (1.4 GB)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source=https://www.openslr.org/resources/11
files=("$@")
if [ "${#files[@]}" -eq 0 ]; then
    files=(librispeech-lexicon.txt 3-gram.pruned.3e-7.arpa.gz 4-gram.arpa.gz)
fi
mkdir -p downloads
for file in "${files[@]}"; do
    if [ -f "downloads/$file" ]; then continue; fi
    # goes on where an interrupted download stopped
    curl --fail --location --retry 3 --continue-at - --output "downloads/.$file.part" "$source/$file"
    mv "downloads/.$file.part" "downloads/$file"
done
