#!/usr/bin/env python3
"""Adapters against PEFT's own package (PyPI peft, with its torch and transformers).

    tools/check_peft.py read BASE ADAPTER OUT ID...   PEFT reads ADAPTER, a run of `lora`, beside BASE:
                                                      the logits of the tokens ID... with it, by
                                                      transformers, and what it merges to, go to
                                                      OUT/logits.safetensors and OUT/model.safetensors
    tools/check_peft.py make OUT                      writes an adapter of PEFT's and what it merges to
                                                      over zeros: tests/store/data/peft

BASE is a directory with one model.safetensors in float32, over a Qwen2 without mechanisms. PEFT looks
at names alone: a tree of linear modules stands for tower and projector.
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


def read(base, adapter, out, ids):
    from transformers import Qwen2Config, Qwen2ForCausalLM

    out = Path(out)
    tensors = load_file(Path(base) / "model.safetensors")
    stem = "language_model."
    model = tree_of({name: value for name, value in tensors.items() if not name.startswith(stem)})
    config = json.loads((Path(base) / "config.json").read_text())["llm_config"]
    model.language_model = Qwen2ForCausalLM(Qwen2Config(**config, attn_implementation="eager"))
    kept = {name.removeprefix(stem): value for name, value in tensors.items() if name.startswith(stem)}
    missing, unexpected = model.language_model.load_state_dict(kept, strict=False)
    assert not unexpected and set(missing) <= {"lm_head.weight"}, (missing, unexpected)
    model = PeftModel.from_pretrained(model, adapter).eval()
    with torch.no_grad():
        logits = model.base_model.model.language_model(torch.tensor([ids])).logits[0]
    save_file({"logits": logits}, out / "logits.safetensors")
    merged = model.merge_and_unload().state_dict()
    save_file({name: merged[name].contiguous() for name in tensors}, out / "model.safetensors")


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
    if len(sys.argv) > 5 and sys.argv[1] == "read":
        read(*sys.argv[2:5], [int(word) for word in sys.argv[5:]])
    elif len(sys.argv) == 3 and sys.argv[1] == "make":
        make(sys.argv[2])
    else:
        sys.exit(__doc__)
