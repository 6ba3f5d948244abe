#!/usr/bin/env python3
"""The table of a model card from what tools/evaluate.sh wrote: tools/card_table.py OUT_DIR"""
import json
import sys
from pathlib import Path

SPLITS = ["easy-vqa_test", "easy-vqa_test_described", "fashion-mnist_test", "scenes_test",
          "scenes_test_unseen_style", "emoji_test_openmoji", "emoji_test_noto", "emoji_test_modern",
          "facts_test", "facts_test_unseen_style", "flags_test", "flags_test_unseen_style"]


def groups(name):
    file = Path(sys.argv[1]) / f"{name}.json"
    rows = json.loads(file.read_text())["groups"] if file.exists() else []
    return {(row["task"], row["wording"]): row for row in rows}


def percent(row):
    return f"{100 * row['accuracy']:.1f} % ({100 * row['low']:.1f} to {100 * row['high']:.1f})" if row else "-"


print("| split | task | wording | rows | accuracy (95 %) | blank picture (95 %) | shuffled (95 %) | majority |")
print("| --- | --- | --- | --- | --- | --- | --- | --- |")
for split in SPLITS:
    own, blank, shuffled = (groups(f"{split}.{shown}") for shown in ("own", "blank", "shuffle"))
    for key, row in own.items():
        task, wording = (part or "all" for part in key)
        print(f"| {split.replace('_', ' ', 1)} | {task} | {wording} | {row['rows']} | {percent(row)} | "
              f"{percent(blank.get(key))} | {percent(shuffled.get(key))} | {100 * row['majority']:.1f} % |")
