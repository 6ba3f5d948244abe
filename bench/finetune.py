#!/usr/bin/env python3
"""LoRA (rank 64) of the 0.5B shapes on the CPU, beside PyTorch's own (PyPI transformers, peft).

    bench/finetune.py [--work build/finetune] [--rounds 3] [--steps 6] [--settings key=value ...]

Random weights; a row is one picture of one tile and an answer of 128 tokens. Ours computes the whole of
it: tower, projector, mechanism (which trains too), language model with adapters beside every matrix.
After the first epoch, which is
not counted, the frozen tower's outputs are kept. PyTorch gets the picture's embeddings for nothing and trains adapters beside every matrix of a plain
Qwen2 of the same shapes. In turn, in float32 and in bf16; the table has medians over the rounds.
"""
import argparse
import json
import os
import random
import statistics
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
BIN = Path(os.environ.get("REVENANT_BIN", HERE / "build/release/bin"))
ROWS, BATCH, RANK = 8, 2, 64
PROMPT, PICTURE, ANSWER = 40, 256, 128  # tokens


def png(side, seed):
    rng = random.Random(seed)
    row = lambda: b"\0" + bytes(rng.randrange(256) for _ in range(3 * side))
    chunk = lambda name, data: (struct.pack(">I", len(data)) + name + data +
                                struct.pack(">I", zlib.crc32(name + data)))
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    data = zlib.compress(b"".join(row() for _ in range(side)), 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def prepare(work):
    work.mkdir(parents=True, exist_ok=True)
    if not (work / "model").exists():
        subprocess.run([BIN / "revenant", "synth", "--arch", "phantom-0.5b", "-o", work / "model"], check=True)
    if (work / "rows.json").exists():
        return
    rows = []
    for i in range(ROWS):
        (work / f"{i}.png").write_bytes(png(448, i))
        answer = " ".join(random.Random(i).choices("abcdefgh", k=ANSWER // 2))
        ids = subprocess.run([BIN / "revenant", "tokenize", "-m", work / "model"], input=answer, text=True,
                             check=True, capture_output=True).stdout.split()
        assert len(ids) == ANSWER - 1, len(ids)
        rows.append({"id": str(i), "image": f"{i}.png",
                     "conversations": [{"from": "human", "value": "<image>\nWhat is it?"},
                                       {"from": "gpt", "value": answer}]})
    (work / "rows.json").write_text(json.dumps(rows))


def ours(work, bf16, steps, settings):
    """Rows a second, and MiB at most."""
    recipe = work / "recipe.yaml"
    recipe.write_text(f"""model: {work}/model
data: [{{path: {work}/rows.json}}]
trainable: [projector, mechanism]
lora: {{rank: {RANK}, alpha: {RANK}, dropout: 0, match: [language]}}
per_device_train_batch_size: 1
gradient_accumulation_steps: {BATCH}
questions_per_picture: 1
learning_rate: 1.0e-5
warmup_steps: 1
max_steps: {steps + ROWS // BATCH}
save_steps: 1000000
logging_steps: 1
report_to: none
""")
    out = work / "run"
    subprocess.run(["rm", "-rf", out])
    command = [BIN / "revenant-train", "train", recipe, "--set", f"output_dir={out}", "--set", f"bf16={bf16}"]
    for setting in settings:
        command += ["--set", setting]
    subprocess.run(list(map(str, command)), check=True, stderr=subprocess.DEVNULL)
    lines = [json.loads(line) for line in (out / "speed.jsonl").read_text().splitlines()][ROWS // BATCH:]
    subprocess.run(["rm", "-rf", out])
    return statistics.median(l["images_per_second"] for l in lines), max(l["peak_memory_mb"] for l in lines)


def theirs(work, bf16, steps):
    """The same of a process of its own; see peer()."""
    said = subprocess.run([sys.executable, __file__, "--peer", str(int(bf16)), "--steps", str(steps), "--work", work],
                          check=True, capture_output=True, text=True).stdout.split()
    return float(said[-2]), float(said[-1])


def peer(work, bf16, steps):
    import contextlib
    import resource
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import Qwen2Config, Qwen2ForCausalLM
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    c = json.loads((work / "model/config.json").read_text())["llm_config"]
    config = Qwen2Config(**{k: c[k] for k in (
        "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
        "vocab_size", "tie_word_embeddings", "rms_norm_eps")}, use_cache=False)
    torch.manual_seed(1)
    model = Qwen2ForCausalLM(config).to(torch.bfloat16 if bf16 else torch.float32)
    model = get_peft_model(model, LoraConfig(
        r=RANK, lora_alpha=RANK, lora_dropout=0,
        target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5)
    length = PROMPT + PICTURE + ANSWER
    embeds = torch.randn(BATCH, length, config.hidden_size, dtype=torch.bfloat16 if bf16 else torch.float32) * 0.02
    labels = torch.randint(1000, (BATCH, length))
    labels[:, :length - ANSWER] = -100
    seconds = []
    for _ in range(steps + 2):
        begin = time.monotonic()
        with torch.autocast("cpu", torch.bfloat16) if bf16 else contextlib.nullcontext():
            loss = model(inputs_embeds=embeds, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.monotonic() - begin)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(BATCH / statistics.median(seconds[2:]), peak)


def options(doc, work, steps):
    """Of a benchmark beside a peer, which is a process of its own (--peer)."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=HERE / work)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--only", choices=["f32", "bf16"])
    parser.add_argument("--peer", type=int, help=argparse.SUPPRESS)
    return parser


def main():
    parser = options(__doc__, "build/finetune", steps=6)
    parser.add_argument("--settings", nargs="*", default=[], help="of the recipe, key=value")
    args = parser.parse_args()
    args.work = args.work.resolve()
    if args.peer is not None:
        return peer(args.work, bool(args.peer), args.steps)
    prepare(args.work)
    print("| | Revenant, rows/s | PyTorch, rows/s | ratio (lowest to highest) | Revenant, MiB | PyTorch, MiB |")
    print("| --- | --- | --- | --- | --- | --- |")
    for bf16 in [False, True]:
        if args.only and (args.only == "bf16") != bf16:
            continue
        rounds = [(ours(args.work, bf16, args.steps, args.settings), theirs(args.work, bf16, args.steps))
                  for _ in range(args.rounds)]
        median = lambda values: statistics.median(values)
        ratios = sorted(a[0] / b[0] for a, b in rounds)
        print(f"| {'bf16' if bf16 else 'float32'} | {median(a[0] for a, _ in rounds):.3f} "
              f"| {median(b[0] for _, b in rounds):.3f} | {median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) "
              f"| {max(a[1] for a, _ in rounds):.0f} | {max(b[1] for _, b in rounds):.0f} |", flush=True)


if __name__ == "__main__":
    main()
