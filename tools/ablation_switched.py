#!/usr/bin/env python3
"""What the models of recipes/ablation.yaml say when a mechanism is switched without further training.

    tools/ablation_switched.py SWEEP [LIMIT]    SWEEP: runs/ablation; LIMIT: rows of data/scenes/test.json (0: all)

TroL's models with `--traverse off | prompt | all`, and the time beside `off`; plain ones with traversal switched on untrained;
those at the released eta without ghosts. Three seeds each, two threads; prints Markdown. What was measured stands in SWEEP/switched.jsonl, and is
not measured again.
"""
import json
import math
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


class Measured:
    """Accuracy in points, and seconds, of models by name; kept in a file."""
    def __init__(self, file, limit):
        self.file, self.limit = file, limit
        lines = file.read_text().splitlines() if file.exists() else []
        self.kept = {(row["name"], row["limit"]): row for row in map(json.loads, lines)}

    def of(self, name, model, *flags):
        """`model` makes the folder, where it is needed."""
        if (name, self.limit) not in self.kept:
            begin = time.monotonic()
            said = subprocess.run([REVENANT, "eval", "-m", model(), "--data", "data/scenes/test.json", "--limit", str(self.limit), "--predict", "40",
                                   "--json", "-", *flags], check=True, stdout=subprocess.PIPE, text=True).stdout
            row = {"name": name, "limit": self.limit, "points": 100 * json.loads(said)["groups"][0]["accuracy"], "seconds": time.monotonic() - begin}
            with self.file.open("a") as out:
                out.write(json.dumps(row) + "\n")
            self.kept[name, self.limit] = row
        row = self.kept[name, self.limit]
        return row["points"], row["seconds"]


def traversing(model, into):
    """A copy of a plain model with a gate of weights 0: the mean of both passes for every row."""
    shutil.copytree(model, into)
    config = json.loads((into / "config.json").read_text())
    file = (into / "model.safetensors").read_bytes()
    size = int.from_bytes(file[:8], "little")
    head, rest = json.loads(file[8:8 + size]), file[8 + size:]
    meta = head.pop("__metadata__", None)
    tensors = {name: {**t, "data": rest[slice(*t["data_offsets"])]} for name, t in head.items()}
    config["revenant"]["trol"] = True
    gate = "language_model.model.trol_gating.0."
    for name, shape in ((gate + "weight", [1, config["llm_config"]["hidden_size"]]), (gate + "bias", [1])):
        tensors[name] = {"dtype": "F32", "shape": shape, "data": bytes(4 * math.prod(shape))}
    (into / "config.json").write_text(json.dumps(config))
    head, at = {"__metadata__": meta} if meta else {}, 0
    for name, t in tensors.items():
        head[name] = {"dtype": t["dtype"], "shape": t["shape"], "data_offsets": [at, at + len(t["data"])]}
        at += len(t["data"])
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    (into / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + b"".join(t["data"] for t in tensors.values()))
    return into


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

    measured = Measured(sweep / "switched.jsonl", limit)

    def points(group, arm, name="", *flags, copy=None):
        """Of each seed; `name` is what was switched."""
        def model(seed, place):
            there = finished(group, arm, seed)
            return copy(there, Path(place) / "model") if copy else there
        runs = []
        for seed in SEEDS:
            with tempfile.TemporaryDirectory() as place:
                runs.append(measured.of(f"{arm}/{seed}{name}", lambda: model(seed, place), *flags))
        return runs

    print("| models | scenes, points | time |\n| --- | --- | --- |")
    off = points("primary", "trol", " --traverse off", "--traverse", "off")
    row("trol, --traverse off", off)
    for rows in ("prompt", "all"):
        row(f"trol, --traverse {rows}", points("primary", "trol", f" --traverse {rows}", "--traverse", rows), off)
    for name, arm, flags, copy in (("traversal switched on untrained", "plain-no-po", (), traversing),
                                   ("without ghosts", "phantom-released-eta", ("--config-set", "revenant.phantom_eta=0"), None)):
        before = points("primary", arm)
        row(arm, before)
        row(f"{arm}, {name}", points("primary", arm, f", {name}", *flags, copy=copy), before)
    logs = [json.loads((finished("primary", "trol", seed) / "train.jsonl").read_text().splitlines()[-1]) for seed in SEEDS]
    print("\n| TroL's weight of the second pass, end of step 2 |", *(f"layer {i} |" for i in range(len(logs[0]["trol_gate"]["mean"]))))
    print("| --- |", *("--- |" for _ in logs[0]["trol_gate"]["mean"]))
    for seed, log in zip(SEEDS, logs):
        print(f"| seed {seed} |", *(f"{value:.3f} |" for value in log["trol_gate"]["mean"]))


if __name__ == "__main__":
    main()
