#!/usr/bin/env bash
# The kernels and the native executor on AArch64, cross-compiled and run under Debian's emulator: the
# tests of every table there (generic, neon, neondot), the golden numbers, and an answer.
#   tools/test_arm.sh      installs what it needs; about half an hour on two cores
set -euo pipefail
cd "$(dirname "$0")/.."
place=$PWD/build/arm64
root=$place/root
sudo=; [ "$(id -u)" = 0 ] || sudo=sudo
command -v aarch64-linux-gnu-g++ qemu-aarch64 >/dev/null ||
  { $sudo apt-get update -qq; $sudo apt-get install -y -qq --no-install-recommends g++-aarch64-linux-gnu qemu-user ninja-build cmake; }
# Debian's own libraries for it, unpacked beside the system's instead of installed over them.
packages=(nlohmann-json3-dev libcli11-dev libsimdjson-dev libsimdjson14 libutf8proc-dev libutf8proc2 libssl-dev libssl3 libboost1.81-dev
          libedit-dev libedit2 libtinfo6 libbsd0 libmd0 libbsd-dev libjpeg62-turbo-dev libjpeg62-turbo libpng-dev libpng16-16 libwebp-dev
          libwebp7 libwebpdemux2 libwebpmux3 zlib1g-dev zlib1g libyaml-cpp-dev libyaml-cpp0.7 libgtest-dev libncurses-dev)
if [ ! -e "$root/done" ]; then
  mkdir -p "$place"/{lists/partial,cache/archives/partial,packages}
  touch "$place/status"
  apt=(apt-get -qq -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o Dir::State::Lists="$place/lists"
       -o Dir::State::status="$place/status" -o Dir::Cache="$place/cache" -o APT::Sandbox::User=root)
  "${apt[@]}" update
  (cd "$place/packages" && "${apt[@]}" download "${packages[@]}")
  rm -rf "$root"
  for package in "$place"/packages/*.deb; do dpkg -x "$package" "$root"; done
  cp -a "$root/lib/." "$root/usr/lib/"
  rm -r "$root/lib"
  ln -s usr/lib "$root/lib"
  find "$root/usr/lib/aarch64-linux-gnu" -type l -lname '/*' | while read -r link; do ln -sfn "$root$(readlink "$link")" "$link"; done
  touch "$root/done"
fi
cat > "$place/run" <<END
#!/bin/sh
exec qemu-aarch64 -L /usr/aarch64-linux-gnu -E LD_LIBRARY_PATH=$root/usr/lib/aarch64-linux-gnu:/usr/aarch64-linux-gnu/lib "\$@"
END
chmod +x "$place/run"
cmake -S . -B "$place/build" -G Ninja -DCMAKE_TOOLCHAIN_FILE="$PWD/cmake/aarch64.cmake" -DCMAKE_BUILD_TYPE=Release \
  -DREVENANT_TORCH=OFF -DREVENANT_WERROR=ON >/dev/null
cmake --build "$place/build" --target test_quant test_kernels test_kernels_faults test_native test_native_golden revenant
"$place/run" "$place/build/bin/test_quant" --gtest_brief=1
tools/test_isa.sh --require-all --arm --emulator "$place/run" "$place/build"
echo "== an answer"
answer=$("$place/run" "$place/build/bin/revenant" run -m models/phantom-nano --image models/phantom-nano/examples/boot.png -p "what kind of clothing is this?")
echo "$answer"
[ "$answer" = "ankle boot" ]
