#!/usr/bin/env python3
"""Revenant beside its peers on this machine: `make bench-peers`. Writes this machine's section of docs/benchmarks.md.

    bench/peers.py [--work build/peers] [--rounds 9] [--rows 512-Q8_0,tower] [--ik DIR] [--dry] [--list]

installs the peers into WORK: llama.cpp by PyPI's source package of llama-cpp-python (its own C programs, -march=native; rows `avx2-`: a second build
for AVX2 alone), torch, onnxruntime, OpenVINO. ik_llama.cpp is in no registry: --ik names a folder of its programs, built by whoever wants it.
Models have random weights of the released shapes, 0.5B unless the row's name says another (bench/peer_models.py; about 30 GB in all);
llama.cpp gets the backbone alone, ours runs with Phantom off where it stands beside it. Some rows have ours on both sides: what a mechanism or
a short prompt costs. Each round is a probe, ours, the peer, a probe; one whose probes differ by more than a tenth is dropped and told. A peer that
does not run here is named with what it said. Nothing else should run meanwhile. Resumable: what was measured stands in docs/benchmarks.jsonl (--dry: in
WORK/trial.jsonl). One round (--rounds 1) is a trial: nothing is warmed up.
"""
import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

from finetune import BIN, HERE
from load import run
from peer_models import OPENVINO, SMALL, config, last_words, llama_model, llama_of, llama_tower, our_model, picture, python_of, versions

THREADS = 2
PAGE = HERE / "docs/benchmarks.md"


# ---- what is measured: of ours {row: what `revenant bench` says of it}, of a peer {row: value}

def bench(work, type, *words, arch=SMALL, isa=None, repetitions=1):
    """By test and batch."""
    under = ["env", f"REVENANT_ISA={isa}"] if isa else []
    model = our_model(work, arch, type)
    rows = run(*under, BIN / "revenant", "bench", "-m", model, "-t", THREADS, "-r", repetitions, "-o", "json", *words)
    return {(row["test"], row["batch"]): row for row in json.loads(rows)}


def ours(*args, **settings):
    return {test: row for (test, batch), row in bench(*args, **settings).items() if batch == 1}


def values(rows):
    """Ours in a peer's place."""
    return {what: row["median"] for what, row in rows.items()}


def figure(value, unit):
    return {"median": value, "unit": unit, "fraction_of_limit": None}


def llama(programs, model, prompt, *more):
    out = run(programs / "llama-bench", "-m", model, "-p", prompt, "-n", 128, "-t", THREADS, "-r", "1", "-fa", "1", *more, "-o", "json")
    return {("pp" if row["n_prompt"] else "tg"): row["avg_ts"] for row in json.loads(out)}


def our_batches(work, type):
    rows = bench(work, type, *OFF, "-p", 32, "-n", 64, "-b", "1,8", "--no-tower")
    one, eight = rows["tg64", 1], rows["tg64", 8]
    return {"tg64 of 1": one, "tg64 of 8": eight, "8 against 1": figure(eight["median"] / one["median"], "times")}


def llama_batches(work, type):
    out = run(llama_of(work) / "llama-batched-bench", "-m", llama_model(work, SMALL, type), "-npp", "32", "-ntg", "64", "-npl", "1,8", "-t", THREADS,
              "-c", "4096", "--output-format", "jsonl")
    speed = {row["pl"]: row["speed_tg"] for row in map(json.loads, filter(lambda l: l.startswith("{"), out.splitlines()))}
    return {"tg64 of 1": speed[1], "tg64 of 8": speed[8], "8 against 1": speed[8] / speed[1]}


def our_tower(work, type="Q8_0", **settings):
    return ours(work, type, *rounded(type), "-p", 1, "-n", 1, **settings)


def python_tower(work, kind):
    """In a process of its own: bench/peer_tower.py."""
    python = python_of(work, *(OPENVINO if kind.startswith("openvino") else ()))
    return {"tower": 1 / float(run(python, HERE / "bench/peer_tower.py", kind, config(work, SMALL) / "config.json", work, THREADS).split()[-1])}


def llama_sees(work, programs):
    """One tile, by what llama.cpp's own program says that encoding took."""
    words = (programs / "llama-mtmd-cli", "-m", llama_model(work, SMALL, "Q8_0"), "--mmproj", llama_tower(work, "Q8_0"), "--image", picture(work),
             "-p", "x", "-n", 1, "-t", THREADS, "-c", 1024)
    said = subprocess.run(list(map(str, words)), check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout
    return {"tower": 1000 / int(re.findall(r"(?:encoding done|slice encoded) in (\d+) ms", said)[-1])}


def torch_question(work):
    out = run(python_of(work), HERE / "bench/peer_question.py", config(work, SMALL) / "config.json", 24, 64, THREADS)
    first, last = map(float, out.split()[-2:])
    return {"ttft": 1 / first, "question64": 64 / last}


def phantom(work, arch, *settings):
    return (ours(work, "Q8_0", *settings, "-p", "512,1792", "-n", 1, "--no-tower", arch=arch) |
            ours(work, "Q8_0", *settings, "-p", 1, "-n", 64, "-d", 2048, "--no-tower", arch=arch))


def trol(work, *settings):
    """Seconds of a prompt."""
    row = ours(work, "Q8_0", *settings, "-p", 512, "-n", 1, "--no-tower", arch="trol-1.8b")["pp512"]
    return {"pp512, time": figure(row["seconds"], "s")}


# ---- rows

OFF = ("--config-set", "revenant.phantom=false")


def rounded(type):
    """bf16 as peers multiply it."""
    return ("--weights", "BF16") if type == "BF16" else ()


SHAPES = (("", SMALL), ("-1.8b", "phantom-1.8b"), ("-3.8b", "phantom-3.8b"))


def same(*tests):
    return tuple((test, test) for test in tests)


def beside_llama(work, name, type, prompt=512, arch=SMALL, isa=None, peer="llama.cpp", programs=None, more=()):
    """A prompt and 128 tokens."""
    return (name, peer, lambda: ours(work, type, *OFF, *rounded(type), "-p", prompt, "-n", 128, "--no-tower", arch=arch, isa=isa),
            lambda: llama(programs or llama_of(work, avx2=isa == "avx2"), llama_model(work, arch, type), prompt, *more),
            ((f"pp{prompt}", "pp"), ("tg128", "tg")))


def comparisons(work, ik=None):
    """(row, peer, what ours gives, what the peer gives, which of ours beside which of the peer's)."""
    rows = []
    for suffix, arch in SHAPES:
        for type in ("Q8_0", "Q4_0", "Q4_K", "BF16"):
            rows.append(beside_llama(work, f"512-{type}{suffix}", type, arch=arch))
    rows.append(beside_llama(work, "1792-Q8_0", "Q8_0", 1792))
    for type in ("Q8_0", "Q4_0"):
        rows.append((f"8-against-1-{type}", "llama.cpp", lambda t=type: our_batches(work, t), lambda t=type: llama_batches(work, t),
                     same("tg64 of 1", "tg64 of 8", "8 against 1")))
    rows.append(("pp24", "pp512 of ours", lambda: ours(work, "Q8_0", "-p", 24, "-d", 282, "-n", 1, "--no-tower", repetitions=5),
                 lambda: values(ours(work, "Q8_0", "-p", 512, "-n", 1, "--no-tower")), (("pp24@d282", "pp512"),)))
    for suffix, arch in SHAPES:
        rows.append((f"phantom{suffix}", "Phantom off", lambda a=arch: phantom(work, a), lambda a=arch: values(phantom(work, a, *OFF)),
                     same("pp512", "pp1792", "tg64@d2048")))
    for name, settings in (("trol", ()), ("trol-threshold-0.5", ("--traverse-threshold", "0.5"))):
        rows.append((name, "--traverse off", lambda s=settings: trol(work, *s), lambda: values(trol(work, "--traverse", "off")), same("pp512, time")))
    for name, type in (("question", "Q8_0"), ("question-BF16", "BF16")):
        rows.append((name, "torch-bf16", lambda t=type: ours(work, t, *rounded(t), "-p", 1, "-n", 64), lambda: torch_question(work),
                     same("ttft", "question64")))
    rows.append(("tower-BF16", "torch-bf16", lambda: our_tower(work, "BF16"), lambda: python_tower(work, "torch-bf16"), same("tower")))
    for kind, by in (("torch-bf16", ""), ("torch-f32", ""), ("onnxruntime-int8", ", dynamic"), ("openvino-int8", " by nncf, activations too")):
        rows.append((f"tower-{kind}", kind + by, lambda: our_tower(work), lambda k=kind: python_tower(work, k), same("tower")))
    rows.append(("tower-llama.cpp", "llama.cpp Q8_0", lambda: our_tower(work), lambda: llama_sees(work, llama_of(work)), same("tower")))
    if "AVX-512" in instructions():
        rows += [beside_llama(work, f"avx2-512-{type}", type, isa="avx2", peer="llama.cpp for AVX2") for type in ("Q8_0", "Q4_0")]
        rows.append(("avx2-tower-llama.cpp", "llama.cpp Q8_0 for AVX2", lambda: our_tower(work, isa="avx2"),
                     lambda: llama_sees(work, llama_of(work, avx2=True)), same("tower")))
    if ik:
        rows += [beside_llama(work, f"ik-512-{type}", type, peer="ik_llama.cpp", programs=ik, more=("-rtr", "1")) for type in ("Q8_0", "Q4_0")]
    return rows


def chosen_of(rows, words):
    """Those named; a word that is no row's whole name stands for all that begin with it."""
    names = [row[0] for row in rows]
    for word in words:
        if not any(name.startswith(word) for name in names):
            raise SystemExit(f"no row begins with {word}: {', '.join(names)}")
    return [row for row in rows if not words or any(row[0] == word or word not in names and row[0].startswith(word) for word in words)]


def probe():
    """Seconds of the same work, in registers and over memory."""
    data = bytearray(64 << 20)
    begin = time.perf_counter()
    for _ in range(6):
        sum(memoryview(data).cast("Q")[::4096])
        bytes(data)
    total = 0
    for i in range(2_000_000):
        total += i * i
    return time.perf_counter() - begin


# ---- the page

def instructions():
    flags = re.search(r"Flags:\s*(.+)", run("lscpu"))[1].split()
    return [shown for flag, shown in (("avx2", "AVX2"), ("avx512f", "AVX-512"), ("avx512_vnni", "VNNI"), ("avx512_bf16", "BF16"), ("amx_int8", "AMX"))
            if flag in flags]


def machine():
    words = run("lscpu")
    name = re.search(r"Model name:\s*(.+)", words)[1]
    model = re.search(r"^Model:\s*(.+)", words, re.MULTILINE)
    return f"{name}{', model ' + model[1] if model else ''}, {os.cpu_count()} cores ({', '.join(instructions())})"


def line_of(row, what, rounds):
    kept = [r for r in rounds if r["kept"]]
    if not kept:
        return f"| {row} {what} | | | | | | 0 of {len(rounds)} |"
    ratios = [r["value"] / r["peer_value"] for r in kept]
    limits = [r["limit"] for r in kept if r["limit"] is not None]
    value, other = (statistics.median(r[of] for r in kept) for of in ("value", "peer_value"))
    return (f"| {row} {what} | {value:.4g} | {other:.4g} {kept[0]['peer']} | {kept[0]['unit']} "
            f"| {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) "
            f"| {f'{100 * statistics.median(limits):.0f} %' if limits else ''} | {len(kept)} of {len(rounds)} |")


def section(rounds, failed, versions):
    lines = [f"## {machine()}", "",
             f"{time.strftime('%Y-%m-%d')}, {platform.system()} {platform.release()}; {versions}; two threads; medians over the rounds kept; "
             "ratio: ours over the peer's, lowest to highest of a round (of times in s, below 1 is faster); `limit`: ours as a share of what the "
             "machine was measured to allow in the same run.", "",
             "| row | ours | peer | | ratio | limit | rounds kept |", "| --- | --- | --- | --- | --- | --- | --- |"]
    by_name = {}
    for r in rounds:
        by_name.setdefault((r["row"], r["ours"]), []).append(r)
    lines += [line_of(row, what, of) for (row, what), of in by_name.items()]
    lines += [f"| {row} | | {r['peer']} does not run here: {r['failed']} | | | | 0 |" for row, r in failed.items()]
    return "\n".join(lines) + "\n"


def write_page(text):
    """Sections of other machines stay."""
    head = "# Beside the peers\n\n`make bench-peers` measures Revenant and its peers in turn on the machine that it runs on and writes that machine's section here.\n"
    old = PAGE.read_text() if PAGE.exists() else head
    title = text.splitlines()[0]
    parts = re.split(r"(?m)^(?=## )", old)
    parts = [parts[0]] + [part.rstrip("\n") + "\n\n" for part in parts[1:] if part.splitlines()[0] != title]
    temporary = PAGE.with_suffix(".tmp")
    temporary.write_text(parts[0].rstrip("\n") + "\n\n" + "".join(parts[1:]) + text)
    temporary.rename(PAGE)


# ---- rounds

class Log:
    """What was measured on machines of this kind, now and before; a peer that failed and has not run since."""

    def __init__(self, path):
        self.path, self.machine = path, machine()
        lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        lines = [line for line in lines if line["machine"] == self.machine]
        self.rounds = [line for line in lines if "failed" not in line]
        self.failed = {line["row"]: line for line in lines if "failed" in line and not any(r["row"] == line["row"] for r in self.rounds)}

    def add(self, line):
        if "failed" in line:
            self.failed[line["row"]] = line
        else:
            self.failed.pop(line["row"], None)
            self.rounds.append(line)
        with self.path.open("a") as file:
            file.write(json.dumps({"machine": self.machine} | line) + "\n")

    def has(self, row, number):
        return any(r["row"] == row and r["round"] == number for r in self.rounds)


def one_round(row, number):
    name, peer, mine, theirs, pairs = row
    before, found, other, after = probe(), mine(), theirs(), probe()
    kept = abs(before - after) <= 0.1 * min(before, after)
    return [{"round": number, "row": name, "peer": peer, "ours": what, "value": found[what]["median"], "limit": found[what]["fraction_of_limit"],
             "unit": found[what]["unit"], "peer_value": other[peer_what], "probes": [before, after], "kept": kept} for what, peer_what in pairs]


def measure(rows, count, log):
    due = [row for row in rows if not all(log.has(row[0], number) for number in range(count))]
    for number in range(-1 if count > 1 else 0, count):  # the first: models are made, programs show whether they run
        for row in list(due):
            name, peer, mine, theirs, _ = row
            if log.has(name, number):
                continue
            print(f"warming up: {name}" if number < 0 else f"round {number + 1} of {count}: {name}", file=sys.stderr, flush=True)
            try:
                for line in one_round(row, number):
                    if number >= 0:
                        log.add(line)
            except subprocess.CalledProcessError as error:
                if Path(error.cmd[0]).parent == BIN or error.cmd[0] == "env":
                    raise
                print(f"{peer} does not run: {last_words(error)}", file=sys.stderr, flush=True)
                log.add({"row": name, "peer": peer, "failed": last_words(error)})
                due.remove(row)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=HERE / "build/peers")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--rows", default="", help="only these, by commas; the beginning of names stands for all that have it")
    parser.add_argument("--ik", type=Path, help="folder of ik_llama.cpp's programs: the rows ik-")
    parser.add_argument("--dry", action="store_true", help="print the section and write no page")
    parser.add_argument("--list", action="store_true", help="print the rows and what stands beside what")
    args = parser.parse_args()
    rows = chosen_of(comparisons(args.work, args.ik), [word for word in args.rows.split(",") if word])
    if args.list:
        for name, peer, _, _, pairs in rows:
            print(f"{name:22} {', '.join(what for what, _ in pairs)} beside {peer}")
        return
    args.work.mkdir(parents=True, exist_ok=True)
    log = Log(args.work / "trial.jsonl" if args.dry else PAGE.with_suffix(".jsonl"))
    measure(rows, args.rounds, log)
    text = section([r for r in log.rounds if r["round"] < args.rounds], log.failed, versions(args.work))
    print(text)
    if not args.dry:
        write_page(text)


if __name__ == "__main__":
    main()
