#!/usr/bin/env python3
"""What TroL's threshold costs (docs/trol.md): prompt rows that are spared against what becomes of the logits, on golden models.

    tools/threshold_curve.py [GOLDEN...]     tests/conformance/data/trol-*; REVENANT=build/release/bin/revenant

Of the golden prompt with its picture: the share of its rows, over layers, whose second pass is not computed; the largest change of a logit
beside the largest logit; the mean divergence KL(threshold 0 || threshold) of the next token, in nats; the share of rows whose likeliest token stays.
"""
import json
import math
import os
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REVENANT = os.environ.get("REVENANT", ROOT / "build/release/bin/revenant")
THRESHOLDS = [0, 0.1, 0.2, 0.3, 0.5, 1]


def tensors(file):
    """{name: (shape, values)} of float32 tensors of the prompt."""
    data = file.read_bytes()
    size = int.from_bytes(data[:8], "little")
    found = {}
    for name, t in json.loads(data[8:8 + size]).items():
        if name.startswith("prefill/") and t["dtype"] == "F32":
            begin, end = (8 + size + offset for offset in t["data_offsets"])
            found[name] = t["shape"], struct.unpack(f"<{(end - begin) // 4}f", data[begin:end])
    return found


def settings_of(golden):
    """What the released code has in itself, and the small models have otherwise."""
    notes = json.loads((golden / "golden.json").read_text())
    clip, lora = notes.get("clip_config") or {}, notes.get("low_rank_adapter") or {}
    keys = ("hidden_size", "num_attention_heads", "num_hidden_layers", "intermediate_size", "patch_size", "layer_norm_eps")
    found = {f"vision_config.{key}": clip[key] for key in keys if clip} | {"image_lora_rank": lora["rank"] for _ in (lora,) if lora}
    return [word for key, value in found.items() for word in ("--config-set", f"{key}={value}")]


def at(golden, threshold, place):
    out = Path(place) / "trace.safetensors"
    subprocess.run([REVENANT, "trace", "-m", golden, "--inputs", golden / "golden.safetensors", "-o", out,
                    "--config-set", f"revenant.trol_threshold={threshold}", *settings_of(golden)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return tensors(out)


def distribution(row):
    most = max(row)
    total = math.log(sum(math.exp(x - most) for x in row)) + most
    return [x - total for x in row]


def main():
    goldens = [Path(p) for p in sys.argv[1:]] or sorted((ROOT / "tests/conformance/data").glob("trol-*"))
    print("| model | threshold | rows spared | largest change of a logit | KL, nats | same likeliest token |\n| --- | --- | --- | --- | --- | --- |")
    for golden in goldens:
        with tempfile.TemporaryDirectory() as place:
            whole = at(golden, 0, place)
            for threshold in THRESHOLDS[1:]:
                cut = at(golden, threshold, place)
                gates = [x for name, (_, values) in cut.items() if name.endswith(".gate") for x in values]
                (_, rows, width), before = whole["prefill/logits"]
                after = cut["prefill/logits"][1]
                pairs = [(before[i:i + width], after[i:i + width]) for i in range(0, rows * width, width)]
                change = max(abs(a - b) for a, b in zip(before, after)) / max(map(abs, before))
                kl = sum(sum(math.exp(p) * (p - q) for p, q in zip(distribution(b), distribution(a))) for b, a in pairs) / rows
                same = sum(b.index(max(b)) == a.index(max(a)) for b, a in pairs) / rows
                spared = sum(gate == 0 for gate in gates) / len(gates)
                print(f"| {golden.name} | {threshold} | {100 * spared:.0f} % | {100 * change:.1f} % | {kl:.2g} | {100 * same:.0f} % |", flush=True)


if __name__ == "__main__":
    main()
