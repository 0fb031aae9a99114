"""The time of a forward from a model's shape and a GPU's datasheet, part by part.

    step  =  layers (products + attention + 2 all-reduces + small kernels) + output matrix + sampling + host

Each matrix product takes a fixed time and a smooth maximum of reading its weights and multiplying; attention reads the
KV of a sequence once, however many of its tokens are new; the output matrix runs for every position that needs logits:
all of them when drafts are verified, one per prompt in a prefill. Sizes are those of one GPU: weights and FLOP divide
by the tensor parallelism, KV by at most the number of KV heads (with MLA not at all). Symbols as in `shapes`.
"""

from dataclasses import KW_ONLY, dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np

from specmath.draft import plain, whole, within
from specmath.efficiency import ASSUMED, efficiency
from specmath.hardware import gpu as known_gpu
from specmath.hardware import model as known_model
from specmath.shapes import precision

FEW = (1, 2, 4)  # captured below 8; then every 8 up to 256, and every 16


def padded(tokens, capture):
    """Tokens of the captured CUDA graph that runs so many: 1, 2, 4, 8, 16, .., 256, 272, ..; beyond capture, as given.

    >>> padded(np.array([3, 9, 257, 600]), 512)
    array([  4.,  16., 272., 600.])
    """
    tokens = np.asarray(tokens, dtype=float)
    steps = np.where(tokens <= 256, 8 * np.ceil(tokens / 8), 16 * np.ceil(tokens / 16))
    for size in reversed(FEW):
        steps = np.where(tokens <= size, size, steps)
    return np.where(tokens <= capture, np.minimum(steps, capture), tokens)


def smooth_maximum(a, b, sharpness):
    """(a^p + b^p)^(1/p): the sum at p = 1, the larger one at p = infinity. Arrays broadcast.

    >>> smooth_maximum(3.0, 4.0, 2), smooth_maximum(3.0, 4.0, np.inf)
    (5.0, 4.0)
    """
    high = np.maximum(a, b)
    low = np.divide(np.minimum(a, b), high, out=np.zeros_like(high, dtype=float), where=high > 0)
    return plain(high * (1 + low**sharpness) ** (1 / sharpness))


def coverage(experts, active, tokens, skew=0.0):
    """Distinct experts that so many tokens touch when each chooses on its own: sum_e 1 - (1 - p_e)^tokens.

    p_e = active / experts, or with a skew s in proportion to rank^-s, at most 1. Tokens may be an array.

    >>> coverage(8, 2, 1), round(coverage(8, 2, 5), 6)
    (2.0, 6.101562)
    """
    ranks = np.arange(1, experts + 1, dtype=float)
    chance = _chances(ranks**-skew, active)
    tokens = np.asarray(tokens, dtype=float)
    with np.errstate(divide="ignore"):
        missed = np.exp(tokens[..., None] * np.log1p(-chance))
    return plain((1 - missed).sum(-1))


def _chances(weights, active):
    """Inclusion probabilities in proportion to weights, at most 1 each, that sum to `active`."""
    certain = 0
    while True:
        rest = weights[certain:]
        chance = (active - certain) * rest / rest.sum()
        if not chance.size or chance[0] <= 1:
            return np.concatenate([np.ones(certain), chance])
        certain += 1


@dataclass(frozen=True)
class Roofline:
    """A forward in seconds by the roofline of a model's shape (or name) on tp GPUs (or their name).

    weights and kv are precisions; weights that the GPU has no units for are multiplied in bf16, as engines do.
    efficiency defaults to the measured kernels of that GPU and vLLM's host time. batch and context may be arrays, and
    real: a mean over time. Raises ValueError where tp does not divide the heads.

    >>> step = Roofline("Llama-3.1-70B", "H100 SXM", tp=4).seconds(1, context=2048)
    >>> 0.015 < step < 0.025
    True
    """

    shape: Any
    gpu: Any
    _: KW_ONLY
    tp: int = 1
    weights: str = "bf16"
    kv: str = "bf16"
    efficiency: Any = None

    def __post_init__(self):
        object.__setattr__(self, "shape", known_model(self.shape))
        object.__setattr__(self, "gpu", known_gpu(self.gpu))
        tp, shape = whole("tp", self.tp, 1), self.shape
        if shape.heads % tp:
            raise ValueError(f"tp: found {tp}, expected a divisor of the {shape.heads} heads of {shape.name}")
        if not shape.mla and tp % shape.kv_heads and shape.kv_heads % tp:
            held = f"{shape.kv_heads} KV heads of {shape.name}"
            raise ValueError(f"tp: found {tp}, expected a divisor or a multiple of the {held}")
        precision(self.weights)
        precision(self.kv)
        if self.efficiency is None:
            object.__setattr__(self, "efficiency", efficiency(self.gpu, self.weights, tp=tp))

    @property
    def provenance(self):
        """The weakest of its parameters': "assumed" with the default host times, "fitted" once they are fitted."""
        return "fitted" if self._origin("host") == "fitted" else ASSUMED

    @property
    def calibrated(self):
        """Whether the parameters that no datasheet holds were fitted to measured times."""
        return self.provenance == "fitted" and (not self.shape.moe or self._origin("rho") == "fitted")

    def drafting(self) -> "Roofline":
        """The same model as one that drafts: its host time is that of a draft pass."""
        return replace(self, efficiency=self.efficiency.drafting())

    def seconds(self, n, *, batch=1, context=0):
        """Seconds of a forward over n new tokens in each of `batch` sequences, all with logits, `context` cached."""
        return plain(sum(self.breakdown(n, batch=batch, context=context).values()))

    def breakdown(self, n, *, batch=1, context=0):
        """The same by part, as a dict of seconds: attention, kv, mlp, lm_head, allreduce, kernels, sampling, host."""
        n, batch, context = within("n", n, 1), within("batch", batch, 1), within("context", context)
        return self._parts(self._decoding(n, batch, context))

    def prefill(self, tokens, *, batch=1, context=0):
        """Seconds of an iteration that prefills `batch` prompts of so many tokens and decodes nothing."""
        return plain(sum(self._parts(self._prompts(tokens, batch, context)).values()))

    def mixed(self, n, *, batch, context, tokens, prompts=1, cached=0):
        """Seconds of an iteration over n new tokens in each of `batch` sequences and `prompts` prompts of `tokens`.

        The weights are read once for both, which is what chunked prefill gains; `cached` tokens of each prompt are
        in the cache already.
        """
        both = self._decoding(n, batch, context).beside(self._prompts(tokens, prompts, cached))
        return plain(sum(self._parts(both).values()))

    @cached_property
    def weight_bytes(self) -> float:
        """Bytes of all weights, over all GPUs together."""
        return self.shape.weight_bytes(self.weights)

    @property
    def kv_shards(self) -> int:
        """GPUs over which the KV cache of a sequence is divided."""
        return 1 if self.shape.mla else min(self.tp, self.shape.kv_heads)

    def _origin(self, name):
        return self.efficiency.origin(name)[0]

    def _decoding(self, n, batch, context):
        tokens, shape = batch * n, self.shape
        own = self.efficiency.rho * np.maximum(np.subtract(n, 1), 0)
        seen = context + (np.asarray(n) + 1) / 2
        kv, core = batch * shape.kv_read(context, self.kv), tokens * shape.attention_flops(seen)
        return _Load(tokens, tokens, batch, batch * (1 + own), kv, core)

    def _prompts(self, tokens, prompts, cached):
        tokens, cached = within("tokens", tokens, 1), within("context", cached)
        own = self.efficiency.rho * (tokens - 1)
        core = prompts * tokens * self.shape.attention_flops(cached + (tokens + 1) / 2)
        return _Load(prompts * tokens, prompts, prompts, prompts * (1 + own), 0.0, core)

    def _parts(self, load):
        """Seconds of an iteration by part."""
        rate, shape = self.efficiency, self.shape
        tokens = padded(load.tokens, rate.capture)
        message = 2.0 * tokens * shape.hidden
        parts = {
            "attention": self._attention(tokens),
            "kv": shape.layers * rate.attention + self._core(load),
            "mlp": (shape.layers - shape.moe_layers) * self._product("mlp", shape.mlp_parameters, tokens, 2)
            + shape.moe_layers * self._experts(tokens, load.routed),
            "lm_head": self._product("head", shape.head_parameters, load.logits),
            "allreduce": 2 * shape.layers * (rate.allreduce + message / rate.allreduce_bandwidth) * (self.tp > 1),
            "kernels": shape.layers * rate.kernels * rate.launch,
            "sampling": load.logits * shape.vocab * rate.sampled / self.gpu.bandwidth,
        }
        parts["kernels"] = parts["kernels"] + self._launching(load.tokens, sum(parts.values()))
        return parts | {"host": rate.host + rate.per_sequence * load.sequences}

    def _attention(self, tokens):
        """The products of attention in all layers, and the one that joins hidden states before them."""
        products = (5 if self.shape.q_lora_rank else 4) if self.shape.mla else 2
        layer = self._product("attention", self.shape.attention_parameters, tokens, products)
        joining = self._product("attention", self.shape.fusion_parameters, tokens) if self.shape.fusion else 0.0
        return self.shape.layers * layer + joining

    def _product(self, part, parameters, tokens, products=1, stored=None):
        """So many products over `parameters` together for each token, `stored` of them read from memory."""
        form = self.shape.precision_of(part, self.weights)
        reached = self.efficiency.product if form.name == self.weights else self.efficiency.head
        read = (parameters if stored is None else stored) * form.bytes
        memory = read / (self.tp * self.gpu.bandwidth * reached.bandwidth)
        compute = 2.0 * parameters * tokens / (self.tp * self._flops(form) * reached.flops)
        return products * reached.fixed + smooth_maximum(memory, compute, self.efficiency.sharpness)

    @property
    def peak(self) -> float:
        """FLOP/s of one GPU at which the weights of the layers are multiplied."""
        return self._flops(precision(self.weights))

    def _flops(self, form):
        return getattr(self.gpu, form.compute, None) or self.gpu.bf16

    def _experts(self, tokens, routed):
        """The MLP of a layer with experts: those that the tokens touch are read, the shared ones always."""
        shape = self.shape
        if not shape.moe:
            return 0.0
        touched = coverage(shape.experts, shape.active, routed, self.efficiency.skew)
        stored = shape.expert_parameters * touched
        time = self._product("experts", shape.expert_parameters * shape.active, tokens, 2, stored)
        shared = shape.expert_parameters * shape.shared_experts
        return time + (self._product("shared", shared, tokens, 2) if shared else 0.0)

    def _core(self, load):
        """Attention over all layers: the KV that is read, or the FLOP where they take longer."""
        memory = load.kv / (self.kv_shards * self.gpu.bandwidth * self.efficiency.kv_bandwidth)
        return np.maximum(memory, load.core / (self.tp * self.gpu.bf16 * self.efficiency.attention_flops))

    def _launching(self, tokens, running):
        """What launching kernels one by one takes beyond running them, where no graph was captured."""
        eager = self.shape.layers * self.efficiency.eager
        return np.where(np.asarray(tokens) > self.efficiency.capture, np.maximum(eager - running, 0.0), 0.0)


@dataclass(frozen=True)
class _Load:
    """What an iteration carries: tokens, positions that need logits, sequences, tokens that choose experts of their
    own, bytes of KV and FLOP of attention.
    """

    tokens: Any
    logits: Any
    sequences: Any
    routed: Any
    kv: Any
    core: Any

    def beside(self, other):
        """Both in one iteration."""
        return _Load(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))
