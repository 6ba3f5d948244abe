#!/usr/bin/env python3
"""What makes a real size fit: peak memory and pictures/s of Phantom Optimization, with and without each.

    bench/fits.py [--device cpu|cuda] [--arch phantom-0.5b] [--batch 2] [--steps 3] [--only PATTERN]

Random weights, bf16, pictures of one tile, two questions each with a right and a wrong answer of about 20
tokens. Each line is a process of its own, one after the other; the first step, which takes
memory and encodes the frozen tower's tiles, is not counted. On a GPU the memory is the device's.
"""
import argparse
import json
import re
import statistics
import subprocess
import threading
import time
from pathlib import Path

from finetune import BIN, HERE, png

LORA = ["trainable=[projector, mechanism]", "lora={rank: 64, alpha: 64, dropout: 0, match: [language]}"]
LINES = [
    ("all trains", []),
    ("all trains, packing", ["packing=true"]),
    ("all trains, recomputation", ["gradient_checkpointing=true"]),
    ("all trains, both", ["packing=true", "gradient_checkpointing=true"]),
    ("all trains, both, 8-bit AdamW", ["packing=true", "gradient_checkpointing=true", "optim=adamw_8bit"]),
    ("LoRA", LORA),
    ("LoRA, packing", LORA + ["packing=true"]),
    ("LoRA over int8, packing", LORA + ["packing=true", "quantize=int8"]),
    ("LoRA over NF4, packing", LORA + ["packing=true", "quantize=nf4"]),
    ("LoRA over NF4, both, 8-bit AdamW", LORA + ["packing=true", "gradient_checkpointing=true", "quantize=nf4",
                                                 "optim=adamw_8bit"]),
]


def prepare(work, arch, pictures):
    work.mkdir(parents=True, exist_ok=True)
    model = work / arch
    if not model.exists():
        subprocess.run([BIN / "revenant", "synth", "--arch", arch, "-o", model], check=True)
    rows = []
    for i in range(pictures):
        if not (work / f"{i}.png").exists():
            (work / f"{i}.png").write_bytes(png(448, i))
        for question in ("What is to be seen in the middle of this picture?", "What is behind it?"):
            rows.append({"id": f"{i}{question}", "image": f"{i}.png",
                         "conversations": [{"from": "human", "value": "<image>\n" + question},
                                           {"from": "gpt", "value": "a b c d e f g h i j"}],
                         "rejected": "k l m n o p q r s t"})
    (work / "rows.json").write_text(json.dumps(rows))
    return model


class DeviceMemory(threading.Thread):
    """MiB at most, by the driver, while it runs."""

    def __init__(self):
        super().__init__(daemon=True)
        self.most, self.runs = 0, True

    def run(self):
        ask = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
        while self.runs:
            self.most = max(self.most, int(subprocess.check_output(ask).split()[0]))
            time.sleep(0.1)


def measure(args, model, settings):
    out = args.work / "run"
    recipe = args.work / "recipe.yaml"
    recipe.write_text(f"""model: {model}
data: [{{path: {args.work}/rows.json}}]
objective: po
bf16: true
device: {args.device}
per_device_train_batch_size: {args.batch}
questions_per_picture: 2
learning_rate: 1.0e-5
warmup_steps: 1
max_steps: {args.steps + 1}
save_steps: 1000000
logging_steps: 1
report_to: none
""")
    subprocess.run(["rm", "-rf", out])
    command = [BIN / "revenant-train", "train", recipe, "--set", f"output_dir={out}"]
    for setting in settings:
        command += ["--set", setting]
    memory = DeviceMemory() if args.device == "cuda" else None
    if memory:
        memory.start()
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if memory:
        memory.runs = False
        memory.join()
    if done.returncode:
        return done.stderr.strip().splitlines()[-1][:100]
    lines = [json.loads(line) for line in (out / "speed.jsonl").read_text().splitlines()]
    subprocess.run(["rm", "-rf", out])
    return (statistics.median(l["images_per_second"] for l in lines[1:]),
            memory.most if memory else max(l["peak_memory_mb"] for l in lines))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=HERE / "build/fits")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--arch", default="phantom-0.5b")
    parser.add_argument("--batch", type=int, default=2, help="pictures a step")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--only", default="", help="a regular expression over the lines' names")
    args = parser.parse_args()
    args.work = args.work.resolve()
    model = prepare(args.work, args.arch, args.batch)
    print(f"| {args.arch}, {args.batch} pictures a step | pictures/s | peak memory, MiB |\n| --- | --- | --- |")
    for name, settings in LINES:
        if not re.search(args.only, name):
            continue
        found = measure(args, model, settings)
        cells = found if isinstance(found, str) else f"{found[0]:.3g} | {found[1]:.0f}"
        print(f"| {name} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
