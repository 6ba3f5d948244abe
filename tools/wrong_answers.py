#!/usr/bin/env python3
"""Copies of a data set whose wrong answers come from elsewhere, for recipes/ablation-wrong.yaml.

    tools/wrong_answers.py random data/scenes/train.json OUT.json [LIMIT]
    tools/wrong_answers.py own data/scenes/train.json OUT.json LIMIT ANSWERS
    tools/wrong_answers.py given data/scenes/train.json OUT.json LIMIT

LIMIT: the first rows alone. random: the answer of another row, drawn by the row's id. own: what a model said instead, where it was
wrong; where it was right, the row's own. ANSWERS: what `revenant eval --data data/scenes/train.json --limit LIMIT --answers ANSWERS`
kept. OUT.json stands in the folder of the set, whose pictures it names.
"""
import hashlib
import json
import sys
from pathlib import Path


def answer_of(row):
    return row["conversations"][-1]["value"]


def random_answer(row, rows):
    """Of a row whose answer is another; the same for the same id."""
    for attempt in range(1000):
        digest = hashlib.sha256(f"{row['id']} {attempt}".encode()).digest()
        other = answer_of(rows[int.from_bytes(digest[:8], "little") % len(rows)])
        if other.strip().lower() != answer_of(row).strip().lower():
            return other
    raise SystemExit(f"{row['id']}: no row has another answer")


def own_answers(path, rows):
    said = {}
    for line in path.read_text().splitlines():
        entry = json.loads(line)
        if "prediction" in entry:
            said[entry["row"] - 1] = entry["prediction"].strip()
    if len(said) < len(rows):
        raise SystemExit(f"{path}: expected {len(rows)} answers, found {len(said)}")
    return said


def main():
    if len(sys.argv) < 4 or sys.argv[1] not in ("random", "own", "given"):
        raise SystemExit(__doc__)
    kind, source, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    if out.parent.resolve() != source.parent.resolve():
        raise SystemExit(f"{out}: expected a file in {source.parent}, whose pictures it names")
    rows = json.loads(source.read_text())
    some = rows[:int(sys.argv[4])] if len(sys.argv) > 4 else rows
    said = own_answers(Path(sys.argv[5]), some) if kind == "own" else {}
    changed = 0
    for i, row in enumerate(some):
        if kind == "random":
            row["rejected"] = random_answer(row, rows)
        elif kind == "own" and said[i].lower() != answer_of(row).strip().lower() and said[i]:
            row["rejected"] = said[i]
        else:
            continue
        changed += 1
    temporary = out.with_suffix(".tmp")
    temporary.write_text(json.dumps(some, ensure_ascii=False))
    temporary.rename(out)
    print(f"{out}: {len(some)} rows, {changed} wrong answers replaced")


if __name__ == "__main__":
    main()
