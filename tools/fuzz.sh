#!/usr/bin/env bash
# Fuzzes the parsers: `tools/fuzz.sh [SECONDS] [TARGET...]`, 20 seconds each by default, all targets of
# tests/fuzz/targets.cc by default. What it finds lies in build/fuzz/found/TARGET; copy the input into
# tests/fuzz/corpus/TARGET once the fault is mended. Exit 1 if anything was found.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=20
if [[ ${1:-} =~ ^[0-9]+$ ]]; then seconds=$1; shift; fi
targets=("$@")
[ $# -gt 0 ] || mapfile -t targets < <(ls tests/fuzz/corpus)

tools/install.sh fuzz
cmake --preset fuzz >/dev/null
cmake --build --preset fuzz
scratch=$(mktemp -d); trap 'rm -rf "$scratch"' EXIT
[ ! -w /dev/shm ] || { rmdir "$scratch"; scratch=$(mktemp -d -p /dev/shm); }
status=0
for target in "${targets[@]}"; do
  grown=build/fuzz/grown/$target found=build/fuzz/found/$target
  mkdir -p "$grown" "$found"
  # An input that takes 10 s, or 1 GB in one piece or 2 GB in all, is a finding too.
  if FUZZ_TARGET=$target TMPDIR=$scratch build/fuzz/bin/fuzzer "$grown" "tests/fuzz/corpus/$target" \
      -artifact_prefix="$found/" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
      -malloc_limit_mb=1024 -max_len=16384 -print_final_stats=1 >"$found/log" 2>&1; then
    awk -v t="$target" '/stat::number_of_executed_units/ {n=$2} / cov: / {for (i = 1; i < NF; ++i) if ($i == "cov:") c=$(i+1)}
      END {printf "%-22s nothing found in %d inputs, %d edges\n", t, n, c}' "$found/log"
  else
    status=1
    printf '%-22s FOUND: %s\n' "$target" "$(grep -m1 -E 'SUMMARY|terminate|ERROR' "$found/log" || tail -n 1 "$found/log")"
    echo "    $(grep -o "$found/[a-z]*-[0-9a-f]*" "$found/log" | tail -n 1)  log: $found/log"
  fi
done
exit $status
