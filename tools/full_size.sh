#!/usr/bin/env bash
# Runs the seven released sizes one at a time with random weights (revenant synth), end to end on a
# picture, and writes one line a run into RESULTS. A run whose line stands there is skipped; a model
# without room on the disk is said and not written. Usage:
#   tools/full_size.sh REVENANT WORK RESULTS ONE_TILE_PICTURE SEVEN_TILE_PICTURE [MODEL:TILES[:TYPE] ...]
# TYPE: what `revenant quantize --type` takes; without one the directory runs as it is, in bf16.
# A square picture of at most 633 pixels a side is one tile, one of 3:2 is six and a thumbnail.
set -u
export LC_ALL=C
program=$1 work=$2 results=$3 one=$4 seven=$5
shift 5
runs=("$@")
[ $# -gt 0 ] || runs=({phantom-0.5b:{1,7},trol-1.8b:1,phantom-1.8b:{1,7},phantom-3.8b:{1,7},trol-3.8b:{1,7},phantom-7b:{1,7},trol-7b:1}{,:Q8_0,:Q4_K_M})
tokens=${TOKENS:-8}
mkdir -p "$work" "$(dirname "$results")"
touch "$results"
failed=0

fail() {
  echo "full_size: $*" >&2
  failed=1
}

# The checkpoint of this model and no other; with a type, its file.
prepare() {
  local model=$1 type=$2 file=$3
  if [ ! -f "$work/$model/config.json" ]; then
    rm -rf "${work:?}"/{phantom,trol}-*
    "$program" synth --arch "$model" -o "$work/$model" > /dev/null 2> "$work/prepare.log" ||
      { fail "$model: not written: $(tail -n 1 "$work/prepare.log")"; return 1; }
  fi
  [ -z "$type" ] || [ -f "$file" ] ||
    "$program" quantize "$work/$model" --type "$type" -o "$file" > /dev/null 2> "$work/prepare.log" ||
    { fail "$model in $type: not written: $(tail -n 1 "$work/prepare.log")"; return 1; }
}

field() {  # of /proc/PID/status, in MB; 0 when the process has ended
  awk -v name="$2:" '$1 == name { mb = $2 / 1000 } END { printf "%d\n", mb }' \
    "/proc/$1/status" 2> /dev/null || echo 0
}

# Largest values seen, twice a second; VmHWM is the kernel's own peak.
watch() {
  peak=0 anonymous=0
  while kill -0 "$1" 2> /dev/null; do
    local now
    now=$(field "$1" VmHWM) && [ "$now" -gt "$peak" ] && peak=$now
    now=$(field "$1" RssAnon) && [ "$now" -gt "$anonymous" ] && anonymous=$now
    sleep 0.5
  done
}

measure() {
  local name=$1 tiles=$2 path=$3 picture=$one log="$work/run.log" peak anonymous
  [ "$tiles" = 7 ] && picture=$seven
  local begin=$SECONDS
  "$program" run -m "$path" --image "$picture" -p "What is in this picture?" -n "$tokens" \
    -v > "$work/answer.txt" 2> "$log" &
  local pid=$!
  watch "$pid"
  wait "$pid" || { fail "$name, $tiles tiles: $(tail -n 1 "$log")"; return; }
  local seconds=$((SECONDS - begin)) file
  file=$(find "$path" -type f \( -name '*.safetensors' -o -name '*.gguf' \) -printf '%s\n' | awk '{ s += $1 } END { printf "%.0f", s }')
  file=$((file / 1000000))
  local verdict=yes
  [ "$peak" -le $((file + 2000)) ] || { verdict=NO; fail "$name: $peak MB, file $file MB"; }
  sed -nE 's/^loading: ([0-9.]+) s$/\1/p; s/^prompt: ([0-9]+) tokens, ([0-9.]+) s \(([0-9.]+).*answer: ([0-9]+) tokens, [0-9.]+ s \(([0-9.]+).*$/\1 \3 \4 \5/p' "$log" |
    tr '\n' ' ' | {
      read -r load prompt prompt_speed answer answer_speed
      echo "| $name | $tiles | $load | $prompt | $prompt_speed | $answer | $answer_speed |" \
        "$seconds | $file | $peak | $anonymous | $verdict |"
    } | tee -a "$results"
}

for run in "${runs[@]}"; do
  IFS=: read -r model tiles type <<< "$run"
  name=$model${type:+ $type} path=$work/$model${type:+-$type.gguf}
  grep -q "^| $name | $tiles |" "$results" && continue
  prepare "$model" "$type" "$path" && measure "$name" "$tiles" "$path"
done
rm -rf "${work:?}"/{phantom,trol}-*
exit $failed
