#!/usr/bin/env bash
# clang-tidy over the sources of src/ that a configured build compiles: `tools/tidy.sh [FILES...]`.
# The release preset covers src/train too; the notorch preset is enough for the rest.
set -euo pipefail
cd "$(dirname "$0")/.."
build=build/release
[ -f $build/compile_commands.json ] || build=build/notorch
files=("$@")
[ $# -gt 0 ] || mapfile -t files < <(python3 - $build <<'PY'
import json, os, sys
names = {e["file"] for e in json.load(open(sys.argv[1] + "/compile_commands.json"))}
print("\n".join(sorted(n for n in names if n.startswith(os.getcwd() + "/src/"))))
PY
)
printf '%s\0' "${files[@]}" | xargs -0 -n 1 -P "$(nproc)" clang-tidy-14 -p $build --quiet \
  --extra-arg=-Wno-unknown-warning-option --warnings-as-errors='*'
