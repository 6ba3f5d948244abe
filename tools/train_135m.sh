#!/usr/bin/env bash
# The training of models/smollm2-phantom-135m, from nothing but packages; resumable: the same command goes on.
#   tools/train_135m.sh
set -euo pipefail
cd "$(dirname "$0")/.."
revenant=${REVENANT:-build/release/bin/revenant}
backbone=$(tools/fetch_smollm2.sh data/.sources/smollm2)
base=runs/smollm2-phantom-135m
[ -e $base/config.json ] ||
  "$revenant" graft "$backbone" --tower models/phantom-nano --phantom --config-set revenant.phantom_eta=1 -o $base
[ -e data/emoji/REPORT.json ] || "$revenant" data make emoji
[ -e data/talk/train.json ] || REVENANT=$revenant tools/talk_rows.py $base data/emoji/train.json -o data/talk/train.json
for step in 1 2; do
  "$revenant" train recipes/smollm2-phantom-135m-step$step.yaml
done
