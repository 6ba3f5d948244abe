#!/usr/bin/env bash
# Formats all sources in place; with --check only says which differ. Exit 77: no clang-format.
# Version 14 only: others lay out the same file differently.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v clang-format-14 >/dev/null || { echo "skipped: no clang-format-14 (tools/install.sh lint)"; exit 77; }
mode=(-i)
[ "${1:-}" != --check ] || mode=(--dry-run -Werror)
find src tests bench \( -name '*.h' -o -name '*.cc' \) -print0 | xargs -0 clang-format-14 "${mode[@]}"
