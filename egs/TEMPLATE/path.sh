# shellcheck shell=bash
# Puts speechlite on PATH; makes .venv through tools/setup.sh where it is missing.
speechlite_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
"$speechlite_root/tools/setup.sh" >&2
export PATH="$speechlite_root/.venv/bin:$PATH"
