#!/usr/bin/env python3
"""What the models of recipes/ablation.yaml say when a mechanism is switched without further training.

    tools/ablation_switched.py SWEEP [LIMIT]    SWEEP: runs/ablation; LIMIT: rows of data/scenes/test.json (0: all)

TroL's models with `--traverse off | prompt | all`, and the time beside `off`; plain ones with traversal switched on untrained;
those at the released eta without ghosts. Three seeds each, two threads; prints Markdown. Needs `pip install safetensors torch`.
"""
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SEEDS = (1, 2, 3)
REVENANT = os.environ.get("REVENANT", "build/release/bin/revenant")


def evaluate(model, limit, *flags):
    """Accuracy in points, and seconds."""
    begin = time.monotonic()
    out = subprocess.run([REVENANT, "eval", "-m", model, "--data", "data/scenes/test.json", "--limit", str(limit), "--predict", "40",
                          "--json", "-", *flags], check=True, capture_output=True, text=True).stdout
    return 100 * json.loads(out)["groups"][0]["accuracy"], time.monotonic() - begin


def changed(model, into, change):
    """A copy of a model whose config and tensors `change` has had."""
    from safetensors.torch import load_file, save_file
    shutil.copytree(model, into)
    config = json.loads((into / "config.json").read_text())
    tensors = load_file(into / "model.safetensors")
    change(config, tensors)
    (into / "config.json").write_text(json.dumps(config))
    save_file(tensors, into / "model.safetensors", metadata={"format": "pt"})
    return into


def without_ghosts(config, tensors):
    config["revenant"]["phantom_eta"] = 0.0


def untrained_traversal(config, tensors):
    """TroL's gate as it begins in a training: weights 0, bias 0."""
    import torch
    width = config["llm_config"]["hidden_size"]
    config["revenant"]["trol"] = True
    tensors["language_model.model.trol_gating.0.weight"] = torch.zeros((1, width))
    tensors["language_model.model.trol_gating.0.bias"] = torch.zeros(1)


def row(name, runs, beside=None):
    points = [accuracy for accuracy, _ in runs]
    ratio = statistics.median(a[1] / b[1] for a, b in zip(runs, beside)) if beside else 1
    print(f"| {name} | {statistics.mean(points):.2f} ± {statistics.stdev(points):.2f} | {ratio:.2f} |", flush=True)


def main():
    if len(sys.argv) not in (2, 3):
        raise SystemExit(__doc__)
    sweep, limit = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) == 3 else 0

    def finished(group, arm, seed):
        return sweep / group / arm / str(seed) / "step2"

    print("| models | scenes, points | time |\n| --- | --- | --- |")
    off = [evaluate(finished("secondary", "trol", seed), limit, "--traverse", "off") for seed in SEEDS]
    row("trol, --traverse off", off)
    for rows in ("prompt", "all"):
        row(f"trol, --traverse {rows}", [evaluate(finished("secondary", "trol", seed), limit, "--traverse", rows) for seed in SEEDS], off)
    with tempfile.TemporaryDirectory() as place:
        def both(name, group, arm, change):
            before = [evaluate(finished(group, arm, seed), limit) for seed in SEEDS]
            row(f"{arm}", before)
            copies = [changed(finished(group, arm, seed), Path(place) / f"{arm}-{seed}", change) for seed in SEEDS]
            row(f"{arm}, {name}", [evaluate(copy, limit) for copy in copies], before)
        both("traversal switched on untrained", "primary", "plain-no-po", untrained_traversal)
        both("without ghosts", "primary", "phantom-released-eta", without_ghosts)
    logs = [json.loads((finished("secondary", "trol", seed) / "train.jsonl").read_text().splitlines()[-1]) for seed in SEEDS]
    print("\n| TroL's weight of the second pass, end of step 2 |", *(f"layer {i} |" for i in range(len(logs[0]["trol_gate"]["mean"]))))
    print("| --- |", *("--- |" for _ in logs[0]["trol_gate"]["mean"]))
    for seed, log in zip(SEEDS, logs):
        print(f"| seed {seed} |", *(f"{value:.3f} |" for value in log["trol_gate"]["mean"]))


if __name__ == "__main__":
    main()
