#!/usr/bin/env python3
"""Supervised training of the shipped Phantom's shapes on the CPU, beside the same model in plain PyTorch.

    bench/nano.py [--rounds 3] [--steps 12] [--only f32|bf16]     with a Python that has torch 2.15.0 (pip install torch==2.15.0)

48 pictures a step, two questions each, AdamW. Ours reads, augments and packs rows as recipes/phantom-nano-step2.yaml does.
PyTorch's is written as one would write it: sequences padded to a rectangle, the tower once a picture, scaled_dot_product_attention,
logits of the answers alone, pictures ready as tensors. Both get sequences of the same lengths. In turn; medians over the rounds.
"""
import contextlib
import json
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path

from finetune import BIN, HERE, options, png

PICTURES, QUESTIONS, BATCH = 480, 2, 48


def prepare(work):
    work.mkdir(parents=True, exist_ok=True)
    if (work / "rows.json").exists():
        return
    rows, rng = [], random.Random(1)
    for i in range(PICTURES):
        (work / f"{i}.png").write_bytes(png(64, i))
        for question in ("What is to be seen here?", "Is there something else?"):
            rows.append({"id": f"{i}{question}", "image": f"{i}.png",
                         "conversations": [{"from": "human", "value": "<image>\n" + question},
                                           {"from": "gpt", "value": rng.choice(["a red circle", "no", "two dogs"])}]})
    (work / "rows.json").write_text(json.dumps(rows))


def recipe(work, bf16, steps):
    file = work / "recipe.yaml"
    file.write_text(f"""config: {HERE}/recipes/phantom-nano.config.json
tokenizer_vocab: 400
data: [{{path: {work}/rows.json, mirror: true, shift: 0.1}}]
per_device_train_batch_size: {BATCH // 2}
gradient_accumulation_steps: 2
questions_per_picture: {QUESTIONS}
optim: adamw_torch
packing: true
bf16: {str(bf16).lower()}
max_steps: {steps + 2}
warmup_steps: 1
save_steps: 1000000
logging_steps: 1
report_to: none
output_dir: {work}/run
""")
    return file


def ours(work, bf16, steps):
    """Pictures a second."""
    subprocess.run(["rm", "-rf", work / "run"])
    subprocess.run([BIN / "revenant-train", "train", recipe(work, bf16, steps)], check=True, stderr=subprocess.DEVNULL)
    lines = [json.loads(line) for line in (work / "run/speed.jsonl").read_text().splitlines()][2:]
    return statistics.median(l["images_per_second"] for l in lines)


def lengths(work):
    """Rows of a sequence without the picture's, and of an answer, from our own tokenizer."""
    answer = lambda text: len(subprocess.run([BIN / "revenant", "tokenize", "-m", work / "run"], input=text, text=True,
                                             check=True, capture_output=True).stdout.split())
    prompt = answer("What is to be seen here?") + answer("user\n") + answer("assistant\n") + 5
    return prompt, answer("a red circle") + 1


def theirs(work, bf16, steps):
    said = subprocess.run([sys.executable, __file__, "--peer", str(int(bf16)), "--steps", str(steps), "--work", work],
                          check=True, capture_output=True, text=True).stdout.split()
    return float(said[-1])


def model_of(config, vocab):
    import torch
    from torch import nn
    from torch.nn import functional as F
    llm, vit = config["llm_config"], config["vision_config"]
    hidden, heads, kv = llm["hidden_size"], llm["num_attention_heads"], llm["num_key_value_heads"]
    d, eta = hidden // heads, config["revenant"]["phantom_eta"]

    class TowerLayer(nn.Module):
        def __init__(self):
            super().__init__()
            w = vit["hidden_size"]
            self.norm1, self.norm2 = nn.LayerNorm(w, 1e-6), nn.LayerNorm(w, 1e-6)
            self.qkv, self.proj = nn.Linear(w, 3 * w), nn.Linear(w, w)
            self.up, self.down = nn.Linear(w, vit["intermediate_size"]), nn.Linear(vit["intermediate_size"], w)
            self.ls1, self.ls2 = nn.Parameter(torch.full((w,), 0.1)), nn.Parameter(torch.full((w,), 0.1))

        def forward(self, x):
            b, n, w = x.shape
            q, k, v = self.qkv(self.norm1(x)).view(b, n, 3, vit["num_attention_heads"], -1).permute(2, 0, 3, 1, 4)
            a = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, w)
            x = x + self.proj(a) * self.ls1
            return x + self.down(F.gelu(self.up(self.norm2(x)))) * self.ls2

    class Mixer(nn.Module):
        def __init__(self):
            super().__init__()
            self.q, self.k, self.v, self.o = (nn.Linear(d, d, bias=False) for _ in range(4))

        def forward(self, x):  # [B, H, L, d]; every head of a row looks at the heads of the first row
            first = x[:, :, 0]
            q, k, v = F.gelu(self.q(x)), F.gelu(self.k(first)), F.gelu(self.v(first))
            scores = torch.einsum("bhld,bgd->bhlg", q, k) * d ** -0.5
            return F.gelu(self.o(torch.einsum("bhlg,bgd->bhld", scores.softmax(-1), v)))

    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm1, self.norm2 = nn.RMSNorm(hidden, 1e-6), nn.RMSNorm(hidden, 1e-6)
            self.q, self.k, self.v = nn.Linear(hidden, hidden), nn.Linear(hidden, kv * d), nn.Linear(hidden, kv * d)
            self.o = nn.Linear(hidden, hidden, bias=False)
            self.mixers = nn.ModuleList(Mixer() for _ in range(3))
            self.gate1, self.gate2 = nn.Linear(d, 1), nn.Linear(d, 1)
            wide = llm["intermediate_size"]
            self.gate, self.up = nn.Linear(hidden, wide, bias=False), nn.Linear(hidden, wide, bias=False)
            self.down = nn.Linear(wide, hidden, bias=False)

        def forward(self, x, cos, sin):
            b, n, _ = x.shape
            y = self.norm1(x)
            rotate = lambda t: t * cos + torch.cat([-t[..., d // 2:], t[..., :d // 2]], -1) * sin
            q = rotate(self.q(y).view(b, n, heads, d).transpose(1, 2))
            k = rotate(self.k(y).view(b, n, kv, d).transpose(1, 2))
            v = self.v(y).view(b, n, kv, d).transpose(1, 2)
            q = torch.cat([q, eta * self.mixers[0](q)], -1)
            k = torch.cat([k, eta * self.mixers[1](k)], -1)
            v = torch.cat([v, v + eta * self.mixers[2](v)], -1)
            out = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=d ** -0.5, enable_gqa=True)
            plain, ghost = out[..., :d], out[..., d:]
            weight = torch.sigmoid(self.gate1(plain) - self.gate2(ghost))
            x = x + self.o((ghost + weight * (plain - ghost)).transpose(1, 2).reshape(b, n, hidden))
            y = self.norm2(x)
            return x + self.down(F.silu(self.gate(y)) * self.up(y))

    class Phantom(nn.Module):
        def __init__(self):
            super().__init__()
            w, grid = vit["hidden_size"], vit["image_size"] // vit["patch_size"]
            self.patch = nn.Conv2d(3, w, vit["patch_size"], vit["patch_size"])
            self.cls = nn.Parameter(torch.zeros(1, 1, w))
            self.position = nn.Parameter(torch.zeros(1, 1 + grid * grid, w))
            self.tower = nn.ModuleList(TowerLayer() for _ in range(vit["num_hidden_layers"]))
            self.project = nn.Sequential(nn.LayerNorm(4 * w), nn.Linear(4 * w, hidden), nn.GELU(), nn.Linear(hidden, hidden))
            self.embed = nn.Embedding(vocab, hidden)
            self.layers = nn.ModuleList(Layer() for _ in range(llm["num_hidden_layers"]))
            self.norm = nn.RMSNorm(hidden, 1e-6)

        def forward(self, pixels, ids, labels):
            x = self.patch(pixels).flatten(2).transpose(1, 2)
            x = torch.cat([self.cls.expand(len(x), -1, -1), x], 1) + self.position
            for layer in self.tower:
                x = layer(x)
            side = int((x.shape[1] - 1) ** 0.5)
            x = x[:, 1:].view(len(x), side // 2, 2, side // 2, 2, -1).transpose(2, 3).reshape(len(x), side * side // 4, -1)
            seen = self.project(x).repeat_interleave(QUESTIONS, 0)
            x = torch.cat([self.embed(ids[:, :2]), seen, self.embed(ids[:, 2:])], 1)
            angles = torch.outer(torch.arange(x.shape[1]), 1e4 ** (-torch.arange(0, d, 2) / d)).repeat(1, 2)
            for layer in self.layers:
                x = layer(x, angles.cos(), angles.sin())
            rows = labels >= 0
            logits = self.norm(x)[rows] @ self.embed.weight.t()
            return F.cross_entropy(logits.float(), labels[rows])

    return Phantom()


def peer(work, bf16, steps):
    import os
    import torch
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.manual_seed(1)
    config = json.loads((HERE / "recipes/phantom-nano.config.json").read_text())
    model = model_of(config, 400)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    prompt, answer = lengths(work)
    picture = 16
    rows = BATCH * QUESTIONS
    pixels = torch.randn(BATCH, 3, 64, 64)
    ids = torch.randint(400, (rows, prompt + answer))
    labels = torch.full((rows, picture + prompt + answer), -1)
    labels[:, -answer - 1:-1] = ids[:, -answer:]
    seconds = []
    for _ in range(steps + 2):
        begin = time.monotonic()
        with torch.autocast("cpu", torch.bfloat16) if bf16 else contextlib.nullcontext():
            loss = model(pixels, ids, labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.monotonic() - begin)
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters, loss {loss.item():.3f}", file=sys.stderr)
    print(BATCH / statistics.median(seconds[2:]))


def main():
    args = options(__doc__, "build/nano", steps=12).parse_args()
    args.work = args.work.resolve()
    if args.peer is not None:
        return peer(args.work, bool(args.peer), args.steps)
    prepare(args.work)
    print("| phantom-nano, SFT | Revenant, pictures/s | PyTorch, pictures/s | ratio (lowest to highest) |\n| --- | --- | --- | --- |")
    for bf16 in [False, True]:
        if args.only and (args.only == "bf16") != bf16:
            continue
        rounds = [(ours(args.work, bf16, args.steps), theirs(args.work, bf16, args.steps)) for _ in range(args.rounds)]
        ratios = sorted(a / b for a, b in rounds)
        print(f"| {'bf16' if bf16 else 'float32'} | {statistics.median(a for a, _ in rounds):.1f} "
              f"| {statistics.median(b for _, b in rounds):.1f} "
              f"| {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) |", flush=True)


if __name__ == "__main__":
    main()
