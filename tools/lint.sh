#!/usr/bin/env bash
# Checks format, style, types, spelling, shell scripts and the arrows between layers.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$PWD/.venv/bin:$PATH"
ruff format --check .
ruff check .
mypy
codespell
mapfile -t scripts < <(git ls-files '*.sh' .ci/run)
shellcheck -x "${scripts[@]}"
python tools/check_layers.py
python tools/check_recipes.py
