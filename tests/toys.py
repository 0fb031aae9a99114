"""Networks whose law is known exactly, drafters that do as they are told, and models that watch what they are fed.

A real transformer costs a millisecond a forward and rounds; `remembering` costs a twentieth of that, rounds nothing and
goes through the same Model, cache, masks and positions: its logits hang on every token that a position sees.
"""

import itertools
from collections import Counter, defaultdict
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers
from scipy import stats

from specmath.acceptor import verify
from tests import tiny
from validate import drafters
from validate.arrays import Arrays
from validate.clock import Clock
from validate.decoder import Batch, Decoder
from validate.drafters import Lookup, ModelDraft, NGram, Nothing, Proposal, Written
from validate.loading import Loaded, early
from validate.model import Model
from validate.rows import Row
from validate.sampler import Sampler

HOST = Arrays.on("cpu")
GREEDY, SAMPLED = Sampler(), Sampler(temperature=1.0)
STATES = 11  # what a remembering network keeps of a text
CAPACITY = 64


class Remembering:
    """Logits table[state, last token], the state being a sum over all tokens seen, each weighed by its position."""

    _is_stateful, device, dtype = False, torch.device("cpu"), torch.float64

    def __init__(self, table):
        self.table = table
        self.config = SimpleNamespace(num_hidden_layers=1, model_type="toy", _attn_implementation="sdpa")
        self.config.get_text_config = lambda: self.config

    def __call__(self, input_ids, past_key_values=None, position_ids=None, attention_mask=None, logits_to_keep=0, **_):
        start = past_key_values.get_seq_length() if past_key_values else 0
        at = torch.arange(start, start + input_ids.shape[1]) if position_ids is None else position_ids
        seen = ((input_ids + 1) * (3 * at + 1) % STATES)[:, None, :, None]
        if past_key_values:
            seen, _ = past_key_values.update(seen, seen, 0)
        if attention_mask is None:
            attention_mask = torch.arange(seen.shape[2]) <= at[:, None]
        state = (attention_mask * seen.transpose(2, 3)).sum(-1)[:, 0] % STATES
        return SimpleNamespace(logits=self.table[state, input_ids][:, -logits_to_keep:])


def remembering(vocabulary=4, *, seed=0, noise=0.0, sharpness=1.2, eos=()):
    """A target, or with noise a draft that partly agrees with the target of the same seed."""
    rng = np.random.default_rng(seed)
    table = sharpness * rng.normal(size=(STATES, vocabulary, vocabulary))
    table += noise * rng.normal(size=table.shape)
    return Loaded(f"toy-{seed}", Remembering(torch.from_numpy(table)), None, frozenset(eos), CAPACITY, vocabulary)


def llama(**settings):
    """A tiny Llama in double precision, where a batch changes no token."""
    loaded = tiny.llama(**settings)
    loaded.network.double()
    return loaded


# --- decoders --------------------------------------------------------------------------------------------------------

DRAFTS = ("nothing", "lookup", "ngram", "model", "early")


def drafter_of(draft, target, model, **settings):
    """A drafter by its name, or the model draft of a Loaded."""
    arrays, vocabulary = settings.pop("arrays", HOST), model.vocabulary
    if isinstance(draft, Loaded):
        return ModelDraft(arrays, Model(draft, **settings), SAMPLED)
    if draft == "early":
        return ModelDraft(arrays, Model(early(target, 1), **settings, borrowed=model), SAMPLED)
    training = [[(3 * i * i + i) % vocabulary for i in range(60)]]
    makes = {
        "nothing": lambda: Nothing(arrays, vocabulary),
        "lookup": lambda: Lookup(arrays, vocabulary, longest=2, shortest=1),
        "ngram": lambda: NGram(arrays, vocabulary, training),
    }
    return makes[draft]()


def decoder_of(target, draft="nothing", *, rows=1, k=3, kind=Model, eos=None, rule=verify, **settings):
    """A decoder with `rows` slots; draft is a name, a Loaded or a drafter."""
    shape = {"capacity": CAPACITY, "rows": rows} | {n: settings[n] for n in ("capacity", "vocabulary") if n in settings}
    model = kind(target, **shape)
    named = isinstance(draft, str | Loaded)
    more = {"arrays": settings["arrays"]} if "arrays" in settings else {}
    drafter = drafter_of(draft, target, model, **shape, **more) if named else draft
    return Decoder(model, drafter, SAMPLED, Clock("cpu"), target.eos if eos is None else frozenset(eos), k, rule)


def continued(decoder, requests):
    """The rows of all requests, in their order."""
    rows = dict(decoder.decode(requests))
    return [rows[number] for number in range(len(rows))]


def tokens(decoder, requests):
    return [row.tokens for row in continued(decoder, requests)]


def played(decoder, requests):
    """(tokens, rounds) of every request; of a round (context, proposed, drafted, accepted, emitted, end)."""
    batch, rows, rounds = Batch(decoder), [], defaultdict(list)
    while len(rows) < len(requests) or batch.rows:
        while len(rows) < len(requests) and batch.free:
            rows.append(batch.add(Row(requests[len(rows)], decoder.eos)))
        for row, r in batch.round():
            assert 0 <= r.accepted <= r.drafted <= r.proposed
            rounds[row].append((r.context, r.proposed, r.drafted, r.accepted, r.emitted, r.end))
    return [(row.tokens, rounds[row]) for row in rows]


class Scripted(Written):
    """Drafts as told: `plan(row)` gives (k, right), so many drafts of which the first `right` are the true text."""

    name = "scripted"

    def __init__(self, vocabulary, truth, plan, arrays=HOST):
        super().__init__(arrays, vocabulary)
        self.truth, self.plan = truth, plan

    def propose(self, rows, ks):
        drafts = [scripted(row, k, self) for row, k in zip(rows, ks, strict=True)]
        return Proposal(*self.arrays.one_hot(drafts, self._vocabulary), list(map(len, drafts)))


class Forced(ModelDraft):
    """A watched model draft whose steps are its own and whose tokens are those of a plan."""

    def __init__(self, model, truth, plan, arrays=HOST):
        super().__init__(arrays, model, GREEDY)
        self.truth, self.plan = truth, plan

    def propose(self, rows, ks):
        drafts = [scripted(row, k, self) for row, k in zip(rows, ks, strict=True)]
        most = max(map(len, drafts))
        steps = iter(np.array([(draft + [0] * most)[:most] for draft in drafts]).T)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(drafters, "draw", lambda q, v, *, xp: next(steps))
            proposal = super().propose(rows, list(map(len, drafts)))
        for slot, (row, draft) in enumerate(zip(rows, drafts, strict=True)):
            if any(drafts):
                assert self._model.texts[slot] == [*row.committed, *draft[:-1]], "the draft has not read the text"
        return proposal


def scripted(row, k, drafter):
    """What a plan drafts: the truth, then tokens that are not."""
    depth, right = drafter.plan(row)
    ahead = drafter.truth[tuple(row.request.prompt)][row.made : row.made + min(k, depth)]
    return [token if i < right else token ^ 1 for i, token in enumerate(ahead)]


class Watched(Model):
    """Asserts at every forward that each row stands behind its own text and that its logits are a fresh prefill's."""

    def __init__(self, loaded, **settings):
        super().__init__(loaded, **settings)
        self.texts = [[] for _ in self.lengths]
        self.fed = []

    def forward(self, tokens, *, keep=0, slot=0, counts=None):
        nested = np.asarray(tokens).reshape(-1, np.asarray(tokens).shape[-1]).tolist()
        starts = list(self.lengths[slot : slot + len(nested)])
        logits = super().forward(tokens, keep=keep, slot=slot, counts=counts)
        found = logits if logits.ndim == 3 else logits[None]
        for r, (fed, start) in enumerate(zip(nested, starts, strict=True)):
            count = len(fed) if counts is None else counts[r]
            text = self.texts[slot + r][:start] + fed[:count]
            assert len(text) == start + count == self.lengths[slot + r]
            self.texts[slot + r] = text
            self.fed.append((slot + r, start, fed[:count]))
            shown = min(found.shape[1], count) if found.shape[1] == len(fed) else count == len(fed)
            if shown:
                fresh = self._network(torch.tensor([text])).logits[0, :, : self.vocabulary]
                rows = found[r, :count] if found.shape[1] == len(fed) else found[r]
                torch.testing.assert_close(rows, fresh[-len(rows) :], rtol=1e-6, atol=1e-6)
        return logits

    def move(self, source, slot):
        super().move(source, slot)
        self.texts[slot] = self.texts[source]


# --- laws ------------------------------------------------------------------------------------------------------------


def joint_law(loaded, prompt, length, law, vocabulary=None):
    """{text: probability} of all texts of a length, `law(logits, output)` being the next token's."""
    size = vocabulary or loaded.rows
    texts = list(itertools.product(range(size), repeat=length))
    with torch.inference_mode():
        logits = loaded.network(torch.tensor([[*prompt, *text] for text in texts])).logits[..., :size].double().numpy()
    known = {}
    for text, rows in zip(texts, logits, strict=True):
        for i in range(length):
            if text[:i] not in known:
                known[text[:i]] = law(rows[len(prompt) - 1 + i], text[:i])
    return {text: np.prod([known[text[:i]][text[i]] for i in range(length)]) for text in texts}


def under(sampler):
    """The law of a sampler without processors."""
    return lambda logits, output, prompt: sampler(logits, xp=np)


def p_value(texts, law):
    """Pearson's chi-square; texts expected fewer than five times share a cell, an impossible one is conclusive."""
    counts = Counter(map(tuple, texts))
    if any(law[text] < 1e-12 for text in counts):
        return 0.0
    common = [text for text, mass in law.items() if len(texts) * mass >= 5]
    if len(common) == 1:
        return 1.0
    observed, expected = [counts[t] for t in common], [len(texts) * law[t] for t in common]
    rest = sum(law.values()) * len(texts) - sum(expected)
    if rest > 1e-9:
        observed, expected = [*observed, len(texts) - sum(observed)], [*expected, rest]
    return stats.chisquare(observed, expected).pvalue


# --- other models ----------------------------------------------------------------------------------------------------


class Recurrent:
    """h <- tanh(A h + E[x]), logits W h: the Model's forward and rewind over a state, kept behind every token."""

    name, vocabulary, capacity, borrows, device = "recurrent", 6, CAPACITY, False, torch.device("cpu")

    def __init__(self, rows=1):
        rng = np.random.default_rng(3)
        self._mix, self._taken, self._said = rng.normal(size=(8, 8)), rng.normal(size=(6, 8)), rng.normal(size=(8, 6))
        self.lengths, self._states = [0] * rows, [[np.zeros(8)] for _ in range(rows)]

    @property
    def length(self):
        return self.lengths[0]

    def forward(self, tokens, *, keep=0, slot=0, counts=None):
        fed = np.asarray(tokens).reshape(-1, np.asarray(tokens).shape[-1])
        logits = np.stack([self._row(slot + r, row) for r, row in enumerate(fed)])
        for r, row in enumerate(fed):
            kept = self.lengths[slot + r] + (len(row) if counts is None else counts[r])
            self.lengths[slot + r] = kept
            del self._states[slot + r][kept + 1 :]
        found = torch.from_numpy(logits[:, -keep:])
        return found if np.asarray(tokens).ndim > 1 else found[0]

    def _row(self, slot, row):
        for token in row:
            self._states[slot].append(np.tanh(self._states[slot][-1] @ self._mix + self._taken[token]))
        return np.stack(self._states[slot][-len(row) :]) @ self._said

    def rewind(self, length, slot=0):
        assert 0 <= length <= self.lengths[slot]
        del self._states[slot][length + 1 :]
        self.lengths[slot] = length

    def clear(self, slot):
        self.rewind(0, slot)

    def agreed(self, length, slot=0):
        return min(length, self.lengths[slot])

    def move(self, source, slot):
        self._states[slot], self.lengths[slot] = list(self._states[source]), self.lengths[source]


class Stale(Recurrent):
    """T18, planted: a rewind moves the length and leaves the state as the rejected drafts made it."""

    def rewind(self, length, slot=0):
        newest = self._states[slot][-1]
        super().rewind(length, slot)
        if length:
            self._states[slot][-1] = newest


def other(kind, context=256):
    """Random networks of other families: windows, layers of mixed kinds, learned positions."""
    common = {
        "vocab_size": 12, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2,
        "num_key_value_heads": 1, "max_position_embeddings": context, "pad_token_id": 0,
        "bos_token_id": None, "eos_token_id": None,
    }  # fmt: skip
    mixed = {"head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 5}
    gpt2 = {"vocab_size": 12, "n_embd": 16, "n_layer": 2, "n_head": 2, "bos_token_id": None, "eos_token_id": None}
    alternating = ["sliding_attention", "full_attention"] * 2
    config = {
        "llama": lambda: transformers.LlamaConfig(**common),
        "mistral": lambda: transformers.MistralConfig(**common, sliding_window=5),
        "gemma2": lambda: transformers.Gemma2Config(**common, **mixed),
        "gemma3": lambda: transformers.Gemma3TextConfig(**common, **mixed, layer_types=alternating),
        "gpt2": lambda: transformers.GPT2Config(**gpt2, n_positions=context),
        "gpt_neo": lambda: transformers.GPTNeoConfig(
            vocab_size=12, hidden_size=16, num_layers=2, num_heads=2, max_position_embeddings=context, window_size=5,
            attention_types=[[["global", "local"], 1]], bos_token_id=None, eos_token_id=None,
        ),
    }[kind]()  # fmt: skip
    torch.manual_seed(1)
    network = transformers.AutoModelForCausalLM.from_config(config).eval().double()
    with torch.no_grad():
        for weight in network.parameters():
            weight += 0.3 * torch.randn_like(weight)
    return Loaded(kind, network, None, frozenset(), context, 12)
