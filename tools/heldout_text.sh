#!/usr/bin/env bash
# A fixed text of 200 kB that no model here was trained on, for `revenant perplexity`: the English part of Debian's
# handbook (Debian package debian-handbook), without its markup.
#   tools/heldout_text.sh OUT.txt
set -euo pipefail
out=$(realpath -m "$1")
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
(cd "$place" && apt-get download -o APT::Sandbox::User=root debian-handbook >/dev/null && dpkg-deb -x debian-handbook_*.deb .)
python3 - "$place/usr/share/doc/debian-handbook/html/en-US" "$out.part" <<'PY'
import html.parser, re, sys
from pathlib import Path

class Paragraphs(html.parser.HTMLParser):
    """The text of <div class="para"> without what stands in elements of their own inside: lists, listings, figures."""
    def __init__(self):
        super().__init__()
        self.texts, self.open = [], []
    def handle_starttag(self, tag, attributes):
        if tag in ("div", "pre", "ul", "ol", "table", "dl"):
            self.open.append("para" if ("class", "para") in attributes else tag)
            if self.open[-1] == "para":
                self.texts.append("")
    def handle_endtag(self, tag):
        if tag in ("div", "pre", "ul", "ol", "table", "dl") and self.open:
            self.open.pop()
    def handle_data(self, data):
        if self.open and self.open[-1] == "para":
            self.texts[-1] += data

pages = []
for page in sorted(Path(sys.argv[1]).glob("*.html")):
    reader = Paragraphs()
    reader.feed(page.read_text(encoding="utf-8"))
    pages += [text for text in (re.sub(r"\s+", " ", text).strip() for text in reader.texts) if len(text) > 100]
pages = list(dict.fromkeys(pages))
text = "\n\n".join(pages).encode()[:200_000].decode(errors="ignore")
assert len(text.encode()) > 199_900, f"only {len(text)} bytes"
Path(sys.argv[2]).write_text(text, encoding="utf-8")
PY
echo "a5d3631d88d66d04b107a6be7b096b1e9d8c5ab779ccd6ff4a365c7f0bfa4196  $out.part" | sha256sum --check --quiet >&2 ||
  { echo "heldout_text.sh: $(basename "$place"/debian-handbook_*.deb) is not the version that the figures were measured on" >&2; exit 1; }
mv "$out.part" "$out"
