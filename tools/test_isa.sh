#!/usr/bin/env bash
# The tests of the kernels and of the native executor, once for every instruction set. Says by name
# which ones this machine could not run; with --require-all that is a failure.
# usage: tools/test_isa.sh [--require-all] [--arm] [--emulator COMMAND] [BUILD]    (build/release)
#   --emulator "qemu-x86_64 -cpu max"   runs them under Debian's qemu-user: generic and AVX2, whatever
#                                       the machine; QEMU 7.2 has no AVX-512, and reads beyond what a
#                                       mask lets through, so guard pages are off there
#   --arm                               BUILD is AArch64's (tools/test_arm.sh)
# On a machine with AVX-512, where BUILD was built or copied to: tools/test_isa.sh --require-all BUILD
set -euo pipefail
cd "$(dirname "$0")/.."
require=no emulator= build=build/release sets=(generic avx2 avx512 avx512vnni avx512bf16 amx)
while [ $# -gt 0 ]; do
  case $1 in
    --require-all) require=yes ;;
    --arm) sets=(generic neon neondot) ;;
    --emulator) emulator=$2; shift ;;
    -*) sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 2 ;;
    *) build=$1 ;;
  esac
  shift
done
programs=(test_kernels test_kernels_faults test_native test_native_golden)
failed=() lacking=()
[ -z "$emulator" ] || export REVENANT_UNGUARDED=1
for isa in "${sets[@]}"; do
  # The one test that is skipped exactly where the table is not there.
  probe=$($emulator "$build/bin/test_kernels" --gtest_filter="Dispatch.*/$isa")
  if ! grep -q "PASSED.* 1 test" <<<"$probe"; then
    lacking+=("$isa")
    continue
  fi
  shapes=test_native_shapes
  if [ "$isa" = generic ] || [ -n "$emulator" ]; then
    echo "== $isa: test_native_shapes is left out: it would take an hour"
    shapes=
  fi
  for program in "${programs[@]}" $shapes; do
    filter='*'
    [[ $program == test_kernels* ]] && filter="*/$isa:-*DeathTest*"
    echo "== $isa: $program"
    REVENANT_ISA=$isa $emulator "$build/bin/$program" --gtest_brief=1 --gtest_filter="$filter" ||
      failed+=("$isa:$program")
  done
done
[ ${#lacking[@]} -eq 0 ] || echo "NOT RUN, this machine has no: ${lacking[*]}"
[ ${#failed[@]} -eq 0 ] || echo "FAILED: ${failed[*]}"
[ ${#failed[@]} -eq 0 ] && { [ "$require" = no ] || [ ${#lacking[@]} -eq 0 ]; }
