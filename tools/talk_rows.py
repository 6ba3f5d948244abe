#!/usr/bin/env python3
"""Text for a language model that learns to see, so that it does not forget how to talk: its own answers.

    tools/talk_rows.py MODEL data/emoji/train.json -o data/talk/train.json [--rows 3000]

MODEL (what `revenant graft` made) answers prompts about the names in the rows, and general ones, with at most 48
tokens; answers that end are written as rows without a picture (docs/data.md). Stopped, the same command goes on.
"""
import argparse, json, os, random, subprocess, sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REVENANT = Path(os.environ.get("REVENANT", ROOT / "build/release/bin/revenant"))
ABOUT = ["Tell me about the {x} in one sentence.", "What is a {x}?", "Describe a {x} in a few words.",
         "Write one sentence with the word {x}.", "Name something that goes with a {x}.", "What rhymes with {x}?",
         "What is the plural of {x}?", "Why do people like the {x}?", "Give me a title for a story about a {x}.",
         "What could a {x} be used for?", "Spell the word {x}.", "Translate {x} into Spanish."]
GENERAL = ["What is {n} plus {m}?", "Which is larger, {n} or {m}?", "Write a sentence with {n} words.",
           "Count from {n} to {m}.", "Say good morning to {p}.", "What would you tell {p} about the weather?",
           "Write a short greeting for {p}.", "Give {p} some advice about sleep.", "What should {p} cook tonight?",
           "Suggest a present for {p}.", "Explain gravity to {p} in one sentence.", "What does the name {p} mean?"]
PEOPLE = ["Anna", "Bruno", "Chen", "Dana", "Emil", "Fatima", "George", "Hana", "Ivan", "Julia", "Kofi", "Lena"]


def prompts(rows, count, seed=1):
    names = sorted({row["conversations"][1]["value"] for row in rows if row.get("task") == "name"})
    assert names, "no rows of the task name"
    rng, found = random.Random(seed), {}
    while len(found) < count:
        template = rng.choice(ABOUT if rng.random() < 0.7 else GENERAL)
        low = rng.randrange(1, 60)
        text = template.format(x=rng.choice(names), n=low, m=low + rng.randrange(2, 9), p=rng.choice(PEOPLE))
        found.setdefault(text, None)
    return list(found)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("names", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=3000)
    args = parser.parse_args()
    args.output.parent.mkdir(parents=True, exist_ok=True)
    asked, answers = args.output.with_suffix(".asked.json"), args.output.with_suffix(".answers.jsonl")
    turns = lambda question, answer: [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
    rows = [{"id": str(i), "task": "talk", "conversations": turns(text, "?")}
            for i, text in enumerate(prompts(json.loads(args.names.read_text()), args.rows))]
    asked.write_text(json.dumps(rows))
    done = subprocess.run([REVENANT, "eval", "-m", args.model, "--data", asked, "--answers", answers, "-n", "48"],
                          stdout=subprocess.DEVNULL)
    if done.returncode:
        sys.exit(done.returncode)
    said = {}
    for line in answers.read_text().splitlines():
        entry = json.loads(line)
        if entry.get("stopped") and entry.get("prediction", "").strip():
            said[entry["row"] - 1] = entry["prediction"]
    for i, row in enumerate(rows):
        row["conversations"][1]["value"] = said.get(i)
    kept = [row for i, row in enumerate(rows) if i in said]
    part = args.output.with_suffix(".part")
    part.write_text(json.dumps(kept, indent=0))
    part.rename(args.output)
    print(f"{args.output}: {len(kept)} of {len(rows)} answers end within 48 tokens")


if __name__ == "__main__":
    main()
