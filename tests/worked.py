"""A worked example, its step model written out by hand: Llama-3.1-70B in bf16 on 4 H100 with an EAGLE head.

Three groups of matrices, each the root of the squares of the time to read it and the time to multiply; attention reads
the KV once per sequence; all-reduces by message size; nine small kernels a layer.
"""

from dataclasses import dataclass

import numpy as np

from specmath import Pair

BANDWIDTH, FLOPS, GPUS = 3.35e12, 989e12, 4
READ, MULTIPLY, READ_KV = 0.85, 0.78, 0.92
HIDDEN, HEADS, KV_HEADS, HEAD, MLP, VOCABULARY = 8192, 64, 8, 128, 28672, 128256


@dataclass(frozen=True)
class Forward:
    """Seconds of a forward of so many layers and the whole output matrix, in bf16 on four GPUs."""

    layers: int
    fixed: float
    provenance: str = "assumed"

    def seconds(self, n, *, batch=1, context=0):
        return self._seconds(n * batch, n * batch, batch, context)

    def prefill(self, tokens, *, context=0):
        return self._seconds(tokens, 1, 1, tokens / 2 + context)

    def _seconds(self, tokens, positions, batch, context):
        attention = HIDDEN * HEAD * (HEADS + 2 * KV_HEADS) + HEADS * HEAD * HIDDEN
        layer = gemm(attention * self.layers, tokens) + gemm(3 * HIDDEN * MLP * self.layers, tokens)
        read = 2 * KV_HEADS * HEAD * 2 * context * batch * self.layers / (GPUS * BANDWIDTH * READ_KV)
        core = 4 * HEADS * HEAD * context * tokens * self.layers / (GPUS * FLOPS * 0.5)
        reduce = 2 * self.layers * (5e-6 + 2 * tokens * HIDDEN / 190e9)
        small = self.layers * 9 * 2.2e-6
        return layer + gemm(HIDDEN * VOCABULARY, positions) + np.maximum(read, core) + reduce + small + self.fixed


def gemm(weights, tokens):
    read, multiply = 2 * weights / (GPUS * BANDWIDTH * READ), 2 * weights * tokens / (GPUS * FLOPS * MULTIPLY)
    return np.hypot(read, multiply)


TARGET, HEAD_MODEL = Forward(80, 1e-3), Forward(1, 0.15e-3)
EAGLE = Pair(TARGET, HEAD_MODEL)
