#!/usr/bin/env bash
# Makes .venv with the locked packages, speechlite and its plugins; does nothing if it is up to date.
#   PYTHON   the interpreter to make it with (default: python3; 3.10 to 3.12)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
stamp=.venv/.speechlite-setup
place=.venv/.speechlite-place
log=.venv/setup.log

fail() { printf 'setup.sh: error: %s\n' "$1" >&2 && exit 5; }

fingerprint() {
    { pwd && cat requirements.lock setup.cfg pyproject.toml plugins/*/setup.cfg tools/setup.sh; } |
        sha256sum
}

is_current() { [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$(fingerprint)" ]; }

make_venv() {
    local python=${PYTHON:-python3}
    "$python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null ||
        fail "$python is not Python 3.10 to 3.12; set PYTHON to one that is"
    "$python" -c 'import venv, ensurepip' 2>/dev/null ||
        fail "$python cannot make virtual environments; on Debian: apt-get install python3-venv"
    "$python" -m venv --clear .venv || fail "$python could not make .venv; see the lines above"
    pwd >"$place"
}

install() {
    .venv/bin/python -m pip install --quiet --no-input --disable-pip-version-check "$@" \
        >>"$log" 2>&1 && return
    fail "pip failed: $(sed -n 's/^ERROR: //p' "$log" | tail -n 1); see $log, then run this again"
}

if is_current; then exit 0; fi
mkdir -p .venv
# Jobs that start together wait here for the first one.
if command -v flock >/dev/null; then exec 9<.venv && flock 9; fi
if is_current; then exit 0; fi
# A copied tree brings an environment that still runs the code of the tree it was copied from.
if [ ! -x .venv/bin/pip ] || { [ -f "$place" ] && [ "$(cat "$place")" != "$(pwd)" ]; }; then make_venv; fi
rm -f "$stamp" "$log"
printf 'setup.sh: installing into .venv; a few minutes on the first run\n' >&2
install --requirement requirements.lock
for package in . plugins/*/; do
    install --no-deps --no-build-isolation --editable "$package"
done
.venv/bin/python -c 'import torch, torchaudio, lightning, lhotse, hydra, speechlite' 2>>"$log" ||
    fail "an installed package cannot be imported: $(tail -n 1 "$log"); see $log"
fingerprint >"$stamp"
