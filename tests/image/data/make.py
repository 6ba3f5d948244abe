#!/usr/bin/env python3
"""Made the JPEG files beside it and what Pillow reads in each of them (NAME.rgb: raw RGB of 20 x 13).

    make.py DIR    needs Pillow and cjpeg (Debian: libjpeg-turbo-progs); made with Pillow 13.0
"""
import subprocess, sys
from pathlib import Path
from PIL import Image, ImageDraw

out = Path(sys.argv[1])
picture = Image.new("RGB", (20, 13))
picture.putdata([(x * 13 % 256, y * 19 % 256, (x * y * 7 + 40) % 256) for y in range(13) for x in range(20)])
ImageDraw.Draw(picture).ellipse((3, 2, 15, 10), fill=(250, 30, 60))
ppm = out / "it.ppm"
picture.save(ppm)

def cjpeg(name, *options):
    subprocess.run(["cjpeg", "-quality", "80", *options, "-outfile", out / f"{name}.jpg", ppm], check=True)

for name, factors in {"444": "1x1", "422": "2x1", "420": "2x2", "440": "1x2", "411": "4x1", "410": "4x2"}.items():
    cjpeg(f"sampled-{name}", "-sample", factors)
cjpeg("sampled-apart", "-sample", "2x2,1x2,2x1")
cjpeg("arithmetic", "-arithmetic")
cjpeg("arithmetic-progressive", "-arithmetic", "-progressive")
cjpeg("progressive", "-progressive")
cjpeg("restarts", "-restart", "1B")
cjpeg("rgb", "-rgb")
cjpeg("grey", "-grayscale")
picture.convert("CMYK").save(out / "cmyk.jpg", quality=80)
picture.save(out / "mpo.jpg", format="MPO", save_all=True, append_images=[Image.new("RGB", (20, 13), "blue")], quality=80)

# YCCK: a CMYK file whose Adobe marker says so; K and the colours are what they are, the reader turns them.
ycck = bytearray((out / "cmyk.jpg").read_bytes())
marker = ycck.index(b"\xff\xee\x00\x0eAdobe")
ycck[marker + 15] = 2
(out / "ycck.jpg").write_bytes(ycck)

ppm.unlink()
for file in sorted(out.glob("*.jpg")):
    image = Image.open(file)
    (out / f"{file.stem}.rgb").write_bytes(image.convert("RGB").tobytes())
    print(file.stem, image.mode, image.format, image.size, file.stat().st_size)
