#!/usr/bin/env bash
# Builds web/ into web/dist, which is committed: the program takes it from there, so that only who
# changes the pages needs Node (20 or later) and npm. web/dist/SUMS says of which sources it was made, and what
# it holds. With --check nothing is built: exit 1 where dist is not that of the sources (no Node needed).
set -euo pipefail
cd "$(dirname "$0")/../web"
export LC_ALL=C
sums() {
  find src public index.html view.html package.json package-lock.json tsconfig.json vite.config.ts \
       dist -type f ! -path dist/SUMS | sort | xargs sha256sum
}
if [ "${1:-}" = --check ]; then
  diff dist/SUMS <(sums) && exit 0
  echo "web/dist is not what web/ builds: tools/build_web.sh"
  exit 1
fi
npm ci --no-audit --no-fund --loglevel=error
npm run --silent build
sums > dist/SUMS
du -cb dist/* | tail -1
