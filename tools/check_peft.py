#!/usr/bin/env python3
"""Adapters against PEFT's own package (PyPI peft, with its torch and transformers).

    tools/check_peft.py read BASE ADAPTER MERGED   PEFT reads ADAPTER, a run of `lora`, beside BASE and
                                                   merges it: equal to what `revenant merge` wrote?
    tools/check_peft.py make OUT                   writes an adapter of PEFT's and what it merges to over
                                                   zeros: tests/store/data/peft

BASE and MERGED are directories with one model.safetensors in float32. No class of the model is
needed: PEFT looks at names alone, so a tree of linear modules stands for it.
"""
import json
import sys
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file


class Bare(torch.nn.Module):
    def forward(self, x):
        return x


def tree_of(tensors):
    """Modules whose state is `tensors`: matrices become Linear, all else parameters."""
    root = Bare()
    for name, value in tensors.items():
        *path, leaf = name.split(".")
        matrix = leaf == "weight" and value.dim() == 2
        place = root
        for part in path[:-1] if matrix else path:
            if part not in place._modules:
                place.add_module(part, Bare())
            place = place._modules[part]
        if matrix:
            linear = torch.nn.Linear(value.shape[1], value.shape[0], bias=name[:-6] + "bias" in tensors)
            linear.weight.data = value.clone()
            place.add_module(path[-1], linear)
    for name, value in tensors.items():
        *path, leaf = name.split(".")
        place = root
        for part in path:
            place = place._modules[part]
        if leaf in place._parameters and place._parameters[leaf] is not None:
            place._parameters[leaf].data = value.clone()
        else:
            place.register_parameter(leaf, torch.nn.Parameter(value.clone()))
    return root


def read(base, adapter, merged):
    model = PeftModel.from_pretrained(tree_of(load_file(Path(base) / "model.safetensors")), adapter)
    found = model.merge_and_unload().state_dict()
    expected = load_file(Path(merged) / "model.safetensors")
    changed = load_file(Path(base) / "model.safetensors")
    assert found.keys() == expected.keys(), found.keys() ^ expected.keys()
    worst = max((found[name] - expected[name]).abs().max().item() for name in found)
    moved = sum(not torch.equal(expected[name], changed[name]) for name in found)
    print(f"{len(found)} tensors, {moved} of them changed; largest difference to PEFT's {worst:.2g}")
    sys.exit(worst > 1e-5 or moved == 0)


def make(out):
    torch.manual_seed(1)
    stem = "language_model.model.layers.0."
    shapes = {stem + "self_attn.q_proj": (24, 16), stem + "self_attn.k_proj": (8, 16),
              stem + "mlp.down_proj": (16, 20), "vision_model.encoder.layers.0.attn.qkv": (36, 12),
              "vision_proj.1": (16, 48)}
    tensors = {name + ".weight": torch.zeros(shape) for name, shape in shapes.items()}
    config = LoraConfig(r=4, lora_alpha=6, use_rslora=True, target_modules=["q_proj", "k_proj", "down_proj", "qkv"],
                        rank_pattern={"down_proj": 2}, alpha_pattern={"self_attn.k_proj": 3},
                        modules_to_save=["vision_proj.1"], init_lora_weights="gaussian")
    model = get_peft_model(tree_of(tensors), config)
    for name, parameter in model.named_parameters():
        if "lora_B" in name or "modules_to_save" in name:
            torch.nn.init.normal_(parameter)
    model.save_pretrained(out)
    (Path(out) / "README.md").unlink(missing_ok=True)
    save_file({name: value.contiguous() for name, value in model.merge_and_unload().state_dict().items()},
              Path(out) / "expected.safetensors")
    print(json.dumps(json.loads((Path(out) / "adapter_config.json").read_text()), indent=1))


if __name__ == "__main__":
    if len(sys.argv) == 5 and sys.argv[1] == "read":
        read(*sys.argv[2:])
    elif len(sys.argv) == 3 and sys.argv[1] == "make":
        make(sys.argv[2])
    else:
        sys.exit(__doc__)
