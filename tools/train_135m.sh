#!/usr/bin/env bash
# models/smollm2-phantom-135m from nothing but packages, and what it is held against. Resumable: the same command goes on.
#   tools/train_135m.sh          trains it, puts what differs from the package into models/, measures the whole
#   tools/train_135m.sh fresh    the same with a language model of random weights, which trains whole in both steps
#   REVENANT=PROGRAM             revenant, revenant-train beside it (build/release/bin)
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
revenant=$(realpath "${REVENANT:-build/release/bin/revenant}")
export REVENANT=$revenant
name=smollm2-phantom-135m
base=runs/$name run=runs/$name model=models/$name out=eval/$name
step1=() step2=()
backbone=$(tools/fetch_smollm2.sh data/.sources/smollm2)
graft() {  # DIR ARGUMENT...
  [ -e "$1/config.json" ] && return
  rm -rf "$1.part"
  "$revenant" graft "$backbone" --tower models/phantom-nano --phantom --config-set revenant.phantom_eta=1 -o "$1.part" "${@:2}"
  mv "$1.part" "$1"
}
graft $base
for set in emoji flags facts; do [ -e data/$set/REPORT.json ] || "$revenant" data make $set; done
if [ "${1:-}" = fresh ]; then
  run=$run-fresh out=$out-fresh
  step1=(--set model= --set config=$base/config.json --set tokenizer=$base --set tower=models/phantom-nano --set 'trainable=[projector, mechanism, language]')
  step2=(--set "model=$run-step1" --set 'lora={}' --set 'trainable=[all]')
else
  [ -e data/talk/train.json ] || tools/talk_rows.py $base data/emoji/train.json -o data/talk/train.json
fi
[ -e data/talk/train.json ] || { echo "train_135m.sh: data/talk/train.json is missing: run it without 'fresh' first" >&2; exit 1; }
"$revenant" train recipes/$name-step1.yaml --set "output_dir=$run-step1" "${step1[@]}"
"$revenant" train recipes/$name-step2.yaml --set "output_dir=$run-step2" "${step2[@]}"

whole=$run-step2
if [ "${1:-}" != fresh ]; then
  whole=$run-whole
  if [ ! -e $whole/model.safetensors ]; then
    mkdir -p $model
    cp $run-step2/adapter_config.json $run-step2/adapter_model.safetensors $model/
    rm -rf $whole $run-merged
    "$revenant" merge $run-step2 -m $run-step1 -o $run-merged
    tools/assemble_135m.sh $run-assembled
    cmp $run-merged/model.safetensors $run-assembled/model.safetensors
    sha256sum < $run-assembled/model.safetensors | cut -d' ' -f1 > $model/model.sha256
    rm -r $run-merged
    mv $run-assembled $whole
  fi
  text=data/talk/heldout.txt
  [ -e $text ] || tools/heldout_text.sh $text
  mkdir -p $out
  for spoken in "$backbone" $base $whole; do
    file=$out/perplexity-$(basename "$spoken").json
    [ -s "$file" ] || { "$revenant" perplexity -m "$spoken" --json $text > "$file.part" && mv "$file.part" "$file"; }
    echo "$file: $(cat "$file")"
  done
fi
PREDICT=40 tools/evaluate.sh $whole $out 1000
