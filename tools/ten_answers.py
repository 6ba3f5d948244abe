#!/usr/bin/env python3
"""Ten answers for a model card, drawn by a seed and not by hand, from what tools/evaluate.sh wrote: tools/ten_answers.py OUT_DIR [SEED]

Splits take turns in an order drawn too, so that large ones do not crowd out the others.
"""
import json
import random
import sys
from pathlib import Path

draw = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 1)
splits = sorted(Path(sys.argv[1]).glob("*.own.jsonl"))
draw.shuffle(splits)
print("| split, row | question | expected | said |\n| --- | --- | --- | --- |")
for i in range(10 if splits else 0):
    split = splits[i % len(splits)]
    rows = [row for row in map(json.loads, split.read_text().splitlines()) if "prediction" in row]
    row = draw.choice(sorted(rows, key=lambda row: row["row"]))
    cells = [text.replace("<image>", "").replace("|", "\\|").replace("\n", " ").strip() for text in (row["question"], row["answer"], row["prediction"])]
    print(f"| {split.name.removesuffix('.own.jsonl')}, {row['row']} | {cells[0]} | {cells[1]} | {cells[2]} |")
