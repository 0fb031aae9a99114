"""The acceptance rules of speculative sampling: pure functions over arrays, the same in proof and in use.

The words, here and in the whole project:

drafted    the tokens a round proposes, drawn one after another from the draft's laws q
accepted   how many of them, counted from the left, stand under the target's laws p
residual   the law after a rejection: max(p - q, 0), normalised
recovered  the token drawn from the residual at the first rejection
bonus      the token drawn from p after the last drafted one, if none was rejected
emitted    what the round adds to the text: the accepted tokens and the recovered or bonus one, accepted + 1
node       a drafted token in a tree; siblings are the nodes that continue the same one

The rule (Leviathan et al. 2023, Algorithm 1; Chen et al. 2023, Algorithm 2): accept x with probability
min(1, p(x) / q(x)), stop at the first rejection, draw from the residual there. What is emitted then has exactly the
target's law, whatever q is, as long as the tokens were drawn from it. A bonus is what is recovered against a draft
row of zeros, so one line draws both. Greedy decoding, prompt lookup and top-k heads are one-hot rows, no branches:
against a one-hot q the token y is accepted with probability p(y).

    verify        a chain, token by token
    verify_block  a chain, judged as a whole: exact too, and never accepts fewer on average
    verify_tree   a tree of drafts, sibling after sibling
    verify_k_seq  independent drafts at one position, all under one test
    lossy_*       change the law of the text, and say by how much: `lossy_*_law`

Another exact rule needs no code of its own: draw y from p, emit it whatever was drafted, and go on below the draft
that equals y, if one does. It accepts with sum p q, as `verify` does with one-hot rows for drawn tokens. What is
not exact is to compare with one draw and emit another on a mismatch (disputed in ml-explore/mlx-swift-lm PR 459 and
lablup/mlxcel PR 992; the enumeration in the tests settles it).

Nothing random is hidden: the uniforms are arguments, so that a test can integrate over them. `xp` is the
array library, as in `sampling`; numpy object arrays of `fractions.Fraction` pass through the same lines.
Floating rows are compared and summed in double precision.

A row that cannot be drawn from (a NaN, nothing above 0) raises ValueError and is named. A device with its own
memory is never waited for: there such a row ends as accepted = -1 with no token at all, to be looked for when
`accepted` comes to the host. A NaN that decides nothing, behind the first rejection, is not looked for.
"""

from specmath.acceptor.block import verify_block
from specmath.acceptor.chain import verify
from specmath.acceptor.drawing import draw, residual
from specmath.acceptor.k_seq import verify_k_seq
from specmath.acceptor.lossy import (
    LossyLaw,
    lossy_lenience,
    lossy_lenience_law,
    lossy_synthetic,
    lossy_synthetic_law,
    lossy_typical,
    lossy_typical_law,
)
from specmath.acceptor.rows import Verdict
from specmath.acceptor.tree import verify_tree

__all__ = [
    "LossyLaw",
    "Verdict",
    "draw",
    "lossy_lenience",
    "lossy_lenience_law",
    "lossy_synthetic",
    "lossy_synthetic_law",
    "lossy_typical",
    "lossy_typical_law",
    "residual",
    "verify",
    "verify_block",
    "verify_k_seq",
    "verify_tree",
]
