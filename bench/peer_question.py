#!/usr/bin/env python3
"""A question about a picture of one tile by PyTorch in bf16 with a plain cache, random weights; prints the seconds to the first token and to the
last one (bench/peers.py). Tower and projector as in bench/peer_tower.py, the Qwen2 of the same config, greedy.

    bench/peer_question.py CONFIG.json WORDS TOKENS THREADS
"""
import json
import sys
import time
from pathlib import Path

import torch
from torch import nn

from peer_tower import InternVit


class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        hidden, inner = c["hidden_size"], c["intermediate_size"]
        self.heads, self.groups, self.eps = c["num_attention_heads"], c["num_key_value_heads"], c["rms_norm_eps"]
        self.size = hidden // self.heads
        self.norm1, self.norm2 = nn.Parameter(torch.ones(hidden)), nn.Parameter(torch.ones(hidden))
        self.q, self.k, self.v = (nn.Linear(hidden, n * self.size) for n in (self.heads, self.groups, self.groups))
        self.out = nn.Linear(hidden, hidden, bias=False)
        self.gate, self.up = nn.Linear(hidden, inner, bias=False), nn.Linear(hidden, inner, bias=False)
        self.down = nn.Linear(inner, hidden, bias=False)

    def forward(self, x, turn, cache, past):
        """x (1, rows, hidden), cache (2, 1, groups, most, size): rows from `past` on are entered."""
        rows = x.shape[1]
        seen = nn.functional.rms_norm(x, x.shape[-1:], self.norm1, self.eps)
        q, k, v = (of(seen).view(1, rows, -1, self.size).transpose(1, 2) for of in (self.q, self.k, self.v))
        cache[0][:, :, past:past + rows], cache[1][:, :, past:past + rows] = rotate(k, turn), v
        k, v = cache[0][:, :, :past + rows], cache[1][:, :, :past + rows]
        seen = nn.functional.scaled_dot_product_attention(rotate(q, turn), k, v, is_causal=past == 0, enable_gqa=True)
        x = x + self.out(seen.transpose(1, 2).reshape(1, rows, -1))
        seen = nn.functional.rms_norm(x, x.shape[-1:], self.norm2, self.eps)
        return x + self.down(nn.functional.silu(self.gate(seen)) * self.up(seen))


def rotate(x, turn):
    half = torch.cat((-x[..., x.shape[-1] // 2:], x[..., :x.shape[-1] // 2]), -1)
    return x * turn[0] + half * turn[1]


class Qwen2(nn.Module):
    def __init__(self, c, most):
        super().__init__()
        self.words = nn.Embedding(c["vocab_size"], c["hidden_size"])
        self.layers = nn.ModuleList(Layer(c) for _ in range(c["num_hidden_layers"]))
        self.norm, self.eps = nn.Parameter(torch.ones(c["hidden_size"])), c["rms_norm_eps"]
        self.output = nn.Linear(c["hidden_size"], c["vocab_size"], bias=False)
        size = c["hidden_size"] // c["num_attention_heads"]
        angles = torch.outer(torch.arange(most), c["rope_theta"] ** (-torch.arange(0, size, 2) / size)).repeat(1, 2)
        self.turns = torch.stack((angles.cos(), angles.sin())).bfloat16()
        self.cache_shape = (len(self.layers), 2, 1, c["num_key_value_heads"], most, size)

    def forward(self, x, caches, past):
        """The likeliest next token, (1, 1)."""
        turn = self.turns[:, past:past + x.shape[1]]
        for layer, cache in zip(self.layers, caches):
            x = layer(x, turn, cache, past)
        return self.output(nn.functional.rms_norm(x[:, -1:], x.shape[-1:], self.norm, self.eps)).argmax(-1)


def question(tower, model, pixels, words, tokens):
    """Seconds to the first token and to the last."""
    begin = time.perf_counter()
    caches = torch.empty(model.cache_shape, dtype=torch.bfloat16)
    x = torch.cat((tower(pixels), model.words(words)), 1)
    token, past = model(x, caches, 0), x.shape[1]
    first = time.perf_counter() - begin
    for past in range(past, past + tokens - 1):
        token = model(model.words(token), caches, past)
    return first, time.perf_counter() - begin


def main():
    config, words, tokens = json.loads(Path(sys.argv[1]).read_text()), int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(int(sys.argv[4]))
    torch.manual_seed(1)
    tower = InternVit(config).eval().bfloat16()
    model = Qwen2(config["llm_config"], (tower.grid // 2) ** 2 + words + tokens).eval().bfloat16()
    pixels, ids = torch.randn(1, 3, tower.side, tower.side).bfloat16(), torch.arange(words)[None]
    with torch.inference_mode():
        question(tower, model, pixels, ids, 4)
        print(*question(tower, model, pixels, ids, tokens))


if __name__ == "__main__":
    main()
