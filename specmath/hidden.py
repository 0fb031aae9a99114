"""Ordered rounds under a hidden chain of states: how likely is what was accepted and rejected?

Every output position of a prompt has a state; a draft tested there is accepted with the alpha of that state, and
the next position's state follows by the transition matrix. A rejected draft leaves its position to the recovered
token, and the token after the last accepted draft takes a position whose coin nobody saw. With P the transition,
D = diag(alpha) P and R = diag(1 - alpha) P, a round is the matrix

    D^a R    accepted a drafts and rejected the next         D^a P    accepted all a it drafted, a = 0 included

and a prompt the product of its rounds, from the law of its first position (the forward algorithm of Rabiner 1989,
equations 19 to 21, a round at a time).
"""

import numpy as np

from specmath.tally import Rounds

NOTHING = 0  # the code of no round; 1 + 2a is a round that ran out at a, 2 + 2a one that rejected after a


def prompt_rows(rounds: Rounds):
    """The row of the tally that each round belongs to: prompts as they first appear."""
    _, first, row = np.unique(rounds.prompt, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[row]


def coded(rounds: Rounds):
    """The rounds of each prompt in order, as codes [P, n], n a power of two; prompts as in the tally."""
    row = prompt_rows(rounds)
    counts = np.bincount(row)
    order = np.argsort(row, kind="stable")
    place = np.empty(len(row), dtype=int)
    place[order] = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    codes = np.full((len(counts), 1 << int(counts.max(initial=1) - 1).bit_length()), NOTHING)
    codes[row, place] = 1 + 2 * rounds.accepted + (rounds.accepted < rounds.drafted)
    return codes


def forward(alphas, transition, start, codes):
    """By prompt, of codes [P, n] under states with these alphas [s], transition [s, s] and first law start [s]."""
    transition, alphas = np.asarray(transition, dtype=float), np.asarray(alphas, dtype=float)
    steps = _rounds(alphas, transition, int(codes.max(initial=0))).take(codes, axis=-1)
    logs = np.zeros(len(codes))
    with np.errstate(divide="ignore"):
        while steps.shape[-1] > 1:
            steps = np.einsum("ij...,jk...->ik...", steps[..., ::2], steps[..., 1::2])
            largest = steps.max(axis=(0, 1))
            steps = steps / np.where(largest > 0, largest, 1)
            logs = logs + np.log(largest).sum(axis=-1)
        return logs + np.log(np.einsum("i,ijp->p", np.asarray(start, dtype=float), steps[..., 0]))


def _rounds(alphas, transition, highest):
    """The matrices [s, s, codes] of every round up to the highest code."""
    accept, reject = alphas[:, None] * transition, (1 - alphas)[:, None] * transition
    power, matrices = np.eye(len(alphas)), [np.eye(len(alphas))]
    for _ in range(0, highest, 2):
        matrices += [power @ transition, power @ reject]
        power = power @ accept
    return np.stack(matrices, axis=-1)
