#!/usr/bin/env bash
# Installs what the project needs on Debian 12: `tools/install.sh run` for the program alone,
# `test` for the tests and training too (libtorch and Arrow into .venv, no CUDA toolkit), `cuda` for
# these and training on a GPU (5 GB of CUDA libraries into .venv), `data` for what
# tools/fetch_data.sh calls, `peers` for bench/peers.py, `lint` for clang-format and clang-tidy, `fuzz` for tools/fuzz.sh,
# `pictures` for tools/readme_pictures.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
mode=${1:-run}
cuda=
if [ "$mode" = cuda ]; then mode=test; cuda=yes; fi

packages=(make cmake ninja-build g++ pkg-config nlohmann-json3-dev libsimdjson-dev libcli11-dev
          libutf8proc-dev libssl-dev libboost1.81-dev libedit-dev libjpeg62-turbo-dev libpng-dev libwebp-dev zlib1g-dev)
case $mode in
  run) ;;
  test) packages+=(libyaml-cpp-dev libgtest-dev ccache python3-venv librsvg2-bin libjemalloc-dev) ;;
  data) packages+=(python3 python3-pip npm librsvg2-bin) ;;
  peers) packages+=(python3 python3-pip python3-venv clang-16) ;;
  lint) packages+=(clang-format-14 clang-tidy-14 python3) ;;
  fuzz) packages+=(clang libclang-rt-14-dev llvm libyaml-cpp-dev ccache) ;;
  pictures) packages+=(chromium fonts-dejavu-core tmux python3) ;;
  *) echo "usage: tools/install.sh run|test|cuda|data|peers|lint|fuzz|pictures" >&2; exit 2 ;;
esac
missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  echo "installing ${missing[*]}"
  sudo=; [ "$(id -u)" = 0 ] || sudo=sudo
  $sudo apt-get update -qq
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

# PyPI's Linux wheel of torch is a CUDA build; libtorch_cpu needs only two of its CUDA packages.
torch_version=2.15.0
if [ "$mode" = test ] && ! ls .venv/lib/python3*/site-packages/torch/lib/libtorch_cpu.so >/dev/null 2>&1; then
  echo "installing torch $torch_version into .venv"
  python3 -m venv .venv
  .venv/bin/pip install -q --no-deps "torch==$torch_version" 'nvidia-cuda-runtime==13.2.*' 'nvidia-cuda-cupti==13.2.*'
fi
if [ "$cuda" ] && ! ls .venv/lib/python3*/site-packages/nvidia/cu*/lib/libcublas.so.* >/dev/null 2>&1; then
  echo "installing the CUDA libraries of torch $torch_version into .venv"
  .venv/bin/pip install -q "torch==$torch_version"
fi
# Reads event files back in a test.
if [ "$mode" = test ] && ! ls -d .venv/lib/python3*/site-packages/tensorboard >/dev/null 2>&1; then
  echo "installing tensorboard into .venv"
  .venv/bin/pip install -q tensorboard==2.21.0
fi
# Reads one-file models in a test.
if [ "$mode" = test ] && ! ls -d .venv/lib/python3*/site-packages/gguf >/dev/null 2>&1; then
  echo "installing gguf into .venv"
  .venv/bin/pip install -q gguf==0.19.0
fi

# Speaks to the server in a test.
if [ "$mode" = test ] && ! ls -d .venv/lib/python3*/site-packages/openai >/dev/null 2>&1; then
  echo "installing openai into .venv"
  .venv/bin/pip install -q openai==3.57.0
fi
# Opens the server's page in Chromium, where there is one, in a test.
if [ "$mode" = test ] && ! ls -d .venv/lib/python3*/site-packages/playwright >/dev/null 2>&1; then
  echo "installing playwright into .venv"
  .venv/bin/pip install -q playwright==1.65.2
fi

# pyarrow's C++ library reads Parquet (docs/data.md).
if [ "$mode" = test ] && ! ls .venv/lib/python3*/site-packages/pyarrow/libparquet.so.* >/dev/null 2>&1; then
  echo "installing pyarrow into .venv"
  .venv/bin/pip install -q --no-deps pyarrow==26.0.1
fi
