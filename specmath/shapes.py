"""The shape of a model: the matrices a token goes through and the KV cache it leaves behind, from a config.json.

Counts are those that take time and memory: matrices, experts, embedding and output; norms, biases and routers are left
out (under 0.1 %). Every MLP is a gated one (three matrices). With GQA a token leaves kv_heads keys and values of
head_dim in every layer; with MLA (DeepSeek-V2, arXiv 2405.04434) one latent of kv_lora_rank + qk_rope_head_dim.
"""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, fields, replace
from typing import Any

import numpy as np

from specmath.configs import shape_fields, text_of
from specmath.draft import shown, whole, within
from specmath.quantised import leaves_attention, weights_of


@dataclass(frozen=True)
class Precision:
    """A number format: bytes of one weight with its scales, and the format that the products are computed in."""

    name: str
    bytes: float
    compute: str


PRECISIONS = {
    p.name: p
    for p in (
        Precision("bf16", 2.0, "bf16"),
        Precision("fp16", 2.0, "bf16"),
        Precision("fp32", 4.0, "fp32"),
        Precision("fp8", 1.0, "fp8"),
        Precision("fp8_block", 1.0, "fp8"),  # a scale for every 128 x 128 weights
        Precision("int8", 1.0, "int8"),
        Precision("w8a16", 1.0, "bf16"),  # 8-bit weights alone, dequantised for the product
        Precision("int4", 0.53, "bf16"),  # the same of 4 bits: W4A16, a scale and a zero for every 128
        Precision("int4_g32", 0.5625, "bf16"),  # a 16-bit scale for every 32
        Precision("nvfp4", 0.5625, "fp4"),  # an fp8 scale for every 16
        Precision("mxfp4", 0.53125, "fp4"),  # an 8-bit exponent for every 32
    )
}


PARTS = ("attention", "mlp", "experts", "shared", "head", "embedding")
WIDE = ("head", "embedding")


def precision(name) -> Precision:
    """A precision by its name; ValueError naming those there are.

    >>> precision("nvfp4").bytes
    0.5625
    """
    if isinstance(name, Precision):
        return name
    if not isinstance(name, str) or name not in PRECISIONS:
        raise ValueError(f"precision: found {shown(name)}, expected one of {', '.join(PRECISIONS)}")
    return PRECISIONS[name]


def _count(name, value, low):
    if isinstance(value, bool):
        raise ValueError(f"{name}: found {value}, expected an integer >= {low}")
    return whole(name, value, low)


@dataclass(frozen=True)
class ModelShape:
    """Layers, widths and heads of a causal language model.

    Mixture of experts where experts > 0: every layer but dense_layers of them has experts of expert_intermediate,
    `active` of which a token goes through, and shared_experts besides. MLA where kv_lora_rank > 0: kv_heads is then 1
    and head_dim that of a query, whatever was given. sliding_layers attend to the last sliding_window tokens only;
    where sparse > 0 every layer reads that many tokens at most. fusion hidden states are joined into one before the
    first layer (of a draft head). intermediate is the dense MLP's, 0 where no layer has one; mtp the layers that
    predict further tokens, which the counts leave out, positions the most tokens of a sequence (0: not known), weights
    the precision that the checkpoint declares, with experts_only that of its routed experts alone.
    Raises ValueError naming the field.

    >>> ModelShape("llama-8b", 32, 4096, 32, 8, 128, 14336, 128256).kv_bytes()
    131072.0
    """

    name: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int
    _: KW_ONLY
    tied: bool = False
    experts: int = 0
    active: int = 0
    expert_intermediate: int = 0
    shared_experts: int = 0
    dense_layers: int = 0
    q_lora_rank: int = 0
    kv_lora_rank: int = 0
    qk_nope_head_dim: int = 0
    qk_rope_head_dim: int = 0
    v_head_dim: int = 0
    sliding_layers: int = 0
    sliding_window: int = 0
    sparse: int = 0
    fusion: int = 0
    mtp: int = 0
    positions: int = 0
    weights: str = "bf16"
    experts_only: bool = False
    source: str = ""
    trust: str = ""

    def __post_init__(self):
        for field in fields(self):
            if field.type is int:
                low = 1 if field.name in ("layers", "hidden", "heads", "vocab") else 0
                object.__setattr__(self, field.name, _count(field.name, getattr(self, field.name), low))
        precision(self.weights)
        if self.mla:
            object.__setattr__(self, "kv_heads", 1)
            object.__setattr__(self, "head_dim", self.qk_nope_head_dim + self.qk_rope_head_dim)
        for name, good, expected in self._claims():
            if not good:
                raise ValueError(f"{name}: found {getattr(self, name)!r}, expected {expected}")

    def _claims(self):
        """(field, whether it fits the others, what would)."""
        yield "tied", isinstance(self.tied, bool), "true or false"
        yield "experts_only", isinstance(self.experts_only, bool), "true or false"
        yield "head_dim", self.head_dim > 0, "1 or more"
        yield "kv_heads", self.kv_heads > 0 and self.heads % self.kv_heads == 0, f"a divisor of {self.heads} heads"
        yield "v_head_dim", not self.mla or self.v_head_dim > 0, "1 or more, beside kv_lora_rank"
        yield "active", not self.moe or 1 <= self.active <= self.experts, f"1 to {self.experts}, the experts"
        yield "expert_intermediate", not self.moe or self.expert_intermediate > 0, "1 or more, beside experts"
        yield "dense_layers", self.dense_layers <= self.layers, f"at most {self.layers}, the layers"
        yield "intermediate", self.intermediate > 0 or self.moe_layers == self.layers, "1 or more for a dense MLP"
        yield "sliding_layers", self.sliding_layers <= self.layers, f"at most {self.layers}, the layers"
        yield "sliding_window", self.sliding_window > 0 or not self.sliding_layers, "1 or more, beside sliding_layers"

    @classmethod
    def from_config(cls, mapping: Mapping[str, Any], name: str | None = None) -> "ModelShape":
        """The shape that a Hugging Face config.json, as a mapping, describes.

        Raises ValueError in one line, naming the key, where one is missing, contradicts another or is of a family whose
        layers this does not count.

        >>> ModelShape.from_config({"num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 4,
        ...     "num_key_value_heads": 2, "intermediate_size": 128, "vocab_size": 100}).head_dim
        16
        """
        found = shape_fields(mapping)
        places = (mapping, text_of(mapping))
        found["weights"] = weights_of(*places)
        found["experts_only"] = "experts" in found and leaves_attention(*places)
        return cls(**{**found, "name": name or found["name"]})

    @property
    def mla(self) -> bool:
        """Whether the KV cache holds one latent for all heads."""
        return self.kv_lora_rank > 0

    @property
    def moe(self) -> bool:
        """Whether there are experts."""
        return self.experts > 0

    @property
    def moe_layers(self) -> int:
        """Layers with experts."""
        return self.layers - self.dense_layers if self.moe else 0

    @property
    def attention_parameters(self) -> int:
        """Of one layer: h d (nq + 2 nkv) + nq d h; with MLA h ql + (ql or h) nq (dn + dr) + h (kl + dr) + ...

        The rest of MLA is kl nq (dn + dv) + nq dv h; without a rank of the queries ql is left out.
        """
        if not self.mla:
            return self.hidden * self.head_dim * 2 * (self.heads + self.kv_heads)
        queries = self.heads * (self.qk_nope_head_dim + self.qk_rope_head_dim)
        values = self.heads * (self.qk_nope_head_dim + self.v_head_dim)
        projected = self.q_lora_rank * (self.hidden + queries) if self.q_lora_rank else self.hidden * queries
        latent = self.hidden * (self.kv_lora_rank + self.qk_rope_head_dim)
        return projected + latent + self.kv_lora_rank * values + self.heads * self.v_head_dim * self.hidden

    @property
    def mlp_parameters(self) -> int:
        """Of the dense MLP of one layer: 3 h f."""
        return 3 * self.hidden * self.intermediate

    @property
    def expert_parameters(self) -> int:
        """Of one expert: 3 h fe."""
        return 3 * self.hidden * self.expert_intermediate

    @property
    def head_parameters(self) -> int:
        """Of the output matrix: h V."""
        return self.hidden * self.vocab

    @property
    def fusion_parameters(self) -> int:
        """Of the matrix that joins hidden states before the first layer: fusion h^2."""
        return self.fusion * self.hidden**2

    @property
    def parameters(self) -> int:
        """All of them; a tied output matrix counts once."""
        return self._layer_parameters(self.experts) + self.head_parameters * (1 if self.tied else 2)

    @property
    def active_parameters(self) -> int:
        """Those one token is multiplied with: its experts and the output matrix; the embedding is looked up."""
        return self._layer_parameters(self.active) + self.head_parameters

    def _layer_parameters(self, experts):
        """Of all layers, with so many of the routed experts."""
        dense = (self.layers - self.moe_layers) * self.mlp_parameters
        routed = self.moe_layers * (experts + self.shared_experts) * self.expert_parameters
        return self.layers * self.attention_parameters + dense + routed + self.fusion_parameters

    def precision_of(self, part: str, weights: str | None = None) -> Precision:
        """The precision of "attention", "mlp", "experts", "shared", "head" or "embedding" under one of the weights.

        By default the checkpoint's own. Embedding and output matrix stay in 16 bits, and so does everything but the
        routed experts where the checkpoint says so.

        >>> shape = ModelShape("8b", 32, 4096, 32, 8, 128, 14336, 128256, weights="fp8")
        >>> shape.precision_of("mlp").name, shape.precision_of("head").name
        ('fp8', 'bf16')
        """
        if part not in PARTS:
            raise ValueError(f"part: found {shown(part)}, expected one of {', '.join(PARTS)}")
        found = precision(weights or self.weights)
        only_experts = self.experts_only and found.name == self.weights and part != "experts"
        return PRECISIONS["bf16"] if found.bytes < 2 and (only_experts or part in WIDE) else found

    def weight_bytes(self, weights: str | None = None) -> float:
        """Bytes of all weights as they are stored, by default as the checkpoint declares them."""
        routed = self.moe_layers * self.experts * self.expert_parameters
        counts = {
            "attention": self.layers * self.attention_parameters + self.fusion_parameters,
            "mlp": (self.layers - self.moe_layers) * self.mlp_parameters,
            "experts": routed,
            "shared": self.moe_layers * self.shared_experts * self.expert_parameters,
            "head": self.head_parameters,
            "embedding": 0 if self.tied else self.head_parameters,
        }
        return sum(count * self.precision_of(part, weights).bytes for part, count in counts.items())

    def kv_bytes(self, precision="bf16") -> float:
        """Bytes of KV cache per token: 2 nkv d in every layer, or kl + dr with MLA; windows ignored."""
        return self.layers * self._kv_bytes_of_a_layer(precision)

    def kv_read(self, context, precision="bf16"):
        """Bytes of KV cache that one sequence reads at a context of so many tokens [array]: windows applied.

        Sum over layers of min(context, window) times what a token leaves there, once per sequence however many tokens
        are new.
        """
        return self._tokens_read(context) * self._kv_bytes_of_a_layer(precision)

    def attention_flops(self, context):
        """FLOP of the attention core of one new token [array]: 4 nq d L in every layer, windows applied.

        With MLA 2 nq (2 kl + dr) L, in the absorbed form.
        """
        if self.mla:
            return 2 * self.heads * (2 * self.kv_lora_rank + self.qk_rope_head_dim) * self._tokens_read(context)
        return 4 * self.heads * self.head_dim * self._tokens_read(context)

    def _kv_bytes_of_a_layer(self, name):
        width = self.kv_lora_rank + self.qk_rope_head_dim if self.mla else 2 * self.kv_heads * self.head_dim
        return width * precision(name).bytes

    def _tokens_read(self, context):
        """Tokens of cache that one sequence reads, summed over layers."""
        context = within("context", context)
        context = np.minimum(context, self.sparse) if self.sparse else context
        near = np.minimum(context, self.sliding_window) if self.sliding_layers else 0
        return (self.layers - self.sliding_layers) * context + self.sliding_layers * near

    def head(self, layers=1, fusion=2, *, dense=False) -> "ModelShape":
        """A draft head on this model (EAGLE, MTP): so many of its layers, the whole output matrix, no embedding.

        The layers are those with experts where there are any, as MTP has them, or with `dense` (EAGLE) have an MLP of
        the dense layers' width, else four times the hidden one. They attend to the whole context. fusion is the hidden
        states that are joined before them: 2 in EAGLE and MTP (the embedding and a feature), 3 in EAGLE-3.
        """
        alike: dict[str, Any] = {"dense_layers": 0, "sliding_layers": 0, "sliding_window": 0, "tied": True}
        if dense and self.moe:
            none = {"experts": 0, "active": 0, "expert_intermediate": 0, "shared_experts": 0, "experts_only": False}
            alike |= none | {"intermediate": self.intermediate or 4 * self.hidden}
        return replace(self, name=f"{self.name} head", layers=layers, fusion=fusion, **alike)

    def windowed(self, tokens) -> "ModelShape":
        """The same model reading at most so many tokens of its KV cache: self-speculation with a sparse cache."""
        return replace(self, name=f"{self.name}, {tokens} tokens of KV", sparse=whole("tokens", tokens, 1))
