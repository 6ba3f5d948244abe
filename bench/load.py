#!/usr/bin/env python3
"""`revenant serve` under load beside llama-server, in turn: Phantom-0.5B's shapes with random weights, and phantom-nano.

    bench/load.py --llama LLAMA_SERVER [--models 0.5b,nano] [--types Q8_0,Q4_0] [--clients 1,4,8,16] [--rounds 3] [--work DIR]

with a Python that has `gguf` (pip install gguf), and llama-server as llama-cpp-python's source package builds it
(vendor/llama.cpp: cmake --build B --target llama-server). Ours answers with the whole Phantom; the peer with its Qwen2 backbone
alone, of the same shapes, so it has the less to do. 128 words of prompt, no two alike, 64 tokens of answer, greedy.
Then how much sooner a second question about a picture is answered than the first one (ours).
"""
import argparse
import base64
import itertools
import json
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from finetune import BIN, HERE, png

THREADS = 2


def run(*words):
    return subprocess.run([str(word) for word in words], check=True, capture_output=True, text=True).stdout


def directory(work, name):
    """The model's own files."""
    if name == "nano":
        return HERE / "models/phantom-nano"
    made = work / f"phantom-{name}"
    if not made.exists():
        run(BIN / "revenant", "synth", "--arch", f"phantom-{name}", "-o", made)
    return made


def ours(work, name, type):
    model = work / f"phantom-{name}-{type}.gguf"
    if not model.exists():
        run(BIN / "revenant", "quantize", directory(work, name), "--type", type, "-o", model)
    return [BIN / "revenant", "serve", "-m", model, "-t", THREADS]


def peer(work, name, type, llama):
    """A Qwen2 of the same shapes and tokenizer, as llama.cpp reads it."""
    model = work / f"qwen2-{name}-{type}.gguf"
    if not model.exists():
        from peer_gguf import backbone
        backbone(directory(work, name), type, model)
    return [llama, "-m", model, "-t", THREADS, "-np", "16", "-c", str(16 * 512)]


class Server:
    """On a port that nobody has: an older server would answer in its place."""

    def __init__(self, words):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen([*map(str, words), "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(600):
            try:
                if urllib.request.urlopen(f"{self.url}/health").status == 200:
                    return
            except (urllib.error.URLError, ConnectionError):
                pass
            assert self.process.poll() is None, f"ended: {words}"
            time.sleep(0.1)
        raise SystemExit(f"never ready: {words}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


def load(words, clients):
    """Rows of `revenant bench --server`, by clients."""
    with Server(words) as server:
        rows = json.loads(run(BIN / "revenant", "bench", "--server", server.url, "--clients", clients, "-p", "128",
                              "-n", "64", "-r", "2", "--body", '{"ignore_eos": true, "temperature": 0}', "--json"))
    assert not any(row["failed"] for row in rows), rows
    print(Path(words[0]).name, *(f'{row["clients"]}: {row["tokens_per_s"]:.1f}/s' for row in rows), file=sys.stderr, flush=True)
    return {row["clients"]: row for row in rows}


def first_words(model, picture, questions):
    """Seconds to the first word of each question about a picture."""
    uri = "data:image/png;base64," + base64.b64encode(picture).decode()
    times = []
    with Server(model) as server:
        for question in questions:
            body = {"stream": True, "max_tokens": 4, "ignore_eos": True, "messages": [{"role": "user", "content": [
                {"type": "text", "text": question}, {"type": "image_url", "image_url": {"url": uri}}]}]}
            request = urllib.request.Request(f"{server.url}/v1/chat/completions", json.dumps(body).encode())
            begin = time.time()
            with urllib.request.urlopen(request) as stream:
                for line in stream:
                    if line.startswith(b"data: {") and json.loads(line[6:])["choices"][0]["delta"].get("content"):
                        times.append(time.time() - begin)
                        break
                stream.read()
    return times


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llama", required=True)
    parser.add_argument("--models", default="0.5b,nano")
    parser.add_argument("--types", default="Q8_0,Q4_0")
    parser.add_argument("--clients", default="1,4,8,16")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path("build/load"))
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    print("| model | format | clients | tokens/s, ours | llama-server | ratio (rounds) | first token p50, ours | llama-server |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, type in itertools.product(args.models.split(","), args.types.split(",")):
        own, other = ours(args.work, name, type), peer(args.work, name, type, args.llama)
        rounds = [(load(own, args.clients), load(other, args.clients)) for _ in range(args.rounds)]
        for clients in map(int, args.clients.split(",")):
            pairs = [(a[clients], b[clients]) for a, b in rounds]
            ratios = [a["tokens_per_s"] / b["tokens_per_s"] for a, b in pairs]
            middle = lambda of, key: statistics.median(pair[of][key] for pair in pairs)
            print(f"| {name} | {type} | {clients} | {middle(0, 'tokens_per_s'):.1f} | {middle(1, 'tokens_per_s'):.1f} | "
                  f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) | {middle(0, 'ttft_ms_p50'):.0f} ms | "
                  f"{middle(1, 'ttft_ms_p50'):.0f} ms |", flush=True)
    if "0.5b" in args.models.split(","):
        first, second, third = first_words(ours(args.work, "0.5b", args.types.split(",")[0]), png(448, 1),
                                           ("What is to be seen here?", "Is there a dog?", "How many are there?"))
        print(f"\nA picture of one tile: the first question's first word after {first:.2f} s, the next ones' after {second:.3f} and "
              f"{third:.3f} s: {first / statistics.median((second, third)):.0f} times sooner.")


if __name__ == "__main__":
    main()
