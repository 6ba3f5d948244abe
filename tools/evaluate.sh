#!/usr/bin/env bash
# Measures a model on every test split of data/: as it is, with blank and with shuffled pictures.
#   tools/evaluate.sh MODEL OUT_DIR [LIMIT]     writes OUT_DIR/SPLIT.{own,blank,shuffle}.{json,txt}
# LIMIT: rows a file for the blank and shuffled pictures, which need fewer (0: all).
# PREDICT=N: most tokens of an answer (16).
# Resumable: a finished part is not run again. Sets that were not made are passed over.
set -euo pipefail
model=$1 out=$2 limit=${3:-0}
revenant=${REVENANT:-build/release/bin/revenant}
mkdir -p "$out"
for set in easy-vqa/test easy-vqa/test_described fashion-mnist/test scenes/test scenes/test_unseen_style \
           emoji/test_openmoji emoji/test_noto emoji/test_modern \
           facts/test facts/test_unseen_style flags/test flags/test_unseen_style; do
  [ -e "data/$set.json" ] || { echo "data/$set.json is not there, passed over" >&2; continue; }
  for shown in own blank shuffle; do
    name=${set//\//_}.$shown
    [ -s "$out/$name.json" ] && continue
    flag=(--predict "${PREDICT:-16}")
    [ $shown = own ] || { flag=(--$shown); [ "$limit" = 0 ] || flag+=(--limit "$limit"); }
    [ ! -e "data/${set%/*}/train.json" ] || flag+=(--train "data/${set%/*}/train.json")
    "$revenant" eval -m "$model" --answers "$out/$name.jsonl" --data "data/$set.json" "${flag[@]}" \
      --json "$out/$name.tmp" > "$out/$name.txt"
    mv "$out/$name.tmp" "$out/$name.json"
  done
done
