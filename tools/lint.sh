#!/usr/bin/env bash
# Checks format, style, types, spelling, shell scripts, and the project's own rules.
#   tools/lint.sh [CHECK ...]   runs the named checks, or all of them; --list names them
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$PWD/.venv/bin:$PATH"
all=(format style types spelling shell layers docstrings recipes)

files() { git ls-files --cached --others --exclude-standard --deduplicate -- "$@"; }

existing() { while IFS= read -r path; do [ ! -f "$path" ] || printf '%s\0' "$path"; done; }

check_format() { ruff format --check --quiet .; }
check_style() { ruff check --quiet .; }
check_types() { mypy --no-error-summary; }
check_spelling() { files | existing | xargs -0 codespell; }
check_shell() { files '*.sh' .ci/run | existing | xargs -0 shellcheck --external-sources; }
check_layers() { python tools/check_layers.py; }
check_docstrings() { python tools/check_docstrings.py; }
check_recipes() { python tools/check_recipes.py; }

if [ "${1:-}" = --list ]; then printf '%s\n' "${all[@]}" && exit 0; fi
failed=()
for check in "${@:-${all[@]}}"; do
    if [[ " ${all[*]} " != *" $check "* ]]; then
        printf 'lint.sh: error: no check %s; choose among: %s\n' "$check" "${all[*]}" >&2
        exit 2
    fi
    "check_$check" || failed+=("$check")
done
if [ "${#failed[@]}" -gt 0 ]; then
    printf 'lint.sh: error: failed: %s\n' "${failed[*]}" >&2
    exit 1
fi
