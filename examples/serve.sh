#!/usr/bin/env bash
# serve.sh [MODEL] [PORT] [OPTION...]: a server with a key of its own, which is made once and kept where
# only its owner can read it. REVENANT names the program, else the one that was built here or installed.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
model=${1:-$root/models/phantom-nano}
port=${2:-8080}
shift $(($# < 2 ? $# : 2))
program=${REVENANT:-$(ls -t "$root"/build/*/bin/revenant 2>/dev/null | head -n 1)}
keys=${XDG_CONFIG_HOME:-$HOME/.config}/revenant/keys
if [ ! -e "$keys" ]; then
  mkdir -p "$(dirname "$keys")"
  (umask 077 && od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$keys" && echo >>"$keys")
fi
cat >&2 <<EOF
the key is in $keys; another terminal can ask:
  curl http://127.0.0.1:$port/v1/models -H "Authorization: Bearer \$(cat $keys)"
  revenant chat --server http://127.0.0.1:$port --api-key-file $keys
  REVENANT_API_KEY=\$(cat $keys) examples/describe.py --url http://127.0.0.1:$port/v1 photo.jpg
EOF
exec "${program:-revenant}" serve -m "$model" --port "$port" --api-key-file "$keys" "$@"
