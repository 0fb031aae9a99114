"""What a profile says of its drafts, checked against counts made by hand and by the decoder's own rounds."""

import dataclasses
from itertools import count

import numpy as np
import pytest

pytest.importorskip("torch")

from specmath.cost import Pair, Table
from specmath.estimate import ratio
from specmath.replay import Replay
from tests.written import drafts
from validate.offsets import NGrams, ngram_draft
from validate.pricing import priced
from validate.profile import DraftProfile, by_context, by_copy, by_position, origin, pairs
from validate.scores import TILTS, DraftScores, Score
from validate.texts import Text

RNG, OWN = np.random.default_rng(0), count()


def text(name="p", *, context=5, tokens=6, domain="d", end=None, output=None):
    output = output or tuple(RNG.integers(50, size=tokens + 1).tolist())
    return Text(name, domain, (1000 + next(OWN), *range(100, 99 + context)), output, end)


def profile(ratios, *, texts=None, betas=None, lengths=None, greedy=True, k_max=3, name="D"):
    ratios = tuple(np.array(r, dtype=float) for r in ratios)
    texts = texts or tuple(text(str(i), tokens=r.shape[-1]) for i, r in enumerate(ratios))
    lengths = lengths and tuple(map(np.array, lengths))
    betas = betas and tuple(map(np.array, betas))
    return DraftProfile(DraftScores(name, "one_hot", ratios, betas, lengths), tuple(texts), greedy, k_max)


class TestAlpha:
    def test_a_greedy_model_draft_is_accepted_where_it_agrees(self):
        found = profile([[1, 0, 1, 1], [0, 1]]).alpha
        assert (found.value, found.prompts) == (pytest.approx(4 / 6), 2)

    def test_a_sampled_one_by_the_mean_of_its_chances_and_not_of_its_coins(self):
        found = profile([[2.0, 0.1], [0.5, 0.5]], betas=[[0.9, 0.2], [0.6, 0.7]], greedy=False).alpha
        assert found.value == pytest.approx(0.6)

    def test_where_nothing_was_drafted_nothing_was_tested(self):
        found = profile([[1, 0, 0, 0]], lengths=[[9, 9, 0, 0]]).alpha
        assert found.value == pytest.approx(1 / 2)

    def test_nothing_drafted_anywhere_has_no_alpha(self):
        assert profile([[0, 0]], lengths=[[0, 0]]).alpha is None
        assert profile([[[0, 0]] * 3], lengths=[[0, 0]]).alpha is None

    @pytest.mark.parametrize("seed", range(20))
    def test_by_offset_it_is_accepted_over_tested_in_the_rounds_that_happen(self, seed):
        """Counted by walking the rounds one by one."""
        rng, n, k = np.random.default_rng(seed), 12, 3
        ratios, lengths = rng.integers(2, size=(k, n)), rng.integers(k + 1, size=n)
        for start in range(n):
            for i in range(lengths[start], k):
                if start + i < n:
                    ratios[i, start + i] = 0
        at = accepted = tested = 0
        while at < n:
            taken = 0
            while taken < min(lengths[at], n - at):
                tested += 1
                if not ratios[taken, at + taken]:
                    break
                taken += 1
            accepted += taken
            at += taken + 1
        found = profile([ratios], lengths=[lengths]).columns
        assert (found[0][0], found[1][0]) == (pytest.approx(accepted), pytest.approx(tested))


def test_block_verification_gains_rounds_where_the_target_samples_and_nothing_where_it_is_greedy():
    coins = [RNG.lognormal(size=40) for _ in range(6)]
    sampled = profile(coins, betas=[np.minimum(c, 1) for c in coins], greedy=False)
    gain = sampled.block_gain(3)
    assert gain.value == pytest.approx(sampled.replay.rounds(3).sum() / sampled.replay.rounds(3, "block").sum())
    assert gain.value > 1
    assert profile([[1, 0, 1]]).block_gain(3) is None


class TestPairs:
    def test_the_better_draft_comes_first_and_the_difference_is_paired_by_text(self):
        easy = RNG.uniform(0.1, 0.9, size=12)
        a = [RNG.random(80) < min(e + 0.1, 1) for e in easy]
        b = [RNG.random(80) < e for e in easy]
        ((first, second, found),) = pairs([profile(b, name="B"), profile(a, name="A")])
        assert (first, second) == ("A", "B")
        assert found.value == pytest.approx(np.concatenate(a).mean() - np.concatenate(b).mean())
        assert found.low > 0
        alone = [ratio([x.sum() for x in side], [80] * 12) for side in (a, b)]
        assert found.half_width < 0.5 * sum(e.half_width**2 for e in alone) ** 0.5


class TestParts:
    def test_places_in_the_response_are_counted_from_its_first_round(self):
        n = 40
        found = dict(by_position(profile([np.arange(n) < 16])))
        assert found[1, 16].value == 1
        assert found[17, 32].value == found[33, 64].value == 0
        assert found[129, None] is None

    def test_prompts_go_to_the_band_of_their_length(self):
        texts = (text("a", context=128, tokens=2), text("b", context=129, tokens=2), text("c", context=2000, tokens=2))
        found = {band: part.alpha.value for band, part in by_context(profile([[1, 1], [0, 1], [0, 0]], texts=texts))}
        assert found == {(1, 128): 1.0, (129, 512): 0.5, (1537, None): 0.0}

    def test_copyable_tokens_stand_in_the_prompt_behind_the_same_three(self):
        one = Text("p", "d", (1, 2, 3, 4, 5, 6), (9, 1, 2, 3, 4, 7), None)
        share, copied, others = by_copy(profile([[0, 0, 0, 1, 1]], texts=(one,)))
        assert share == pytest.approx(1 / 5)
        assert (copied.value, others.value) == (1.0, pytest.approx(1 / 4))


class TestUnits:
    """Repeats of a prompt and later turns of a conversation are no new evidence: their texts are one unit."""

    def test_every_interval_takes_conversations_as_its_units(self):
        rng = np.random.default_rng(4)
        coins = [(rng.random(30) < 0.5).astype(float) for _ in range(6)]
        asked = [(7,), (7,), (8,), (8, 1, 2), (9,), (6,)]
        texts = [Text(str(i), "d", c, tuple(range(31))) for i, c in enumerate(asked)]
        merged = [np.concatenate(coins[:2]), np.concatenate(coins[2:4]), *coins[4:]]
        found = profile(coins, texts=texts)
        assert found.alpha == ratio(
            [c.sum() for c in merged], [len(c) for c in merged], method="mean acceptance of a token", bounds=(0.0, 1.0)
        )
        rounds = [
            sum(Replay([c]).rounds(2)[0] for c in group) for group in (coins[:2], coins[2:4], coins[4:5], coins[5:])
        ]
        expected = ratio([60, 60, 30, 30], rounds, method="tokens / replayed rounds", bounds=(1.0, 3.0))
        assert found.block_efficiency(2) == expected
        assert found.share([np.ones(30, dtype=bool)] * 6).prompts == 4
        wide = Table([1, 2, 3] * 2, [1] * 6, [0] * 3 + [99] * 3, [1.0, 1.1, 1.2] * 2, provenance="measured")
        assert found.speedup(2, Pair(wide)).prompts == 4

    def test_four_samples_of_a_prompt_cover_as_ten_prompts_do_and_not_as_forty(self):
        """Planted: taken one by one, 95 % intervals of prompts that differ hold 71 times in a hundred."""
        rng, inside, naive = np.random.default_rng(5), 0, 0
        for _ in range(200):
            means = rng.beta(7, 3, size=10).repeat(4)
            coins = [(rng.random(40) < mean).astype(float) for mean in means]
            texts = [Text(str(i), "d", (i // 4,), tuple(range(41))) for i in range(40)]
            found = profile(coins, texts=texts).alpha
            alone = ratio([c.sum() for c in coins], [40] * 40)
            inside += found.low <= 0.7 <= found.high
            naive += alone.low <= 0.7 <= alone.high
        assert inside >= 182
        assert naive < 165


class TestOrigin:
    def test_a_greedy_token_that_is_not_the_argmax_is_foreign_unless_it_ties(self):
        score = a_score(own=[True, False, False], tied=[False, True, False], gap=[0.0, 1e-4, 2.0])
        found = origin([score], greedy=True)
        assert (found.foreign, found.ties, found.widest_tie, found.own) == (1, 1, 1e-4, False)
        assert origin([dataclasses.replace(score, own=np.ones(3, dtype=bool))], greedy=True).own
        assert origin([dataclasses.replace(score, tied=~score.own)], greedy=True).own

    @staticmethod
    def drawn(rng, power, tokens=400, vocabulary=20):
        """Tokens drawn from p^power, scored under p."""
        p = rng.dirichlet(np.full(vocabulary, 0.3), size=tokens)
        law = p**power / (p**power).sum(-1, keepdims=True)
        at = np.arange(tokens), np.array([rng.choice(vocabulary, p=row) for row in law])
        return scored_under(p, p[at])

    def test_the_targets_own_text_has_a_standard_normal_z(self):
        rng = np.random.default_rng(1)
        found = [origin([self.drawn(rng, 1.0)], greedy=False) for _ in range(300)]
        z = np.array([f.z for f in found])
        assert abs(z.mean()) < 4 / 300**0.5
        assert 0.8 < z.std() < 1.2
        assert all(f.own for f in found)

    @pytest.mark.parametrize("tokens", [63, 504, 3528])
    @pytest.mark.parametrize("rare", [0.01, 0.003, 0.001])
    def test_text_that_is_nearly_certain_is_not_taken_for_foreign(self, rare, tokens):
        """A normal test does: log p is skewed where one token has nearly all of the mass."""
        law = np.array([1 - rare, 0.7 * rare, 0.3 * rare])
        each = [scored_under(law[None], law[[i]]) for i in range(3)]
        counts = np.random.default_rng(3).multinomial(tokens, law, size=4000)
        evidence = counts @ np.stack([s.evidence for s in each])
        alarms = sum(not origin([a_score(own=[True], evidence=e)], greedy=False).own for e in evidence)
        assert alarms <= 4  # 0.4 expected at most; more than 4 has a chance below 1e-4
        far = counts @ np.array([s.logp[0] + s.entropy[0] for s in each]) / (tokens * each[0].varentropy[0]) ** 0.5
        if (rare, tokens) == (0.003, 63):
            assert (abs(far) > 4).sum() > 20

    @pytest.mark.parametrize("power", [0.7, 1.5, 8.0], ids=["hotter", "colder", "nearly greedy"])
    def test_text_of_another_temperature_is_found_out(self, power):
        rng = np.random.default_rng(2)
        assert not any(origin([self.drawn(rng, power)], greedy=False).own for _ in range(20))


def a_score(**columns):
    n = len(columns["own"])
    zeros = {name: np.zeros(n) for name in ("logp", "entropy", "varentropy", "gap")}
    given = {name: np.asarray(value) for name, value in columns.items()}
    return Score(
        "p", **(zeros | {"tied": np.zeros(n, dtype=bool), "evidence": np.zeros(len(TILTS))} | given), drafts={}
    )


def scored_under(p, chance):
    """The score of tokens of these chances under laws p [n, V]."""
    log = np.log(np.where(p > 0, p, 1))
    entropy = -(p * log).sum(-1)
    evidence = [(t * np.log(chance) - np.log((p * np.exp(t * log)).sum(-1))).sum() for t in TILTS]
    columns = {"logp": np.log(chance), "entropy": entropy, "varentropy": (p * log**2).sum(-1) - entropy**2}
    return a_score(**columns, own=chance > 0, evidence=evidence)


class TestPrices:
    """A table whose every forward has its own price, so that a wrong one shows."""

    COLUMNS = tuple(
        np.array(column)
        for column in (
            [1, 2, 3, 4] * 2,
            [1] * 8,
            [0] * 4 + [1000] * 4,
            [1.0, 1.5, 1.75, 2.5, 2.0, 2.5, 2.75, 3.5],
        )
    )
    TARGET = Table(*COLUMNS, provenance="measured")
    OVERHEADS = (0.0, 0.0625, 0.25, 0.5)
    DRAFT = Table([1, 2] * 2, [1] * 4, [0, 0, 1000, 1000], [0.25, 0.375, 0.25, 0.375], provenance="measured")

    def walked(self, accepted, n, context, pair, k, *, budget, lengths=None):
        """(draft, verify, overhead, plain) seconds of the rounds, one after another."""
        at, late, sums = 0, False, np.zeros(3)
        while at < n:
            depth = min(k, n - at - 1 if budget else k, lengths[at] if lengths is not None else k)
            place = context + 1 + at
            if depth:
                draft = depth * 0.25 + (0.125 if late else 0) if pair.draft else 0
                sums += draft, self.TARGET.seconds(depth + 1, context=place), pair.overhead[depth]
            else:
                sums[1] += self.TARGET.seconds(1, context=place)
            taken = 0
            while taken < min(k, n - at) and accepted[taken][at + taken]:
                taken += 1
            late = taken == k
            at += taken + 1
        return [*sums, sum(self.TARGET.seconds(1, context=context + 1 + j) for j in range(n))]

    @pytest.mark.parametrize("end", ["budget", "eos"])
    @pytest.mark.parametrize("k", [1, 2, 3])
    def test_a_model_drafts_rounds_cost_what_they_cost_one_by_one(self, k, end):
        coins = np.array([1, 1, 1, 0, 1, 1, 0, 0, 1, 1, 1, 1])
        pair, one = Pair(self.TARGET, self.DRAFT, overhead=self.OVERHEADS), text(context=50, tokens=12, end=end)
        found = profile([coins], texts=(one,))
        parts = priced(found.replay, found.draft, (one,), pair, k)
        expected = self.walked([coins] * k, 12, 50, pair, k, budget=end == "budget")
        np.testing.assert_allclose([parts.draft[0], parts.verify[0], parts.overhead[0], parts.plain[0]], expected)
        np.testing.assert_allclose(found.speedup(k, pair).value, expected[3] / sum(expected[:3]))

    def test_a_lookup_pays_for_what_it_found_and_nothing_for_a_miss(self):
        coins = np.array([[1, 0, 0, 1, 0, 1], [0, 1, 0, 0, 1, 0]])
        lengths = np.array([2, 1, 0, 2, 1, 1])
        pair, one = Pair(self.TARGET, overhead=self.OVERHEADS), text(context=50, tokens=6)
        found = profile([coins], texts=(one,), lengths=[lengths], k_max=2)
        parts = priced(found.replay, found.draft, (one,), pair, 2)
        expected = self.walked(coins, 6, 50, pair, 2, budget=False, lengths=lengths)
        np.testing.assert_allclose([parts.draft[0], parts.verify[0], parts.overhead[0], parts.plain[0]], expected)

    def test_a_round_that_the_budget_cut_short_is_verified_at_the_next_larger_length_measured(self):
        """k = 3 over n = 1, 2, 4: two drafts before the budget are verified at the price of three, drafted as two."""
        coins, kept = np.array([0, 0, 0, 0, 0, 0]), [0, 1, 3, 4, 5, 7]
        sparse = Table(*(column[kept] for column in self.COLUMNS), provenance="measured")
        pair, one = Pair(sparse, self.DRAFT, overhead=self.OVERHEADS), text(context=50, tokens=6, end="budget")
        found = profile([coins], texts=(one,))
        parts = priced(found.replay, found.draft, (one,), pair, 3)
        verify = [self.TARGET.seconds(n, context=51 + at) for at, n in enumerate((4, 4, 4, 4, 2, 1))]
        assert parts.verify[0] == pytest.approx(sum(verify))
        assert parts.draft[0] == pytest.approx(0.25 * (3 + 3 + 3 + 2 + 1))
        assert parts.overhead[0] == pytest.approx(3 * 0.5 + 0.25 + 0.0625)

    def test_only_the_budget_may_cut_a_round_to_a_length_that_was_not_measured(self):
        sparse = Pair(Table(*(column[[0, 1, 3, 4, 5, 7]] for column in self.COLUMNS), provenance="measured"))
        budget = (text(context=50, tokens=6, end="budget"),)
        assert profile([np.zeros(6)], texts=budget).speedup(3, sparse) is not None
        assert profile([np.zeros(6)], texts=budget).speedup(2, sparse) is None, "full depth"
        found_two = profile([np.zeros((3, 6))], texts=budget, lengths=[[2, 0, 0, 0, 0, 0]])
        assert found_two.speedup(3, sparse) is None, "the draft found no more"
        assert profile([np.zeros(6)], texts=(text(context=2000, end="budget"),)).speedup(3, sparse) is None, "context"

    @pytest.mark.parametrize("k", [1, 2, 3])
    def test_n_grams_pay_for_every_draft_of_a_round_and_nothing_where_they_know_none(self, k):
        """Tokens 1 to 3 follow each other in the other text; nothing follows 9, and 8 was never seen."""
        one = Text("one", "d", (7, 1, 2), (3, 1, 2, 3, 9, 8, 3, 1, 2, 2, 3, 1, 1), "eos")
        other = Text("other", "d", (1, 2, 3), (1, 2, 3, 1, 2, 3), "eos")
        pair, drafter = Pair(self.TARGET, overhead=0.0625), NGrams([one, other], 10).of(one)
        expected, at = np.zeros(3), 0
        while at < one.tokens:
            committed = [*one.context, *one.output[: at + 1]]
            proposed = drafts(drafter, committed, k)
            assert len(proposed) in (0, k)
            expected[1] += self.TARGET.seconds(len(proposed) + 1, context=len(committed))
            expected[2] += pair.overhead * bool(proposed)
            agreed = [a == b for a, b in zip(proposed, one.output[at + 1 :], strict=False)]
            at += (*agreed, False).index(False) + 1
        draft = ngram_draft([one, other], 10).of([0])
        parts = priced(Replay(draft.ratios), draft, (one,), pair, k)
        np.testing.assert_allclose([parts.draft[0], parts.verify[0], parts.overhead[0]], expected)
        assert not draft.lengths[0].all()

    def test_a_depth_that_was_never_measured_has_no_speedup(self):
        found = profile([np.ones(9)], k_max=8)
        assert found.speedup(4, Pair(self.TARGET)) is None
        assert found.speedup(3, Pair(self.TARGET)) is not None
