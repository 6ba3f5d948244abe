#!/usr/bin/env python3
"""Prints the literals of format_test.cc: what PyPI's gguf makes of the same blocks. pip install gguf"""
import gguf
import numpy as np
from gguf import quants

MASK = (1 << 64) - 1
FORMATS = "Q8_0 Q6_K Q5_K Q5_1 Q5_0 Q4_K Q4_1 Q4_0 BF16 F16".split()


class Random:  # base/random.h
    def __init__(self, seed):
        self.state = seed

    def next(self):
        self.state = z = (self.state + 0x9E3779B97F4A7C15) & MASK
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return z ^ (z >> 31)


def digest(data):  # FNV-1a
    h = 0xCBF29CE484222325
    for byte in data:
        h = ((h ^ byte) * 0x100000001B3) & MASK
    return h


def numbers(count):
    """In [-1, 1), each run of 32 by another power of two; the second run is zero."""
    random = Random(5)
    x = np.array([(random.next() >> 40) * 2.0**-23 - 1 for _ in range(count)], np.float32)
    for run in range(count // 32):
        x[32 * run : 32 * run + 32] *= 2.0 ** (run % 7 - 3)
    x[32:64] = 0
    return x


def blocks(size):
    """Bytes whose f16 scales are finite, wherever in the block they stand."""
    random = Random(9)
    return np.array([random.next() >> 56 & 0xBB for _ in range(size)], np.uint8)


for name in FORMATS:
    kind = getattr(gguf.GGMLQuantizationType, name)
    block, size = gguf.GGML_QUANT_SIZES[kind]
    count = 1024 // block
    out = quants.dequantize(blocks(count * size), kind)
    line = f'{{"{name}", {kind.value}, 0x{digest(out.astype("<f4").tobytes()):016x}'
    try:
        line += f", 0x{digest(quants.quantize(numbers(1024), kind).tobytes()):016x}}},"
    except NotImplementedError:
        line += ", 0},"
    print(line)
