#!/usr/bin/env bash
# The page of `revenant serve` in a browser: tools/test_page.sh [PROGRAM] [FOLDER for screenshots].
# Needs chromium and Python's playwright (tools/install.sh test); exit 77 says which of them is missing.
set -euo pipefail
cd "$(dirname "$0")/.."
python=.venv/bin/python
[ -x "$python" ] || python=python3
command -v chromium >/dev/null || { echo "skipped: no chromium"; exit 77; }
"$python" -c 'import playwright' 2>/dev/null || { echo "skipped: no Python package playwright"; exit 77; }
exec "$python" tests/serve/page.py "${1:-build/release/bin/revenant}" models/phantom-nano "${2:-}"
