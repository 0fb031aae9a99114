"""Find, convert and cache models, and say how to get one that is not there."""

import copy
import hashlib
import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import huggingface_hub
import torch
import transformers
from jinja2 import TemplateError
from safetensors import SafetensorError

from validate.attention import share_heads
from validate.names import BUNDLED, EARLY, bundled_gguf, no_model

BATTERY = (
    "def f(x):\n    return x ** 2  # naive\n",
    '{"id": 1234567, "ok": true}',
    "  two  spaces\tand\ttabs \n\n",
    "naïve café — 東京 🙂",
)


@dataclass(frozen=True)
class Loaded:
    """A causal language model with its tokeniser, ready on a device.

    `eos` ends a generation; `context` is the longest sequence in tokens; `rows` is the width of its logits.
    """

    name: str
    network: Any
    tokenizer: Any
    eos: frozenset[int]
    context: int
    rows: int

    def encode(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """Token ids of a chat, in the model's own template where it has one, else of the joined text.

        Templates that can think aloud are asked not to. Raises ValueError where the template refuses.
        """
        if self.tokenizer.chat_template is None:
            return list(self.tokenizer("\n".join(m["content"] for m in messages))["input_ids"])
        try:
            rendered = self.tokenizer.apply_chat_template(
                [dict(m) for m in messages], tokenize=False, add_generation_prompt=True, enable_thinking=False
            )
        except TemplateError as error:
            raise ValueError(f"the chat template of {self.name} refused a prompt: {error}") from error
        return list(self.tokenizer(rendered, add_special_tokens=False)["input_ids"])


def load(name: str = BUNDLED, *, device: str = "cpu", dtype: str = "float32") -> Loaded:
    """Load the bundled model by its name, a directory, a .gguf file or a Hugging Face hub id.

    Raises ValueError in one line where there is no such model (with the way to get it) or it is no causal model.
    """
    hush()
    directory = _directory(name)
    config = _config(name, directory)
    require_causal(name, config)
    network = _from_pretrained(transformers.AutoModelForCausalLM, name, directory, dtype=getattr(torch, dtype))
    tokenizer = _from_pretrained(transformers.AutoTokenizer, name, directory)
    share_heads(network)
    text = config.get_text_config()
    return Loaded(
        name=name,
        network=network.to(device).eval(),
        tokenizer=tokenizer,
        eos=_eos(network, tokenizer),
        context=getattr(text, "max_position_embeddings", None) or 2**31,
        rows=network.get_output_embeddings().weight.shape[0],
    )


def load_draft(name: str, target: Loaded, make: Callable[..., Loaded], **place: str) -> Loaded:
    """A draft model as `make` makes one of its name, or early:N, the target's first N layers."""
    layers = name.removeprefix(EARLY)
    if layers == name:
        return make(name, **place)
    if not layers.isdecimal():
        raise ValueError(f"draft: found {name!r}, expected {EARLY}N with N a number of layers")
    return early(target, int(layers))


def early(target: Loaded, layers: int) -> Loaded:
    """The target's first layers with its own final norm and head, as a draft that shares the weights.

    Raises ValueError for layers outside 1..depth - 1 and for an architecture that does not list its layers.
    """
    inner: Any = getattr(target.network, "model", None)
    stack = getattr(inner, "layers", None)
    if stack is None:
        raise ValueError(
            f"{EARLY}{layers}: found {target.name}, expected a model that lists its layers: drop the draft"
        )
    if not 1 <= layers < len(stack):
        expected = " to ".join(f"{EARLY}{n}" for n in dict.fromkeys((1, len(stack) - 1)))
        found = f"found {layers} layers, {target.name} has {len(stack)}"
        raise ValueError(f"{EARLY}{layers}: {found}: expected {expected}")
    network, base, config = map(copy.copy, (target.network, inner, target.network.config))
    network._modules, base._modules = dict(target.network._modules), dict(inner._modules)
    config.num_hidden_layers = layers
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:layers]
    base.layers, base.config, network.config = stack[:layers], config, config
    network.model = base
    return replace(target, name=f"{EARLY}{layers}", network=network)


def placement(device: str | None = None, dtype: str | None = None) -> tuple[str, str]:
    """Device and dtype to run on: CUDA where there is one, and there bfloat16, float32 on a CPU; unless given.

    Raises ValueError for a device that is none or is not there.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, index = device.partition(":")
    there = torch.cuda.device_count() if kind == "cuda" else 0 if index else 1
    if kind not in _DTYPES or not (index or "0").isdecimal() or int(index or 0) >= there:
        choice = "cpu or cuda" if torch.cuda.is_available() else "cpu, since PyTorch sees no CUDA here"
        raise ValueError(f"device: found {device!r}, expected {choice}")
    return device, dtype or _DTYPES[kind]


_DTYPES = {"cpu": "float32", "cuda": "bfloat16"}


def common_vocabulary(target: Loaded, draft: Loaded) -> int:
    """Number of ids that mean the same token to both models; ids at or above it are never sampled or drafted.

    Models of one family pad their output rows differently; that is cut, not refused. Raises ValueError
    naming the first difference where the tokenisers are not one. Dummies have none, and share the rows they have.
    """
    if target.tokenizer is None or draft.tokenizer is None:
        return min(target.rows, draft.rows)
    ours, theirs = (_by_id(m.tokenizer) for m in (target, draft))
    shared = min(len(ours), len(theirs))
    for token_id in range(shared):
        if ours.get(token_id) != theirs.get(token_id):
            found = f"id {token_id} is {ours.get(token_id)!r} for the target, {theirs.get(token_id)!r} for the draft"
            raise ValueError(_different_tokenisers(target, draft, found))
    for text in BATTERY:
        encoded = [m.tokenizer(text, add_special_tokens=False)["input_ids"] for m in (target, draft)]
        if encoded[0] != encoded[1]:
            raise ValueError(_different_tokenisers(target, draft, f"they encode {text!r} differently"))
    same_rows = target.rows == draft.rows and len(ours) == len(theirs)
    return target.rows if same_rows else min(shared, target.rows, draft.rows)


def cache_home() -> pathlib.Path:
    """Where converted models are kept: $SPECMATH_CACHE, else the user's cache directory."""
    home = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(os.environ.get("SPECMATH_CACHE") or pathlib.Path(home) / "specmath")


def hush() -> None:
    """No bars for weights read in a second, no retries told one by one: what fails is said once, by us."""
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    huggingface_hub.utils.logging.set_verbosity_error()


def _directory(name: str) -> str:
    if name == BUNDLED:
        return str(_converted(bundled_gguf()))
    if name.endswith(".gguf"):
        if not pathlib.Path(name).is_file():
            raise ValueError(f"{name}: no such file; expected a GGUF file, a directory or a hub id")
        return str(_converted(pathlib.Path(name)))
    return name


def _converted(gguf: pathlib.Path) -> pathlib.Path:
    """The dequantised float32 copy of a GGUF file, made once: keyed by content, written aside, then renamed."""
    with gguf.open("rb") as source:
        home = cache_home() / hashlib.file_digest(source, "sha256").hexdigest()[:16]
    if not home.is_dir():
        home.parent.mkdir(parents=True, exist_ok=True)
        aside = tempfile.mkdtemp(prefix="converting-", dir=home.parent)
        try:
            _convert(gguf, aside)
            pathlib.Path(aside).rename(home)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return home


def _convert(gguf: pathlib.Path, into: str) -> None:
    """Dequantise; a model read from GGUF cannot be saved itself, so a fresh one takes its weights."""
    read = {"gguf_file": gguf.name, "local_files_only": True}
    transformers.AutoTokenizer.from_pretrained(gguf.parent, **read).save_pretrained(into)
    quantised = transformers.AutoModelForCausalLM.from_pretrained(gguf.parent, dtype=torch.float32, **read)
    config = quantised.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    fresh = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    fresh.load_state_dict(quantised.state_dict())
    fresh.save_pretrained(into)


def _config(name: str, directory: str) -> Any:
    return _from_pretrained(transformers.AutoConfig, name, directory)


def _from_pretrained(kind: Any, name: str, directory: str, **options: Any) -> Any:
    return one_line(name, lambda: kind.from_pretrained(directory, **options))


def one_line(name: str, attempt: Callable[[], Any]) -> Any:
    """What an attempt to load gives, or one line that says why there is no such model and how to get one."""
    try:
        return attempt()
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise no_model(name, reason) from error


def require_causal(name: str, config: Any) -> None:
    """Raise ValueError, naming what it is, for a config of anything but a causal language model."""
    architectures = config.architectures or ()
    causal = [a for a in architectures if a.endswith(("CausalLM", "LMHeadModel", "ConditionalGeneration"))]
    known = type(config) in transformers.MODEL_FOR_CAUSAL_LM_MAPPING
    if config.is_encoder_decoder or not known or (architectures and not causal):
        kind = ", ".join(architectures) or config.model_type
        raise ValueError(f"{name} is a {kind}; expected a causal language model (…ForCausalLM)")


def _eos(network: Any, tokenizer: Any) -> frozenset[int]:
    listed = network.generation_config.eos_token_id
    listed = [listed] if isinstance(listed, int) else listed or []
    return frozenset(i for i in (*listed, tokenizer.eos_token_id) if i is not None)


def _by_id(tokenizer: Any) -> dict[int, str]:
    return {token_id: token for token, token_id in tokenizer.get_vocab().items()}


def _different_tokenisers(target: Loaded, draft: Loaded, found: str) -> str:
    return (
        f"{draft.name} cannot draft for {target.name}: {found} ({len(target.tokenizer)} and "
        f"{len(draft.tokenizer)} tokens); expected one tokeniser: choose a draft of the target's family"
    )
