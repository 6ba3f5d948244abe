#!/usr/bin/env python3
"""The tables and plots of docs/reproduction.md from the raw results of its sweeps.

    tools/reproduction.py pilot RESULTS           what eta each arm gets, and how many seeds the primary group needs
    tools/reproduction.py tables RESULTS PICTURES   every arm, the questions with their verdicts, and a plot of each group
    tools/reproduction.py pack SWEEP OUT.tar.xz   a sweep's raw results and its finished runs' logs, for the repository
    tools/reproduction.py unpack OUT.tar.xz SWEEP   so that the sweep goes on there, on another machine too: what is finished is not run again

with `pip install scipy matplotlib`. RESULTS: a sweep's results.jsonl, or the .tar.xz that `pack` wrote of it. Prints Markdown.
"""
import json
import math
import re
import statistics
import sys
import tarfile
from pathlib import Path

EQUAL = SMALLEST = 1  # points: the margin of equivalence; the least effect that would matter
SEEDS = 6             # of the primary group, as the pilot said: without all of them there is no verdict
FLOOR = 10            # points that `plain` must be above a grey picture: below nothing is seen that could be said
# (name, arms with their signs, a claim of the papers: those are corrected together; the paper's numbers)
QUESTIONS = [
    ("P1 Phantom, with PO: phantom - plain", {"phantom": 1, "plain": -1}, True, "+12.6"),
    ("P1 Phantom, without PO", {"phantom-no-po": 1, "plain-no-po": -1}, True, "+7.7"),
    ("P3 the first row's heads: phantom - placebo", {"phantom": 1, "placebo": -1}, False, ""),
    ("P4 the mechanism: phantom - adapter", {"phantom": 1, "adapter": -1}, True, ""),
    ("P5 learnt eta - phantom", {"phantom-learnt-eta": 1, "phantom": -1}, False, ""),
    ("P6 PO, plain", {"plain": 1, "plain-no-po": -1}, True, "+3.0"),
    ("P6 PO, phantom", {"phantom": 1, "phantom-no-po": -1}, True, "+7.9"),
    ("P7 PO and Phantom together: interaction", {"phantom": 1, "phantom-no-po": -1, "plain": -1, "plain-no-po": 1}, True, "+4.9"),
    ("P8 TroL - plain, without PO", {"trol": 1, "plain-no-po": -1}, True, "+9.5, +10.5 (1.8B)"),
]
EQUIVALENCE = ("P2 released eta - plain", {"phantom-released-eta": 1, "plain": -1})
# Exploratory: effect over three seeds, no verdict.
SECONDARY = [
    ("own row's heads - phantom", {"own-anchor": 1, "phantom": -1}, ""),
    ("no wider heads - phantom", {"no-widening": 1, "phantom": -1}, ""),
    ("sum of the halves - phantom", {"phantom-sum": 1, "phantom": -1}, "-5.6 (the better of both)"),
    ("mean of the halves - phantom", {"phantom-mean": 1, "phantom": -1}, "-5.6 (the better of both)"),
    ("PO in step 1 - in none", {"po-step1": 1, "po-neither": -1}, "+7.9"),
    ("PO in step 2 - in step 1", {"po-step2": 1, "po-step1": -1}, "-4.8"),
    ("PO in both - in step 1", {"po-both": 1, "po-step1": -1}, "-3.2"),
    ("TroL, answers traverse in training - not", {"trol-as-published": 1, "trol": -1}, ""),
    ("second pass alone - gated", {"trol-second": 1, "trol": -1}, "-7.0, -6.6 (7B)"),
    ("equal shares - gated", {"trol-uniform": 1, "trol": -1}, "-9.9, -8.4 (7B)"),
    ("constant gate - gated", {"trol-constant": 1, "trol": -1}, "-4.6, -4.8 (7B)"),
    ("three passes - two", {"trol-3-passes": 1, "trol": -1}, "+0.2, +0.5 (1.8B)"),
    ("four passes - two", {"trol-4-passes": 1, "trol": -1}, "+0.3, +0.8 (1.8B)"),
    ("a gate a layer - one", {"trol-gate-per-layer": 1, "trol": -1}, ""),
    ("twice the layers - plain", {"twice-the-layers": 1, "plain-no-po": -1}, ""),
    ("twice the steps - plain", {"twice-the-steps": 1, "plain-no-po": -1}, ""),
    ("both mechanisms - phantom", {"both": 1, "phantom-no-po": -1}, ""),
    ("both mechanisms - TroL", {"both": 1, "trol": -1}, ""),
    ("PO with wrong answers of the same type - no PO", {"same-type": 1, "no-po": -1}, "+7.9"),  # recipes/ablation-wrong.yaml
    ("PO with those of a random row - no PO", {"random-row": 1, "no-po": -1}, ""),
    ("PO with the model's own - no PO", {"own": 1, "no-po": -1}, ""),
]


def read(path):
    """Accuracy in points of every run: {arm: {seed: {evaluation: points}}}; arms of one name are one."""
    if path.name.endswith(".tar.xz"):
        with tarfile.open(path) as tar:
            text = tar.extractfile("results.jsonl").read().decode()
    else:
        text = path.read_text()
    arms = {}
    for row in map(json.loads, text.splitlines()):
        points = {name: 100 * groups[0]["accuracy"] for name, groups in row["evaluations"].items()}
        arms.setdefault(row["arm"], {})[row["seed"]] = points
    return arms


def differences(arms, signs, evaluation="test"):
    """One number a seed that all the arms have."""
    seeds = sorted(set.intersection(*({seed for seed, points in arms.get(arm, {}).items() if evaluation in points} for arm in signs)))
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


def mean_of(seeds, evaluation):
    return statistics.mean(points[evaluation] for points in seeds.values())


def print_arms(arms):
    names = sorted({name for seeds in arms.values() for points in seeds.values() for name in points}, key=lambda name: (name != "test", name))
    print("| arm | seeds |", *(f"{name} |" for name in names))
    print("| --- | --- |", *("--- |" for _ in names))
    for arm, seeds in arms.items():
        cells = []
        for name in names:
            values = [points[name] for points in seeds.values()]
            spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.2f}{spread} |")
        print(f"| {arm} | {len(seeds)} |", *cells)


def shown(values, level=0.95):
    low, high = interval(values, level)
    return f"{statistics.mean(values):+.2f} ({low:+.2f} to {high:+.2f})"


def print_primary(arms):
    """Rows of (name, mean, low, high), for the plot."""
    found = [(name, differences(arms, signs), claim, paper) for name, signs, claim, paper in QUESTIONS]
    if not any(values for _, values, _, _ in found):
        return []
    names = {arm for _, signs, _, _ in QUESTIONS for arm in signs} | set(EQUIVALENCE[1])
    counts = {len(arms.get(arm, {})) for arm in names}
    whole = counts == {SEEDS}
    above = mean_of(arms["plain"], "test") - mean_of(arms["plain"], "blank") if "plain" in arms else 0
    print(f"\n`plain` is {above:.1f} points above grey pictures, of which the first 1,000 rows are read (at least {FLOOR}, or nothing below is decided).")
    corrected = iter(holm([two_sided(values) for _, values, claim, _ in found if claim and len(values) > 1]))
    print("\n| question | seeds | points (95 %) | p, of claims corrected | paper, 0.5B | verdict |\n| --- | --- | --- | --- | --- | --- |")
    rows = []
    for name, values, claim, paper in found:
        if len(values) < 2:
            continue
        p = next(corrected) if claim else two_sided(values)
        said = "waits for all runs" if not whole else "not decidable here" if above < FLOOR else verdict(values, p) if claim else "no claim"
        print(f"| {name} | {len(values)} | {shown(values)} | {p:.3f} | {paper} | {said} |")
        rows.append((name, statistics.mean(values), *interval(values)))
    values = differences(arms, EQUIVALENCE[1])
    if len(values) > 1:
        p = equivalence(values)
        said = "waits for all runs" if not whole else f"equal within {EQUAL}" if above >= FLOOR and p < 0.05 else "not decidable here"
        print(f"| {EQUIVALENCE[0]} | {len(values)} | {shown(values, 0.9)}, 90 % | {p:.3f} | | {said} |")
        rows.append((EQUIVALENCE[0], statistics.mean(values), *interval(values, 0.9)))
    return rows


def print_secondary(arms):
    found = [(name, differences(arms, signs), paper) for name, signs, paper in SECONDARY]
    found = [(name, values, paper) for name, values, paper in found if len(values) > 1]
    if found:
        print("\n| comparison | seeds | points (95 %) | paper |\n| --- | --- | --- | --- |")
    for name, values, paper in found:
        print(f"| {name} | {len(values)} | {shown(values)} | {paper} |")
    return [(name, statistics.mean(values), *interval(values)) for name, values, _ in found]


def draw(rows, path):
    import matplotlib
    matplotlib.use("svg")
    from matplotlib import pyplot
    pyplot.rcParams.update({"svg.hashsalt": "revenant", "font.size": 9})
    figure, axes = pyplot.subplots(figsize=(8, 0.35 * len(rows) + 1))
    for y, (name, mean, low, high) in enumerate(reversed(rows)):
        axes.plot([low, high], [y, y], color="#456", linewidth=2)
        axes.plot(mean, y, "o", color="#c33")
    axes.axvline(0, color="#999", linewidth=1)
    axes.set_yticks(range(len(rows)), [row[0] for row in reversed(rows)])
    axes.set_xlabel("points of accuracy on scenes/test, 95 % over seeds (of the equivalence 90 %)")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def pilot(results):
    from scipy import stats
    arms = read(results)
    for family in ("phantom", "placebo", "adapter"):
        etas = {arm: mean_of({s: v for s, v in seeds.items() if s in (101, 102)}, "validation")
                for arm, seeds in arms.items() if arm.startswith(family + "-")}
        for arm, points in etas.items():
            print(f"{arm}: {points:.2f} on the validation split")
        best = max(etas, key=etas.get)
        print(f"{family}: eta {best.rsplit('-', 1)[1]}")
        if family == "phantom":
            chosen = best
    values = differences(arms, {chosen: 1, "plain": -1}, "validation")
    spread = statistics.stdev(values)
    print(f"{chosen} - plain over {len(values)} seeds: {statistics.mean(values):+.2f}, standard deviation {spread:.2f}")
    for seeds in (6, 8, 10):
        reach = stats.t.ppf(0.975, seeds - 1) * spread / math.sqrt(seeds)
        power = stats.t.ppf(0.975, seeds - 1) + stats.t.ppf(0.8, seeds - 1)
        print(f"{seeds} seeds: interval of ± {reach:.2f}; an effect of {power * spread / math.sqrt(seeds):.2f} is found four times in five")
        if reach <= SMALLEST:
            break
    print(f"seeds of the primary group (SEEDS here, `seeds` in recipes/ablation.yaml): {seeds}")


def finished(results):
    """GROUP/ARM/SEED of each line."""
    return ["{group}/{arm}/{seed}".format(**json.loads(line)) for line in results.splitlines()]


def pack(sweep, out):
    """results.jsonl and the logs of its runs, in an order and with times that do not change."""
    def plain(info):
        info.mtime = info.uid = info.gid = 0
        info.uname = info.gname = ""
        return info
    with tarfile.open(out, "w:xz", preset=9) as tar:
        for name in ("results.jsonl", "switched.jsonl"):
            if (sweep / name).exists():
                tar.add(sweep / name, name, filter=plain)
        for run in sorted(finished((sweep / "results.jsonl").read_text())):
            for file in sorted((sweep / run).glob("step*/train.jsonl")) + sorted((sweep / run).glob("*.json")):
                tar.add(file, file.relative_to(sweep), filter=plain)


def unpack(packed, sweep):
    """The runs' files as `pack` took them, and what tells a sweep that their steps are done: no weights are there."""
    if sweep.exists() and any(sweep.iterdir()):
        raise SystemExit(f"{sweep}: expected no folder or an empty one, so that no run is overwritten")
    with tarfile.open(packed) as tar:
        for member in tar.getmembers():
            if not member.isfile() or not re.fullmatch(r"(results|switched)\.jsonl|([\w-][\w.-]*/){3}(step\d+/train\.jsonl|[\w.-]+\.json)", member.name):
                raise SystemExit(f"{packed}: expected what `pack` writes, found {member.name}")
            to = sweep / member.name
            to.parent.mkdir(parents=True, exist_ok=True)
            to.write_bytes(tar.extractfile(member).read())
    for run in finished((sweep / "results.jsonl").read_text()):
        for step in (sweep / run).glob("step*/"):
            step.with_name(step.name + ".done").touch()


def main():
    words = sys.argv[1:]
    if len(words) == 2 and words[0] == "pilot":
        pilot(Path(words[1]))
    elif len(words) == 3 and words[0] == "tables":
        arms = read(Path(words[1]))
        print_arms(arms)
        for group, rows in (("primary", print_primary(arms)), ("secondary", print_secondary(arms))):
            if rows:
                draw(rows, Path(words[2]) / f"reproduction-{group}.svg")
    elif len(words) == 3 and words[0] == "pack":
        pack(Path(words[1]), Path(words[2]))
    elif len(words) == 3 and words[0] == "unpack":
        unpack(Path(words[1]), Path(words[2]))
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main()
