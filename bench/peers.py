#!/usr/bin/env python3
"""Revenant beside its peers on this machine: `make bench-peers`. Writes this machine's section of docs/benchmarks.md.

    bench/peers.py [--work build/peers] [--rounds 9] [--rows 512-Q8_0,tower] [--dry]

installs the peers into WORK: llama.cpp by PyPI's source package of llama-cpp-python (its own C programs, -march=native), torch and
onnxruntime. Models have random weights of the 0.5B shapes; llama.cpp gets the Qwen2 backbone alone, ours runs with Phantom off where
it stands beside it. Each round is a probe, ours, the peer, a probe; one whose probes differ by more than a tenth is dropped and told.
Nothing else should run meanwhile. Resumable: what was measured stands in WORK/rounds.jsonl.
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
from load import directory, run

LLAMA = "llama_cpp_python==0.3.36"
THREADS = 2
PAGE = HERE / "docs/benchmarks.md"


# ---- peers

def python_of(work):
    """A Python with gguf, torch and onnxruntime."""
    python = work / "venv/bin/python"
    if not python.exists():
        run(sys.executable, "-m", "venv", work / "venv")
    have = run(python, "-m", "pip", "list", "--format=freeze").lower()
    missing = [p for p in ("gguf", "numpy", "torch==2.15.0", "onnx", "onnxruntime") if f"{p.split('=')[0]}==" not in have]
    if missing:
        run(python, "-m", "pip", "install", "-q", *missing)
    return python


def llama_of(work):
    """Folder of llama.cpp's programs."""
    programs = work / "llama/build/bin"
    if not (programs / "llama-batched-bench").exists():
        run(sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:", "--no-build-isolation", "-d", work, LLAMA)
        (work / "llama").mkdir(exist_ok=True)
        run("tar", "xzf", next(work.glob("llama_cpp_python-*.tar.gz")), "-C", work / "llama", "--strip-components=1")
        source = work / "llama/vendor/llama.cpp"
        run("cmake", "-S", source, "-B", work / "llama/build", "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", "-DGGML_NATIVE=ON",
            "-DLLAMA_CURL=OFF", "-DLLAMA_BUILD_TESTS=OFF")
        run("cmake", "--build", work / "llama/build", "-j", os.cpu_count(), "--target", "llama-bench", "llama-batched-bench", "llama-quantize")
    return programs


# ---- models

def our_model(work, type):
    model = work / f"phantom-0.5b-{type}.gguf"
    if not model.exists():
        run(BIN / "revenant", "quantize", directory(work, "0.5b"), "--type", type, "-o", model)
    return model


def llama_model(work, programs, type):
    """Q8_0, Q4_0 and BF16 by gguf's own rounding; K-quants by llama-quantize from BF16."""
    model = work / f"qwen2-0.5b-{type}.gguf"
    if model.exists():
        return model
    if type in ("Q8_0", "Q4_0", "BF16"):
        run(python_of(work), "-c", f"import sys; sys.path.insert(0, {str(HERE / 'bench')!r}); import load; from pathlib import Path; "
            f"load.peer(Path({str(work)!r}), '0.5b', {type!r}, '')")
    else:
        run(programs / "llama-quantize", "--pure", llama_model(work, programs, "BF16"), model, type)
    return model


# ---- what is measured: each gives {row: value}

def ours(work, type, settings, *words):
    rows = json.loads(run(BIN / "revenant", "bench", "-m", our_model(work, type), *settings, "-t", THREADS, "-r", "1", "-o", "json", *words))
    return {(row["test"], row["batch"]): row for row in rows}


def llama(work, programs, type, prompt, answer):
    out = run(programs / "llama-bench", "-m", llama_model(work, programs, type), "-p", prompt, "-n", answer, "-t", THREADS, "-r", "1",
              "-fa", "1", "-o", "json")
    return {("pp" if row["n_prompt"] else "tg"): row["avg_ts"] for row in json.loads(out)}


def llama_batched(work, programs, type, batch):
    out = run(programs / "llama-batched-bench", "-m", llama_model(work, programs, type), "-npp", "32", "-ntg", "64", "-npl", batch, "-t", THREADS,
              "-c", "4096", "--output-format", "jsonl")
    return next(row for row in map(json.loads, filter(lambda l: l.startswith("{"), out.splitlines())) if row["pl"] == batch)["speed_tg"]


def tower_peer(work, kind):
    """Seconds of one tile, in a process of its own: bench/peer_tower.py."""
    return float(run(python_of(work), HERE / "bench/peer_tower.py", kind, directory(work, "0.5b") / "config.json", work, THREADS).split()[-1])


OFF = ("--config-set", "revenant.phantom=false")


def comparisons(work, programs):
    """(row, what ours gives, what the peer gives, unit), values per second."""
    rows = []
    for type in ("Q8_0", "Q4_0", "Q4_K", "BF16"):
        extra = ("--weights", "BF16") if type == "BF16" else ()
        peer_type = {"Q4_K": "Q4_K_S"}.get(type, type)
        for prompt in (512, 1792) if type == "Q8_0" else (512,):
            rows.append((f"{prompt}-{type}", "llama.cpp",
                         lambda t=type, p=prompt, e=extra: {k[0]: v for k, v in ours(work, t, (*OFF, *e), "-p", p, "-n", 128, "--no-tower").items()},
                         lambda t=peer_type, p=prompt: llama(work, programs, t, p, 128),
                         ((f"pp{prompt}", "pp"), ("tg128", "tg"))))
    for type in ("Q8_0", "Q4_0"):
        rows.append((f"8-at-once-{type}", "llama.cpp",
                     lambda t=type: {"tg64": ours(work, t, OFF, "-p", 32, "-n", 64, "-b", 8, "--no-tower")[("tg64", 8)]},
                     lambda t=type: {"tg": llama_batched(work, programs, t, 8)}, (("tg64", "tg"),)))
    def phantom(*settings):
        prompts = ours(work, "Q8_0", settings, "-p", "512,1792", "-n", 1, "--no-tower")
        answers = ours(work, "Q8_0", settings, "-p", 1, "-n", 64, "-d", 2048, "--no-tower")
        return {k[0]: v for k, v in (prompts | answers).items()}
    rows.append(("phantom", "Phantom off", phantom, lambda: {k: v["median"] for k, v in phantom(*OFF).items()},
                 tuple((test, test) for test in ("pp512", "pp1792", "tg64@d2048"))))
    for kind in ("torch-bf16", "torch-f32", "onnxruntime-int8"):
        rows.append((f"tower-{kind}", kind, lambda: {"tower": ours(work, "Q8_0", (), "-p", 1, "-n", 1)[("tower", 1)]},
                     lambda k=kind: {"tower": 1 / tower_peer(work, k)}, (("tower", "tower"),)))
    return rows


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

def machine():
    words = run("lscpu")
    name = re.search(r"Model name:\s*(.+)", words)[1]
    model = re.search(r"^Model:\s*(.+)", words, re.MULTILINE)
    flags = re.search(r"Flags:\s*(.+)", words)[1].split()
    isa = [shown for flag, shown in (("avx2", "AVX2"), ("avx512f", "AVX-512"), ("avx512_vnni", "VNNI"), ("avx512_bf16", "BF16"), ("amx_int8", "AMX"))
           if flag in flags]
    return f"{name}{', model ' + model[1] if model else ''}, {os.cpu_count()} cores ({', '.join(isa)})"


def section(rounds, versions):
    lines = [f"## {machine()}", "",
             f"{time.strftime('%Y-%m-%d')}, {platform.system()} {platform.release()}; {versions}; two threads; medians over the rounds kept, lowest to highest "
             "ratio of a round; `limit`: ours as a share of what the machine was measured to allow in the same run.", "",
             "| row | ours | peer | | ratio | limit | rounds kept |", "| --- | --- | --- | --- | --- | --- | --- |"]
    names = list(dict.fromkeys((r["row"], r["ours"]) for r in rounds))
    for row, what in names:
        kept = [r for r in rounds if (r["row"], r["ours"]) == (row, what) and r["kept"]]
        count = sum((r["row"], r["ours"]) == (row, what) for r in rounds)
        if not kept:
            lines.append(f"| {row} {what} | | | | | | 0 of {count} |")
            continue
        ratios = [r["value"] / r["peer_value"] for r in kept]
        limits = [r["limit"] for r in kept if r["limit"] is not None]
        lines.append(f"| {row} {what} | {statistics.median(r['value'] for r in kept):.4g} | {statistics.median(r['peer_value'] for r in kept):.4g} {kept[0]['peer']} "
                     f"| {kept[0]['unit']} | {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) "
                     f"| {f'{100 * statistics.median(limits):.0f} %' if limits else ''} | {len(kept)} of {count} |")
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=HERE / "build/peers")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--rows", default="", help="only rows whose names begin with one of these, by commas")
    parser.add_argument("--dry", action="store_true", help="print the section and write no page")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    python, programs = python_of(args.work), llama_of(args.work)
    chosen = [row for row in comparisons(args.work, programs) if not args.rows or row[0].startswith(tuple(args.rows.split(",")))]
    for name, _, mine, theirs, _ in chosen:  # models are made, files are read once
        print(f"warming up: {name}", file=sys.stderr, flush=True)
        mine(), theirs()
    log = args.work / "rounds.jsonl"
    rounds = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    for number in range(args.rounds):
        for name, peer, mine, theirs, pairs in chosen:
            if any(r["row"] == name and r["round"] == number for r in rounds):
                continue
            before, found, other, after = probe(), mine(), theirs(), probe()
            kept = abs(before - after) <= 0.1 * min(before, after)
            for what, peer_what in pairs:
                rounds.append({"round": number, "row": name, "peer": peer, "ours": what, "value": found[what]["median"],
                               "limit": found[what]["fraction_of_limit"], "unit": found[what]["unit"], "peer_value": other[peer_what],
                               "probes": [before, after], "kept": kept})
                with log.open("a") as file:
                    file.write(json.dumps(rounds[-1]) + "\n")
            print(f"round {number + 1} of {args.rounds}: {name}{'' if kept else ', dropped: the probes differ'}", file=sys.stderr, flush=True)
    freeze = run(python, "-m", "pip", "list", "--format=freeze")
    versions = ", ".join([LLAMA.replace("==", " ")] + [line.replace("==", " ") for line in freeze.splitlines() if line.split("==")[0] in ("torch", "onnxruntime")])
    text = section([r for r in rounds if r["round"] < args.rounds], versions)
    print(text)
    if not args.dry:
        write_page(text)


if __name__ == "__main__":
    main()
