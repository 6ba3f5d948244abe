#!/usr/bin/env bash
# check_links.sh PROGRAM: fails if it loads libtorch, directly or through another library.
set -euo pipefail
libraries=$(ldd "$1")
if grep -E 'libtorch|libc10|not found' <<<"$libraries"; then
  echo "$1 must load no libtorch"
  exit 1
fi
echo "no libtorch among $(wc -l <<<"$libraries") libraries"
