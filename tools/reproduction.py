#!/usr/bin/env python3
"""The tables and plots of docs/reproduction.md from a sweep's results.

    tools/reproduction.py RESULTS PICTURES      RESULTS: runs/ablation/results.jsonl, or packed as .xz; plots go into PICTURES

with `pip install scipy matplotlib`. Prints Markdown: every arm with its spread, then each question of the primary group with
its effect, interval, corrected p and verdict, as docs/reproduction.md fixed them before the runs.
"""
import json
import lzma
import math
import statistics
import sys
from pathlib import Path

SEEDS = range(1, 7)       # of the primary group: no verdict before all its arms have them all
EQUAL, SMALLEST = 0.5, 1  # points: the margin of equivalence; the least effect that would matter
# (name, arms with their signs, whether it is a claim of the papers: those are corrected together)
QUESTIONS = [
    ("P1 phantom - plain", {"phantom": 1, "plain": -1}, True),
    ("P3 phantom - placebo", {"phantom": 1, "placebo": -1}, True),
    ("P4 phantom - adapter", {"phantom": 1, "adapter": -1}, True),
    ("P5 learnt eta - phantom", {"phantom-learnt-eta": 1, "phantom": -1}, False),
    ("P6 PO, plain", {"plain": 1, "plain-no-po": -1}, True),
    ("P6 PO, phantom", {"phantom": 1, "phantom-no-po": -1}, True),
    ("P7 interaction", {"phantom": 1, "phantom-no-po": -1, "plain": -1, "plain-no-po": 1}, True),
]
EQUIVALENCE = ("P2 released eta - plain", {"phantom-released-eta": 1, "plain": -1})


def read(path):
    """Accuracy in points of every run: {group: {arm: {seed: {evaluation: points}}}}."""
    text = lzma.open(path, "rt").read() if path.suffix == ".xz" else path.read_text()
    runs = {}
    for row in map(json.loads, text.splitlines()):
        points = {name: 100 * groups[0]["accuracy"] for name, groups in row["evaluations"].items()}
        runs.setdefault(row["group"], {}).setdefault(row["arm"], {})[row["seed"]] = points
    return runs


def differences(arms, signs, evaluation="test"):
    """One number a seed that all the arms have."""
    seeds = [seed for seed in SEEDS if all(seed in arms.get(arm, {}) for arm in signs)]
    return [sum(sign * arms[arm][seed][evaluation] for arm, sign in signs.items()) for seed in seeds]


def student(values):
    """Mean, standard error, degrees of freedom."""
    return statistics.mean(values), statistics.stdev(values) / math.sqrt(len(values)), len(values) - 1


def two_sided(values):
    from scipy import stats
    mean, error, freedom = student(values)
    return 2 * stats.t.sf(abs(mean) / error, freedom) if error else float(mean == 0)


def interval(values, level=0.95):
    from scipy import stats
    mean, error, freedom = student(values)
    reach = stats.t.ppf(0.5 + level / 2, freedom) * error
    return mean - reach, mean + reach


def equivalence(values):
    """The larger p of two one-sided tests."""
    from scipy import stats
    mean, error, freedom = student(values)
    if not error:
        return float(abs(mean) >= EQUAL)
    return max(stats.t.sf((mean + EQUAL) / error, freedom), stats.t.sf((EQUAL - mean) / error, freedom))


def holm(ps):
    """Corrected p values, in the order given."""
    order, corrected, worst = sorted(range(len(ps)), key=ps.__getitem__), [0.0] * len(ps), 0.0
    for rank, i in enumerate(order):
        worst = max(worst, min(1.0, (len(ps) - rank) * ps[i]))
        corrected[i] = worst
    return corrected


def verdict(values, p):
    low, high = interval(values)
    if low > 0 and p < 0.05:
        return "reproduced"
    return "not reproduced" if low <= 0 and high < SMALLEST else "not decidable here"


def print_arms(runs):
    names = sorted({name for arms in runs.values() for seeds in arms.values() for points in seeds.values() for name in points},
                   key=lambda name: (name != "test", name))
    print("| group | arm | seeds |", *(f"{name} |" for name in names))
    print("| --- | --- | --- |", *("--- |" for _ in names))
    for group, arms in runs.items():
        for arm, seeds in arms.items():
            cells = []
            for name in names:
                values = [points[name] for points in seeds.values()]
                spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
                cells.append(f"{statistics.mean(values):.2f}{spread} |")
            print(f"| {group} | {arm} | {len(seeds)} |", *cells)


def print_questions(arms):
    """Rows of (name, mean, low, high), for the plot."""
    found = [(name, differences(arms, signs), claim) for name, signs, claim in QUESTIONS]
    found = [one for one in found if len(one[1]) >= 2]
    names = {arm for _, signs, _ in QUESTIONS for arm in signs} | set(EQUIVALENCE[1])
    whole = all(seed in arms.get(arm, {}) for arm in names for seed in SEEDS)
    corrected = iter(holm([two_sided(values) for _, values, claim in found if claim]))
    print("\n| question | seeds | points (95 %) | p, corrected | verdict |\n| --- | --- | --- | --- | --- |")
    rows = []
    for name, values, claim in found:
        low, high = interval(values)
        p = next(corrected) if claim else two_sided(values)
        said = ("no claim" if not claim else verdict(values, p)) if whole else "waits for all runs"
        print(f"| {name} | {len(values)} | {statistics.mean(values):+.2f} ({low:+.2f} to {high:+.2f}) | {p:.3f} | {said} |")
        rows.append((name, statistics.mean(values), low, high))
    values = differences(arms, EQUIVALENCE[1])
    if len(values) >= 2:
        p, (low, high) = equivalence(values), interval(values, 0.9)
        said = (f"equal within {EQUAL}" if p < 0.05 else "not decidable here") if whole else "waits for all runs"
        print(f"| {EQUIVALENCE[0]} | {len(values)} | {statistics.mean(values):+.2f} ({low:+.2f} to {high:+.2f}, 90 %) | {p:.3f} | {said} |")
        rows.append((EQUIVALENCE[0], statistics.mean(values), low, high))
    return rows


def draw(rows, path):
    import matplotlib
    matplotlib.use("svg")
    from matplotlib import pyplot
    pyplot.rcParams.update({"svg.hashsalt": "revenant", "font.size": 9})
    figure, axes = pyplot.subplots(figsize=(7, 0.4 * len(rows) + 1))
    for y, (name, mean, low, high) in enumerate(reversed(rows)):
        axes.plot([low, high], [y, y], color="#456", linewidth=2)
        axes.plot(mean, y, "o", color="#c33")
    axes.axvline(0, color="#999", linewidth=1)
    axes.set_yticks(range(len(rows)), [row[0] for row in reversed(rows)])
    axes.set_xlabel("points of accuracy on scenes/test")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def main():
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    runs = read(Path(sys.argv[1]))
    print_arms(runs)
    rows = print_questions(runs.get("primary", {}))
    if rows:
        draw(rows, Path(sys.argv[2]) / "reproduction-primary.svg")


if __name__ == "__main__":
    main()
