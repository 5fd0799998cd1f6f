#!/usr/bin/env bash
# Makes .venv with the locked packages, speechlite and its plugins; does nothing if it is up to date.
#   PYTHON   the interpreter to make it with (default: python3; 3.10 to 3.12)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fingerprint() {
    cat requirements.lock setup.cfg pyproject.toml plugins/*/setup.cfg tools/setup.sh | sha256sum
}

stamp=.venv/.speechlite-setup
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$(fingerprint)" ]; then exit 0; fi

python=${PYTHON:-python3}
if ! "$python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))'; then
    printf 'setup.sh: error: %s is not Python 3.10 to 3.13; set PYTHON to one that is\n' "$python" >&2
    exit 5
fi
if ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
    printf 'setup.sh: error: %s cannot make virtual environments; on Debian: apt-get install python3-venv\n' \
        "$python" >&2
    exit 5
fi
printf 'setup.sh: installing into .venv; a few minutes on the first run\n' >&2
[ -x .venv/bin/python ] || "$python" -m venv .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
for package in . plugins/*/; do
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
        --no-build-isolation --editable "$package"
done
.venv/bin/python -c 'import torch, torchaudio, lightning, lhotse, hydra, speechlite'
fingerprint >"$stamp"
