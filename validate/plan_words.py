"""The words of a plan that its verdict, its sections and its charts share."""

import re
from collections.abc import Iterable

HEAD = r"^(eagle3?):\S+"
PARTS = {
    "attention": "the matrices of attention",
    "kv": "reading the KV cache",
    "mlp": "the MLP",
    "lm_head": "the output matrix",
    "allreduce": "all-reduces",
    "kernels": "small kernels and launches",
    "sampling": "sampling",
    "host": "the host",
    "draft": "drafting",
    "accepting": "accepting",
    "forward": "the forward",
}


def short(name: str, names: Iterable[str]) -> str:
    """A head without its id, where no other of the names is shortened to the same.

    >>> short("eagle3:org/head", ["eagle3:org/head", "lookup"])
    'eagle3'
    """
    found = re.sub(HEAD, r"\1", name)
    return found if len({other for other in names if re.sub(HEAD, r"\1", other) == found}) < 2 else name
