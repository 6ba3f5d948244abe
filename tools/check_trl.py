#!/usr/bin/env python3
"""Holds Phantom Optimization and SimPO to TRL's CPO trainer, on the logits that `revenant trace` writes.

    python3 -m venv build/trl && build/trl/bin/pip install torch==2.15.0 trl==1.16.0 safetensors    # 6 GB
    build/trl/bin/python tools/check_trl.py [CASE...]

A CASE is a folder with config.json and golden.safetensors; without one, those of tests/conformance/data (or of
REVENANT_CONFORMANCE) that have po/*. TRL's trainer is given the logits in place of a model and computes all else itself:
masks, log-probabilities, the SimPO loss with the supervised term (cpo_alpha 1: Phantom Optimization) and without (0), and its
metrics. Prints the largest difference of each case, exit 1 above 2e-5 (the goldens' tolerance of losses).
"""
import os, subprocess, sys, tempfile
from pathlib import Path
from types import SimpleNamespace

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
import torch
from safetensors.torch import load_file
from trl.experimental.cpo import CPOTrainer

ROOT = Path(__file__).resolve().parent.parent
REVENANT = Path(os.environ.get("REVENANT", ROOT / "build/release/bin/revenant"))
SETTINGS = [(2, 0.5), (10, 5), (0.1, 0)]  # beta, gamma: src/trace/trace.h
METRICS = [f"rewards/{name}" for name in ("chosen", "rejected", "margins", "accuracies")] + ["logps/chosen", "logps/rejected"]
TOLERANCE = 2e-5


def trainer(beta, gamma, supervised):
    """TRL's, without what only its loop needs."""
    made = CPOTrainer.__new__(CPOTrainer)
    made.accelerator = SimpleNamespace(device=torch.device("cpu"), gather_for_metrics=lambda x: x)
    made.is_encoder_decoder = made.aux_loss_enabled = False
    made.pad_token_id, made.label_smoothing, made.alpha, made.loss_type = 0, 0, 0, "simpo"
    made.beta, made.simpo_gamma, made.cpo_alpha = beta, gamma, supervised
    return made


def batch_of(golden):
    batch = {}
    for side in ("chosen", "rejected"):
        ids, labels = golden[f"po/{side}_input_ids"], golden[f"po/{side}_labels"]
        batch |= {f"{side}_input_ids": ids, f"{side}_attention_mask": torch.ones_like(ids), f"{side}_labels": labels}
    return batch


def logits_of(traced):
    """Both answers' in one tensor, padded as TRL pads ids."""
    return torch.nn.utils.rnn.pad_sequence(
        [traced[f"po/{side}_logits"][0].double() for side in ("chosen", "rejected")], batch_first=True)


def differences(golden, traced):
    batch, logits = batch_of(golden), logits_of(traced)
    model = lambda ids, **_: SimpleNamespace(logits=logits)
    for j, (beta, gamma) in enumerate(SETTINGS):
        ours = lambda name: traced[f"po/{j}/{name}"].item()
        loss, metrics = trainer(beta, gamma, 1).get_batch_loss_metrics(model, batch)
        preference, _ = trainer(beta, gamma, 0).get_batch_loss_metrics(model, batch)
        yield f"{j} PO", loss.item() - ours("loss")
        yield f"{j} SimPO", preference.item() - ours("preference_term")
        yield f"{j} supervised term", metrics["nll_loss"] - ours("sft_term")
        for name in METRICS:
            yield f"{j} {name}", metrics[name] - ours(name)


def cases():
    if sys.argv[1:]:
        return [Path(name) for name in sys.argv[1:]]
    folder = Path(os.environ.get("REVENANT_CONFORMANCE") or ROOT / "tests/conformance/data")
    return sorted(file.parent for file in folder.glob("*/golden.safetensors") if (file.parent / "config.json").exists())


def main():
    compared, good = 0, True
    for case in cases():
        golden = load_file(case / "golden.safetensors")
        if "po/chosen_input_ids" not in golden:
            continue
        with tempfile.TemporaryDirectory() as place:
            out = Path(place) / "trace.safetensors"
            subprocess.run([REVENANT, "trace", "-m", case, "--inputs", case / "golden.safetensors", "-o", out,
                            "--backend", "torch"], check=True)
            found = list(differences(golden, load_file(out)))
        name, worst = max(found, key=lambda item: abs(item[1]))
        ok = all(abs(value) <= TOLERANCE for _, value in found)
        print(f"{case.name:28} {len(found)} numbers  largest difference {abs(worst):.1e}  {'ok' if ok else 'MISS'}  {name}")
        compared, good = compared + 1, good and ok
    if compared == 0:
        sys.exit("no case with po/*")
    sys.exit(not good)


if __name__ == "__main__":
    main()
