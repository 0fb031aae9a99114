"""Flags read back as the engines document them: what an engine would do at every batch, and with which models."""

import itertools
import json
import re
import shlex

import yaml

from validate.adapters import llamacpp, sglang, trtllm


def notes(text):
    return [line for line in text.splitlines() if line.startswith("# ")]


def body(text):
    return "\n".join(line for line in text.splitlines() if not line.startswith("# "))


def options(text):
    """{option: value, None for a switch}, and the words before the first option."""
    words = shlex.split(body(text).rpartition("\nJSON\n")[2].replace("\\\n", " "))
    starts = [i for i, word in enumerate(words) if re.match(r"--?[a-z]", word)]
    ends = [*starts[1:], len(words)]
    return {words[i]: words[i + 1] if end > i + 1 else None for i, end in zip(starts, ends, strict=True)}


def dense(ranges, max_batch):
    """k at every batch, one batch at a time; what no range holds has the k of the range before it."""
    ks, last = [], None
    for batch in range(1, max_batch + 1):
        last = next((k for low, high, k in ranges if low <= batch and (high is None or batch <= high)), last)
        ks.append(last)
    return ks


def read_vllm(text):
    found = options(text)
    config = json.loads(found.get("--speculative-config", "{}"))
    k, largest = config.get("num_speculative_tokens", 0), int(found["--max-num-seqs"])
    ranges = config.get("num_speculative_tokens_per_batch_size", [[1, largest, k]])
    assert ranges[0][0] == 1
    assert all(a[1] < b[0] for a, b in itertools.pairwise(ranges))
    return {
        "ks": [min(k, depth) for depth in dense(ranges, largest)],
        "method": config.get("method"),
        "draft": config.get("model"),
        "target": shlex.split(body(text).replace("\\\n", " "))[2],
        "tp": int(found["--tensor-parallel-size"]),
    }


def read_sglang(text):
    found = options(text)
    names = {name: method for method, name in sglang.METHODS.items()}
    slots = {1: [int(found.get("--speculative-num-draft-tokens", 1)) - 1]}
    if "--speculative-adaptive" in found:
        written = re.search(r"^cat > (\S+) <<'JSON'\n(.*?)\nJSON$", text, re.DOTALL | re.MULTILINE)
        assert found["--speculative-adaptive-config"] == written[1]
        slots = {int(low): slot["candidate_steps"] for low, slot in json.loads(written[2]).items()}
    if "--speculative-num-steps" in found:
        assert int(found["--speculative-num-draft-tokens"]) == int(found["--speculative-num-steps"]) + 1
        assert int(found["--speculative-num-steps"]) == max(map(max, slots.values()))
        assert found["--speculative-eagle-topk"] == "1"
    batches = range(1, int(found["--max-running-requests"]) + 1)
    return {
        "ks": [slots[max(low for low in slots if low <= batch)][0] for batch in batches],
        "method": names.get(found.get("--speculative-algorithm")),
        "draft": found.get("--speculative-draft-model-path"),
        "target": found["--model-path"],
        "tp": int(found["--tp-size"]),
    }


def read_llamacpp(text):
    found = options(text)
    names = {name: method for method, name in llamacpp.METHODS.items()}
    model = found.get("--spec-draft-model", found.get("--model-draft"))
    lengths = ["--spec-ngram-simple-size-m", "--spec-ngram-size-m", "--spec-draft-n-max", "--draft-max"]
    k = next((int(found[name]) for name in lengths if name in found), 0)
    return {
        "ks": [k] * int(found["--parallel"]),
        "method": names.get(found.get("--spec-type"), "draft_model" if model else None),
        "draft": model,
        "target": found["--model"],
        "tp": len(found.get("--tensor-split", "1").split(",")),
    }


def read_trtllm(text):
    found = yaml.safe_load(text)
    config = found.get("speculative_config", {})
    names = {name: method for method, name in trtllm.METHODS.items()}
    k, largest = config.get("max_draft_len", 0), found["max_batch_size"]
    schedule = config.get("draft_len_schedule", {largest: k})
    assert max(schedule.values()) == schedule[min(schedule)] == k
    ends = sorted(schedule)
    return {
        "ks": [schedule[next(end for end in ends if batch <= end)] for batch in range(1, largest + 1)],
        "method": names.get(config.get("decoding_type")),
        "draft": config.get("speculative_model"),
        "target": shlex.split(re.search("trtllm-serve (.*) --config", text)[1])[0],
        "tp": found["tensor_parallel_size"],
    }


READ = {"vllm": read_vllm, "sglang": read_sglang, "llamacpp": read_llamacpp, "trtllm": read_trtllm}
