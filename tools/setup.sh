#!/usr/bin/env bash
# Makes .venv with the locked packages, speechlite and its plugins; does nothing if it is up to date.
# Removes nothing: an environment that cannot be used is named, and its owner decides.
#   PYTHON   the interpreter to make it with (default: python3; 3.10 to 3.12)
set -euo pipefail
# Physical paths: a tree of links to this one shares its environment, and must not take it over.
cd -P "$(dirname "${BASH_SOURCE[0]}")"
cd -P ..
stamp=.venv/.speechlite-setup
place=.venv/.speechlite-place
log=.venv/setup.log

fail() { printf 'setup.sh: error: %s\n' "$1" >&2 && exit 5; }

fingerprint() {
    { pwd -P && cat requirements.lock setup.cfg pyproject.toml plugins/*/setup.cfg tools/setup.sh; } |
        sha256sum
}

is_current() { [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$(fingerprint)" ]; }

make_venv() {
    local python=${PYTHON:-python3}
    "$python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null ||
        fail "$python is not Python 3.10 to 3.12; set PYTHON to one that is"
    "$python" -c 'import venv, ensurepip' 2>/dev/null ||
        fail "$python cannot make virtual environments; on Debian: apt-get install python3-venv"
    "$python" -m venv .venv || fail "$python could not make .venv; see the lines above"
    pwd -P >"$place"
}

install() {
    .venv/bin/python -m pip install --quiet --no-input --disable-pip-version-check "$@" \
        >>"$log" 2>&1 && return
    fail "pip failed: $(sed -n 's/^ERROR: //p' "$log" | tail -n 1); see $log, then run this again"
}

if is_current; then exit 0; fi
# Installing into it would change the tree that it was made for.
if [ -L .venv ]; then fail ".venv is a link; remove the link, then run this again"; fi
mkdir -p .venv
# Jobs that start together wait here for the first one.
if command -v flock >/dev/null; then exec 9<.venv && flock 9; fi
if is_current; then exit 0; fi
# A copied tree brings an environment that still runs the code of the tree it was copied from.
if [ -f "$place" ] && [ "$(cat "$place")" != "$(pwd -P)" ]; then
    fail ".venv was made for the tree $(cat "$place"); remove .venv, then run this again"
fi
if [ ! -x .venv/bin/pip ]; then make_venv; fi
rm -f "$stamp" "$log"
printf 'setup.sh: installing into .venv; a few minutes on the first run\n' >&2
install --requirement requirements.lock
# Its own pins clash with the lock; of all that it names, the plugin needs typeguard and packaging.
install --no-deps espnet==202511
for package in . plugins/*/; do
    install --no-deps --no-build-isolation --editable "$package"
done
.venv/bin/python -c 'import torch, torchaudio, lightning, lhotse, hydra, sentencepiece, speechlite.hmm.wheels as w; w.load_wheels()' 2>>"$log" ||
    fail "an installed package cannot be imported: $(tail -n 1 "$log"); see $log"
fingerprint >"$stamp"
