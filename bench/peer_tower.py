#!/usr/bin/env python3
"""One tile through an InternViT of a config's shapes, random weights, by a peer; prints the median seconds (bench/peers.py).

    bench/peer_tower.py torch-f32|torch-bf16|onnxruntime-int8|openvino-int8 CONFIG.json WORK THREADS
"""
import json
import statistics
import sys
import time
from pathlib import Path

import torch
from torch import nn


class Layer(nn.Module):
    def __init__(self, width, inner, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width, 1e-6), nn.LayerNorm(width, 1e-6)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, inner), nn.Linear(inner, width)
        self.scale1, self.scale2 = nn.Parameter(torch.full((width,), 0.1)), nn.Parameter(torch.full((width,), 0.1))

    def forward(self, x):
        batch, rows, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(batch, rows, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        seen = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, rows, width)
        x = x + self.scale1 * self.out(seen)
        return x + self.scale2 * self.down(nn.functional.gelu(self.up(self.norm2(x))))


class InternVit(nn.Module):
    """Tower and projector, as the native executor's row `tower` has them."""

    def __init__(self, config):
        super().__init__()
        v, hidden = config["vision_config"], config["llm_config"]["hidden_size"]
        width, self.side = v["hidden_size"], v["image_size"]
        grid = self.side // v["patch_size"]
        self.patch = nn.Conv2d(3, width, v["patch_size"], v["patch_size"])
        self.first = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.randn(1, 1 + grid * grid, width) * 0.02)
        self.layers = nn.Sequential(*(Layer(width, v["intermediate_size"], v["num_attention_heads"]) for _ in range(v["num_hidden_layers"])))
        self.project = nn.Sequential(nn.LayerNorm(4 * width), nn.Linear(4 * width, hidden), nn.GELU(), nn.Linear(hidden, hidden))
        self.grid = grid

    def forward(self, pixels):
        x = self.patch(pixels).flatten(2).transpose(1, 2)
        x = torch.cat([self.first.expand(x.shape[0], -1, -1), x], 1) + self.positions
        x = self.layers(x)[:, 1:]
        half = self.grid // 2
        x = x.view(-1, half, 2, half, 2, x.shape[-1]).permute(0, 1, 3, 2, 4, 5).reshape(-1, half * half, 4 * x.shape[-1])
        return self.project(x)


def median_seconds(compute):
    compute()
    took = []
    for _ in range(3):
        begin = time.perf_counter()
        compute()
        took.append(time.perf_counter() - begin)
    return statistics.median(took)


def by_torch(model, pixels, bf16):
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        return median_seconds(lambda: model(pixels))


def by_onnxruntime(model, pixels, work, threads):
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic
    whole, few = work / "tower.onnx", work / "tower-int8.onnx"
    if not few.exists():
        torch.onnx.export(model, (pixels,), whole, input_names=["pixels"], dynamo=False)
        quantize_dynamic(whole, few, weight_type=QuantType.QInt8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(few, options, providers=["CPUExecutionProvider"])
    given = {"pixels": pixels.numpy()}
    return median_seconds(lambda: session.run(None, given))


def by_openvino(model, pixels, work, threads):
    """Weights and activations in 8 bits, the latter's scales from one random picture; random weights have no accuracy to spend work on."""
    import nncf
    import openvino
    made, part = work / "tower-openvino-int8", work / "tower-openvino-int8.part"
    if not made.exists():
        part.mkdir(exist_ok=True)
        whole = openvino.convert_model(model, example_input=pixels, input=[tuple(pixels.shape)])
        plain = nncf.AdvancedQuantizationParameters(disable_bias_correction=True, smooth_quant_alphas=nncf.AdvancedSmoothQuantParameters(-1, -1))
        few = nncf.quantize(whole, nncf.Dataset([pixels.numpy()]), subset_size=1, model_type=nncf.ModelType.TRANSFORMER, advanced_parameters=plain)
        openvino.save_model(few, part / "tower.xml")
        part.rename(made)
    compiled = openvino.Core().compile_model(made / "tower.xml", "CPU", {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads})
    request, given = compiled.create_infer_request(), pixels.numpy()
    return median_seconds(lambda: request.infer([given]))


def main():
    kind, config, work, threads = sys.argv[1], json.loads(Path(sys.argv[2]).read_text()), Path(sys.argv[3]), int(sys.argv[4])
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    model = InternVit(config).eval()
    if kind == "torch-bf16":
        model = model.to(torch.bfloat16)
    pixels = torch.randn(1, 3, model.side, model.side)
    if kind == "torch-bf16":
        pixels = pixels.to(torch.bfloat16)
    others = {"onnxruntime-int8": by_onnxruntime, "openvino-int8": by_openvino}
    print(others[kind](model, pixels, work, threads) if kind in others else by_torch(model, pixels, kind == "torch-bf16"))


if __name__ == "__main__":
    main()
