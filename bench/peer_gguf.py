#!/usr/bin/env python3
"""GGUF files of random weights in a model's shapes, as llama.cpp reads them (bench/peers.py, bench/load.py). Needs gguf (pip install gguf).

    bench/peer_gguf.py backbone|tower DIRECTORY Q8_0|Q4_0|Q4_K|BF16 OUT

DIRECTORY has the model's config.json and, of a Qwen2, its tokenizer; InternLM2 and Phi-3 get none, which is enough for llama-bench.
"""
import json
import sys
from pathlib import Path

import gguf
import numpy


def vocabulary(source):
    """Names of tokens by id, and merges."""
    if (source / "tokenizer.json").exists():
        words = json.loads((source / "tokenizer.json").read_text())
        merges = words["model"]["merges"]
        names = words["model"]["vocab"] | {added["content"]: added["id"] for added in words["added_tokens"]}
    else:
        names = json.loads((source / "vocab.json").read_text()) | json.loads((source / "added_tokens.json").read_text())
        lines = (source / "merges.txt").read_text().splitlines()
        merges = [line for line in lines if line and not line.startswith("#version")]
    return sorted(names, key=names.get), merges


# Of a block: its scales, which make weights of about 0.02, and then bytes of numbers.
BLOCKS = {"Q8_0": ((0.02 / 74,), 32), "Q4_0": ((0.02 / 4.6,), 16), "Q5_0": ((0.02 / 9.2,), 20), "Q4_K": ((0.02 / 258, 0.15 / 258), 140)}


class Writer:
    """Matrices of one type, but where rows have no whole blocks of it. They share their numbers, which no speed depends on: 4 GB take seconds."""

    def __init__(self, out, architecture, type):
        self.out, self.part = out, Path(f"{out}.part")
        self.file = gguf.GGUFWriter(self.part, architecture)
        self.type, self.random, self.numbers = type, numpy.random.default_rng(1), {}

    def blocks(self, type, count):
        """Random ones: bytes."""
        if type == "BF16":
            values = self.random.standard_normal(count, dtype=numpy.float32) * numpy.float32(0.02)
            return gguf.quants.quantize(values, gguf.GGMLQuantizationType.BF16).view(numpy.uint8)
        scales, size = BLOCKS[type]
        scales = numpy.tile(numpy.array(scales, numpy.float16).view(numpy.uint8), (count, 1))
        return numpy.hstack([scales, self.random.integers(-127, 128, (count, size), numpy.int8).view(numpy.uint8)]).ravel()

    def matrix(self, name, rows, columns):
        type = "Q5_0" if self.type == "Q4_K" and columns % 256 else self.type  # as llama-quantize has it
        kind = gguf.GGMLQuantizationType[type]
        block, block_bytes = gguf.GGML_QUANT_SIZES[kind]
        bytes = rows * columns // block * block_bytes
        if type not in self.numbers or self.numbers[type].size < bytes:
            self.numbers[type] = self.blocks(type, bytes // block_bytes)
        self.file.add_tensor(name, self.numbers[type][:bytes].reshape(rows, -1), raw_dtype=kind)

    def vector(self, name, *shape, value=0.0):
        self.file.add_tensor(name, numpy.full(shape, value, numpy.float32))

    def close(self):
        self.file.write_header_to_file()
        self.file.write_kv_data_to_file()
        self.file.write_tensors_to_file()
        self.file.close()
        self.part.rename(self.out)


def add_tokenizer(file, source, whole, size):
    """The number of its words: `size` at least."""
    names, merges = vocabulary(source)
    names += [f"<|unused{i}|>" for i in range(size - len(names))]
    file.add_tokenizer_model("gpt2")
    file.add_tokenizer_pre("qwen2")
    file.add_token_list(names)
    special = [name.startswith("<|") or name.startswith("<") and name.endswith(">") for name in names]
    file.add_token_types([gguf.TokenType.CONTROL if s else gguf.TokenType.NORMAL for s in special])
    file.add_token_merges(merges)
    file.add_eos_token_id(whole["llm_config"].get("eos_token_id", whole.get("eos_token_id")))
    file.add_chat_template("{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
                           "{% endfor %}<|im_start|>assistant\n")
    return len(names)


def backbone(source, type, out):
    """The language model alone."""
    whole = json.loads((source / "config.json").read_text())
    config = whole["llm_config"]
    kind = config["model_type"]  # qwen2, internlm2 and phi3 are llama.cpp's names too
    hidden, inner, layers = config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]
    heads, groups, vocab = config["num_attention_heads"], config["num_key_value_heads"], config["vocab_size"]
    writer = Writer(out, kind, type)
    file = writer.file
    file.add_context_length(config["max_position_embeddings"])
    file.add_embedding_length(hidden)
    file.add_block_count(layers)
    file.add_feed_forward_length(inner)
    file.add_head_count(heads)
    file.add_head_count_kv(groups)
    file.add_layer_norm_rms_eps(config["rms_norm_eps"])
    file.add_rope_freq_base(config["rope_theta"])
    file.add_rope_dimension_count(hidden // heads)
    if kind == "qwen2":
        vocab = add_tokenizer(file, source, whole, vocab)
    else:
        file.add_vocab_size(vocab)
        file.add_tokenizer_model("none")
    writer.matrix("token_embd.weight", vocab, hidden)
    if not config.get("tie_word_embeddings"):
        writer.matrix("output.weight", vocab, hidden)
    writer.vector("output_norm.weight", hidden, value=1)
    size = hidden // heads * groups
    for i in range(layers):
        layer = f"blk.{i}"
        for part in "attn_norm", "ffn_norm":
            writer.vector(f"{layer}.{part}.weight", hidden, value=1)
        for part, rows in (("qkv", hidden + 2 * size),) if kind == "phi3" else (("q", hidden), ("k", size), ("v", size)):
            writer.matrix(f"{layer}.attn_{part}.weight", rows, hidden)
            if kind == "qwen2":
                writer.vector(f"{layer}.attn_{part}.bias", rows)
        writer.matrix(f"{layer}.attn_output.weight", hidden, hidden)
        for part, rows in (("up", 2 * inner),) if kind == "phi3" else (("gate", inner), ("up", inner)):
            writer.matrix(f"{layer}.ffn_{part}.weight", rows, hidden)
        writer.matrix(f"{layer}.ffn_down.weight", hidden, inner)
    writer.close()


def tower(source, type, out):
    """An InternViT and its projector, as llama.cpp's --mmproj."""
    whole = json.loads((source / "config.json").read_text())
    config, hidden = whole["vision_config"], whole["llm_config"]["hidden_size"]
    width, inner, layers = config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]
    side, patch = config["image_size"], config["patch_size"]
    writer = Writer(out, "clip", type)
    file = writer.file
    file.add_clip_has_vision_encoder(True)
    file.add_clip_projector_type("internvl")
    file.add_vision_projection_dim(hidden)
    file.add_vision_embedding_length(width)
    file.add_vision_feed_forward_length(inner)
    file.add_vision_block_count(layers)
    file.add_vision_head_count(config["num_attention_heads"])
    file.add_vision_attention_layernorm_eps(config["layer_norm_eps"])
    file.add_vision_image_size(side)
    file.add_vision_patch_size(patch)
    file.add_vision_projector_scale_factor(2)
    file.add_vision_use_gelu(True)
    file.add_vision_image_mean([0.485, 0.456, 0.406])
    file.add_vision_image_std([0.229, 0.224, 0.225])
    file.add_tensor("v.patch_embd.weight", (writer.random.standard_normal((width, 3, patch, patch)) * 0.02).astype(numpy.float16))
    writer.vector("v.patch_embd.bias", width)
    writer.vector("v.class_embd", width)
    writer.vector("v.position_embd.weight", 1 + (side // patch) ** 2, width, value=0.02)

    def linear(name, rows, columns):
        writer.matrix(f"{name}.weight", rows, columns)
        writer.vector(f"{name}.bias", rows)

    def norm(name, size):
        writer.vector(f"{name}.weight", size, value=1)
        writer.vector(f"{name}.bias", size)

    for layer in (f"v.blk.{i}" for i in range(layers)):
        for part in "attn_q", "attn_k", "attn_v", "attn_out":
            linear(f"{layer}.{part}", width, width)
        linear(f"{layer}.ffn_up", inner, width)
        linear(f"{layer}.ffn_down", width, inner)
        for part in "1", "2":
            norm(f"{layer}.ln{part}", width)
            writer.vector(f"{layer}.ls{part}.weight", width, value=0.1)
    norm("mm.model.mlp.0", 4 * width)
    linear("mm.model.mlp.1", hidden, 4 * width)
    linear("mm.model.mlp.3", hidden, hidden)
    writer.close()


if __name__ == "__main__":
    {"backbone": backbone, "tower": tower}[sys.argv[1]](Path(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
