#!/usr/bin/env bash
# Installs what the project needs on Debian 12: `tools/install.sh run` for the program alone,
# `tools/install.sh test` for the tests and training too (libtorch into .venv, no CUDA toolkit).
set -euo pipefail
cd "$(dirname "$0")/.."
mode=${1:-run}

packages=(cmake ninja-build g++ pkg-config nlohmann-json3-dev libsimdjson-dev libfmt-dev
          libcli11-dev libutf8proc-dev libjpeg62-turbo-dev libpng-dev libwebp-dev zlib1g-dev)
if [ "$mode" = test ]; then
  packages+=(libyaml-cpp-dev libgtest-dev ccache python3-venv librsvg2-bin)
fi
missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  sudo=; [ "$(id -u)" = 0 ] || sudo=sudo
  $sudo apt-get update -qq
  DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

# PyPI's Linux wheel of torch is a CUDA build; libtorch_cpu needs only two of its CUDA packages.
torch_version=2.15.0
if [ "$mode" = test ] && ! ls .venv/lib/python3*/site-packages/torch/lib/libtorch_cpu.so >/dev/null 2>&1; then
  python3 -m venv .venv
  .venv/bin/pip install -q --no-deps "torch==$torch_version" 'nvidia-cuda-runtime==13.2.*' 'nvidia-cuda-cupti==13.2.*'
fi
