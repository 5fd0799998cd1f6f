#!/usr/bin/env bash
# Sets up .venv and runs every test; arguments go to pytest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
tools/setup.sh
exec .venv/bin/python -m pytest "$@"
