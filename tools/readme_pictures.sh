#!/usr/bin/env bash
# Makes the pictures of README: docs/pictures/view.png and chat.png, from what the program shows
# about the shipped model's examples. `tools/readme_pictures.sh [PROGRAM]`; without PROGRAM it builds
# the preset notorch. Needs chromium, tmux and python3: `tools/install.sh pictures`.
set -euo pipefail
cd "$(dirname "$0")/.."
for command in chromium tmux python3; do
  command -v $command >/dev/null || { echo "needs $command: tools/install.sh pictures" >&2; exit 1; }
done
program=${1:-build/notorch/bin/revenant}
if [ $# = 0 ]; then cmake --preset notorch >/dev/null && cmake --build --preset notorch >/dev/null; fi
model=models/phantom-nano
work=$(mktemp -d)
session=revenant-pictures-$$
screen_of=(tmux -L "$session" -f /dev/null)  # a server of its own
trap '"${screen_of[@]}" kill-server 2>/dev/null || true; rm -rf "$work"' EXIT

# Headless Chromium leaves the lines of a window's frame unpainted at the bottom: asked for and cut off.
shot() {  # PAGE PICTURE WIDTH HEIGHT
  chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --user-data-dir="$work/profile" \
    --virtual-time-budget=2000 --window-size="$3,$(($4 + 160))" --screenshot="$work/shot.png" "file://$1" >/dev/null 2>&1
  mkdir -p "$(dirname "$2")"
  python3 - "$work/shot.png" "$2" "$4" <<'P'
import struct, sys, zlib
data, rows = open(sys.argv[1], 'rb').read(), int(sys.argv[3])
chunks, at = [], 8
while at < len(data):
    size, kind = struct.unpack('>I4s', data[at:at + 8])
    chunks.append((kind, data[at + 8:at + 8 + size]))
    at += size + 12
width, _, depth, colour = struct.unpack('>IIBB', chunks[0][1][:10])
line = 1 + width * depth // 8 * {2: 3, 6: 4}[colour]  # filters look upwards only, so the first lines stand alone
pixels = zlib.decompress(b''.join(body for kind, body in chunks if kind == b'IDAT'))[:rows * line]
out = [(b'IHDR', struct.pack('>II', width, rows) + chunks[0][1][8:]), (b'IDAT', zlib.compress(pixels, 9)), (b'IEND', b'')]
with open(sys.argv[2], 'wb') as file:
    file.write(data[:8])
    for kind, body in out:
        file.write(struct.pack('>I', len(body)) + kind + body + struct.pack('>I', zlib.crc32(kind + body)))
P
}

"$program" view -m $model --image $model/examples/red_triangle.png -p "What is in this picture?" -o "$work/view.html"
shot "$work/view.html" docs/pictures/view.png 1100 738

# The chat is held in a terminal; the answer is there when the prompt is back.
screen() { "${screen_of[@]}" capture-pane -p -t $session; }
wait_for_prompts() {
  for _ in $(seq 600); do
    [ "$(screen | grep -c '^>')" -ge "$1" ] && return
    sleep 0.2
  done
  echo "chat does not come back to its prompt:" >&2; screen >&2; exit 1
}
"${screen_of[@]}" new-session -d -s $session -x 78 -y 16 -e HISTFILE= -e XDG_STATE_HOME="$work"
"${screen_of[@]}" send-keys -t $session "clear; exec $program chat -m $model --image $model/examples/red_triangle.png" Enter
prompts=1
for question in "What is in this picture?" "What color is it?" "Is there a circle?"; do
  wait_for_prompts $prompts
  "${screen_of[@]}" send-keys -t $session -l "$question"
  "${screen_of[@]}" send-keys -t $session Enter
  prompts=$((prompts + 1))
done
wait_for_prompts $prompts
"${screen_of[@]}" capture-pane -p -e -t $session > "$work/chat.ansi"
python3 - "$work/chat.ansi" "$model/examples/red_triangle.png" > "$work/chat.html" <<'P'
import base64, html, re, sys
text = open(sys.argv[1]).read().rstrip()
picture = base64.b64encode(open(sys.argv[2], 'rb').read()).decode()
looks = {'1': 'font-weight:bold', '2': 'opacity:.6', '3': 'font-style:italic', '31': 'color:#f7768e', '32': 'color:#9ece6a',
         '33': 'color:#e0af68', '34': 'color:#7aa2f7', '35': 'color:#bb9af7', '36': 'color:#7dcfff', '90': 'opacity:.6'}
out, on = '', []
for part in re.split('(\x1b\\[[0-9;]*m)', text):
    codes = re.fullmatch('\x1b\\[([0-9;]*)m', part)
    if codes:
        for code in codes[1].split(';'):
            on = [] if code in ('', '0') else on + [looks[code]] if code in looks else [l for l in on if code != '39' or 'color' not in l]
    else:
        out += f'<span style="{";".join(on)}">{html.escape(part)}</span>'
print(f'''<meta charset=utf-8><body style="margin:0;background:#1a1b26;color:#c0caf5">
<div style="display:flex;gap:24px;padding:20px"><img src="data:image/png;base64,{picture}" width=128 height=128 style="image-rendering:pixelated;border-radius:6px">
<pre style="margin:0;font:15px/1.45 DejaVu Sans Mono,monospace">{out}</pre></div>''')
P
shot "$work/chat.html" docs/pictures/chat.png 800 $((44 + 22 * $(sed -e '$a\' "$work/chat.ansi" | sed -e :a -e '/^\n*$/{$d;N;ba' -e '}' | wc -l)))
ls -l docs/pictures
