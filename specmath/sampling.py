"""Logits to probabilities: the law a token is drawn from, after temperature, top-k, top-p and min-p.

Generic over array libraries: `xp` is numpy, `array_api_strict`, `array_api_compat.torch` or another library
that follows the array API standard (2024.12). Nothing here draws a token; `acceptor.draw` does.

A decoder is lossless towards the law it verifies against, and only if the row a draft token was drawn from is
the row `acceptor.verify` is shown: let one `warp` make both (huggingface/transformers issue 47932 is the bug
otherwise).
"""

import math

HOST_MEMORY = 1  # kDLCPU in DLPack, the exchange protocol of the array API standard
COLDEST = 1e-30  # lower temperatures give the same law, until the quotient overflows


def warp(logits, *, temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, xp):
    """Law of the next token: softmax(logits / temperature) over the last axis, truncated and normalised.

    `logits` is floating, [..., V]; -inf marks a forbidden token and gives probability 0. Returns the same
    shape, in float32 if the logits have half precision. The steps, in the order of transformers' `generate`:

    - `temperature`: divides the logits. 0 gives one-hot rows at the largest, the first of equals.
    - `top_k`: keeps the k largest and all that equal the k-th, so no law hangs on how a sort orders ties.
    - `top_p`: keeps the likeliest until their share of what top-k left reaches top_p, and equals of the last.
    - `min_p`: keeps what is at least min_p times as likely as the likeliest.

    vLLM applies min-p before top-k and top-p; that is another law only where min-p and top-p are both in use.
    Only top-k and top-p sort.

    Raises ValueError for a parameter outside its domain and for a row whose largest logit is not finite (a
    NaN, a +inf, nothing but -inf), naming the row. In a device's own memory, where asking would stall the
    device, such a row comes back with a NaN, and `acceptor.draw` and `acceptor.verify` answer -1 to it.

    >>> import numpy as np
    >>> warp(np.log([[1.0, 2.0, 5.0]]), top_k=2, xp=np).round(6).tolist()
    [[0.0, 0.285714, 0.714286]]
    >>> warp(np.array([3.0, 7.0, 7.0]), temperature=0, xp=np).tolist()
    [0.0, 1.0, 0.0]
    """
    _check_domains(temperature, top_k, top_p, min_p)
    logits = xp.astype(logits, xp.float32) if xp.finfo(logits.dtype).bits < 32 else logits
    if temperature == 0:
        return _greedy(logits, xp)
    _refuse_peaks(xp.max(logits, axis=-1), xp)
    if temperature != 1:
        logits = logits / max(temperature, COLDEST)
    if top_k > 0 or top_p < 1:
        logits = xp.where(logits < _lowest_kept(logits, top_k, top_p, xp), -math.inf, logits)
    probabilities = _softmax(logits, xp)
    return _above(probabilities, min_p, xp) if min_p > 0 else probabilities


def refuse_rows(bad, message, *, xp):
    """Raise ValueError naming the first row where `bad` holds; waits for no device with its own memory."""
    bad = xp.asarray(bad)
    if bad.__dlpack_device__()[0] == HOST_MEMORY and bool(xp.any(bad)):
        row = int(xp.nonzero(xp.reshape(bad, (-1,)))[0][0])
        raise ValueError(f"row {row} of {math.prod(bad.shape)}: {message}")


def _check_domains(temperature, top_k, top_p, min_p):
    checks = [
        ("temperature", temperature, 0 <= temperature < math.inf, "a finite number >= 0 (0 is greedy)"),
        ("top_k", top_k, top_k >= 0 and top_k % 1 == 0, "an integer >= 0 (0 is off)"),
        ("top_p", top_p, 0 < top_p <= 1, "a number in (0, 1] (1 is off)"),
        ("min_p", min_p, 0 <= min_p < 1, "a number in [0, 1) (0 is off)"),
    ]
    for name, value, holds, expected in checks:
        if not holds:
            raise ValueError(f"{name} is {value}, expected {expected}")


def _refuse_peaks(peaks, xp):
    message = "no finite largest logit; expected no NaN, no +inf and a token unmasked"
    refuse_rows(~xp.isfinite(peaks), message, xp=xp)


def _greedy(logits, xp):
    """One-hot rows; the array API standard and torch both promise that argmax is the first of equals."""
    first = xp.argmax(logits, axis=-1, keepdims=True)
    peaks = xp.take_along_axis(logits, first, axis=-1)
    _refuse_peaks(peaks[..., 0], xp)
    one = xp.where(xp.isfinite(peaks), 1, math.nan * peaks)
    ids = xp.arange(logits.shape[-1], device=logits.device)
    return xp.astype(ids == first, one.dtype) * one


def _lowest_kept(logits, top_k, top_p, xp):
    """The smallest logit [..., 1] that top-k and then top-p keep."""
    ordered = xp.sort(logits, axis=-1, stable=False)
    first = max(logits.shape[-1] - int(top_k), 0) if top_k else 0
    lowest = ordered[..., first : first + 1]
    if top_p == 1:
        return lowest
    share = xp.cumulative_sum(_softmax(xp.where(ordered >= lowest, ordered, -math.inf), xp), axis=-1)
    return xp.min(xp.where(share > 1 - top_p, ordered, ordered[..., -1:]), axis=-1, keepdims=True)


def _softmax(logits, xp):
    if hasattr(xp, "softmax"):  # torch: one pass instead of four
        return xp.softmax(logits, -1)
    weights = xp.exp(logits - xp.max(logits, axis=-1, keepdims=True))
    return weights / xp.sum(weights, axis=-1, keepdims=True)


def _above(probabilities, min_p, xp):
    """What has at least min_p times the largest probability, normalised."""
    bar = min_p * xp.max(probabilities, axis=-1, keepdims=True)
    kept = xp.where(probabilities >= bar, probabilities, 0)
    return kept / xp.sum(kept, axis=-1, keepdims=True)
