#!/usr/bin/env bash
# Runs the seven released sizes one at a time with random weights (revenant synth), end to end on a
# picture, and writes one line a run into RESULTS. A model whose line stands there is skipped; one
# without room on the disk is said and not written. Usage:
#   tools/full_size.sh REVENANT WORK RESULTS ONE_TILE_PICTURE SEVEN_TILE_PICTURE [MODEL:TILES ...]
# A square picture of at most 633 pixels a side is one tile, one of 3:2 is six and a thumbnail.
set -u
export LC_ALL=C
program=$1 work=$2 results=$3 one=$4 seven=$5
shift 5
runs=("$@")
[ $# -gt 0 ] || runs=(phantom-0.5b:1 phantom-0.5b:7 trol-1.8b:1 phantom-1.8b:1 phantom-1.8b:7
                      phantom-3.8b:1 phantom-3.8b:7 trol-3.8b:1 trol-3.8b:7 phantom-7b:1
                      phantom-7b:7 trol-7b:1)
tokens=${TOKENS:-8}
mkdir -p "$work" "$(dirname "$results")"
touch "$results"
failed=0

fail() {
  echo "full_size: $*" >&2
  failed=1
}

# The checkpoint of this model and no other.
prepare() {
  [ -f "$work/$1/config.json" ] && return 0
  rm -rf "${work:?}"/{phantom,trol}-*
  "$program" synth --arch "$1" -o "$work/$1" > /dev/null 2> "$work/synth.log" && return 0
  fail "$1: not written: $(tail -n 1 "$work/synth.log")"
  return 1
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
  local model=$1 tiles=$2 picture=$one log="$work/run.log" peak anonymous
  [ "$tiles" = 7 ] && picture=$seven
  local begin=$SECONDS
  "$program" run -m "$work/$model" --image "$picture" -p "What is in this picture?" -n "$tokens" \
    -v > "$work/answer.txt" 2> "$log" &
  local pid=$!
  watch "$pid"
  wait "$pid" || { fail "$model, $tiles tiles: $(tail -n 1 "$log")"; return; }
  local seconds=$((SECONDS - begin)) file
  file=$(stat -c %s "$work/$model"/*.safetensors | awk '{ s += $1 } END { printf "%.0f", s }')
  file=$((file / 1000000))
  local verdict=yes
  [ "$peak" -le $((file + 2000)) ] || { verdict=NO; fail "$model: $peak MB, file $file MB"; }
  sed -nE 's/^loading: ([0-9.]+) s$/\1/p; s/^prompt: ([0-9]+) tokens, ([0-9.]+) s \(([0-9.]+).*answer: ([0-9]+) tokens, [0-9.]+ s \(([0-9.]+).*$/\1 \3 \4 \5/p' "$log" |
    tr '\n' ' ' | {
      read -r load prompt prompt_speed answer answer_speed
      echo "| $model | $tiles | $load | $prompt | $prompt_speed | $answer | $answer_speed |" \
        "$seconds | $file | $peak | $anonymous | $verdict |"
    } | tee -a "$results"
}

for run in "${runs[@]}"; do
  model=${run%:*} tiles=${run#*:}
  grep -q "^| $model | $tiles |" "$results" && continue
  prepare "$model" && measure "$model" "$tiles"
done
rm -rf "${work:?}"/{phantom,trol}-*
exit $failed
