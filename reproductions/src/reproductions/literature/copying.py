"""Claims on heads that copy: induction, what feeds it, and heads that retrieve."""

from __future__ import annotations

import numpy as np

from heedful.evaluation.result import Finding
from heedful.inference.interval import Interval
from reproductions.deciding import above, below, beside
from reproductions.evidence import Measurements
from reproductions.literature.tables import DECODER, Values, claimed, mean, measured, share, values

OLSSON = "Olsson et al. 2022, arXiv:2209.11895"
ELHAGE = "Elhage et al. 2021, A Mathematical Framework for Transformer Circuits, induction heads"
WU = "Wu et al. 2024, arXiv:2404.15574"
DRAWN = 48_152
"""Tokens that random text is drawn from, all alike."""
RETRIEVES, FEW = 0.1, 0.05
LOST, KEPT = 0.5, 0.9
"""Share of copies that must be lost for a failure, and kept for none."""


@claimed(
    section=f"{OLSSON}, argument 3",
    sentence="Without its induction heads a model loses most of what repetition tells it.",
    figure="attention-only models of 2 to 6 layers",
)
def induction_heads_use_repetition(evidence: Measurements) -> list[Finding]:
    """Loss of the second copy of random tokens, without them and without as many others."""
    found = measured(evidence, "induction")
    intact, without, other = (
        values(found, f"repeats_{name}") for name in ("intact", "without_induction", "without_others")
    )
    gained = float(np.log(DRAWN) - intact.mean())
    message = (
        f"Rise of the loss of the second copy of 32 random tokens without the {len(found['induction_heads'])} of "
        f"{found['heads']} heads that other repeats name, less that without as many others of their layers (mean of "
        f"three draws): {DECODER}."
    )
    null = f"0; the threshold is half of what the second copy gains over chance, {gained:.2f} nat"
    return [
        above(mean(without - other), gained / 2, message, unit="nat/token", null=null),
        beside(mean(other - intact), "Rise without as many others.", unit="nat/token"),
        beside(mean(without - intact), "Rise without induction heads.", unit="nat/token"),
    ]


@claimed(
    section=f"{OLSSON}, argument 3",
    sentence="Induction heads make most of in-context learning: without them late tokens gain less from context.",
    figure="loss of token 500 less that of token 50: about -.4 nat; small attention-only models lose most of it",
)
def induction_heads_make_context_useful(evidence: Measurements) -> list[Finding]:
    """Loss of tokens 192 to 255 less that of tokens 25 to 56, on text: what is lost of it, beside other heads."""
    found = measured(evidence, "induction")
    intact, without, other = (
        values(found, f"text_{name}") for name in ("intact", "without_induction", "without_others")
    )
    half = -float(intact.mean()) / 2
    message = (
        "Loss of tokens 192 to 255 less that of tokens 25 to 56 of a text without induction heads, less the same "
        f"without as many others: {DECODER}. Tokens 50 and 500 alone, as in the paper, are too noisy here."
    )
    return [
        above(mean(without - other), max(half, 0.0), message, unit="nat/token",
              null=f"0; the threshold is half of the gain, {2 * half:.2f} nat"),
        beside(mean(intact), "With all heads: below 0 where context helps.", unit="nat/token"),
    ]  # fmt: skip


@claimed(
    section=f"{ELHAGE}; {OLSSON}",
    sentence="Induction heads rest on heads of earlier layers that look at the previous token.",
    figure="2-layer attention-only model: K-composition",
)
def previous_token_heads_feed_induction(evidence: Measurements) -> list[Finding]:
    """Induction mass with uniform attention in the previous-token heads before them, and in as many others."""
    found = measured(evidence, "induction")
    intact, without, other = (
        values(found, f"mass_{name}") for name in ("intact", "without_previous", "without_others")
    )
    message = (
        f"Fall of the mass of induction heads when the {len(found['previous_heads'])} previous-token heads of earlier "
        f"layers attend uniformly, less the fall with as many others of their layers (mean of three draws): {DECODER}."
    )
    half = float(intact.mean()) / 2
    return [
        above(
            mean(other - without), half, message, unit="mass", null=f"0; the threshold is half of the mass, {half:.2f}"
        ),
        beside(share(intact), "Their mass with all heads.", unit="mass"),
        beside(share(without), "Their mass without previous-token heads.", unit="mass"),
    ]


@claimed(
    section=WU,
    sentence="Retrieval heads are sparse: under 5 % of all heads.",
    figure="four model families: fewer than 5 % beyond a score of .1",
)
def retrieval_heads_are_sparse(evidence: Measurements) -> list[Finding]:
    """Share of heads whose most attended key is the token to copy at a tenth of the tokens or more."""
    found = measured(evidence, "retrieval")
    scores = values(found, "score_held")
    message = (
        f"Share of {scores.shape[1]} heads whose retrieval score is {RETRIEVES:g} or more: {DECODER}; bootstrap over "
        f"documents. Other documents name {len(found['retrieval_heads'])}."
    )
    return [below(_share_beyond(scores), FEW, message, unit="share", null="the paper's own figure")]


@claimed(
    section=WU,
    sentence="Without retrieval heads the model fails to find the needle; without others it does not.",
    figure="needle in a haystack: pruned retrieval heads make it fail, random others do not",
)
def retrieval_heads_find_the_needle(evidence: Measurements) -> list[Finding]:
    """Needle tokens predicted without the best 5 % of heads, and without as many that do not retrieve."""
    found = measured(evidence, "retrieval")
    intact, without, other = (values(found, f"copied_{name}") for name in ("intact", "without", "without_others"))
    known = float(intact.mean())
    words = f"the {len(found['left_out'])} best retrieval heads"
    message = f"Share of the needle's six words predicted without {words}: {DECODER}."
    return [
        below(share(without), LOST * known, message, unit="share", null=f"half of that with all heads, {known:.2f}"),
        above(share(other), KEPT * known, "The same without as many heads that do not retrieve, mean of three draws.",
              unit="share", null="nine tenths of that with all heads"),
        beside(share(intact), "With all heads.", unit="share"),
    ]  # fmt: skip


def _share_beyond(scores: Values, draws: int = 1999, seed: int = 0) -> Interval:
    """Share of heads beyond the score, with the interval of documents drawn anew."""
    random = np.random.default_rng(seed)
    drawn = [(scores[random.integers(0, len(scores), len(scores))].mean(0) >= RETRIEVES).mean() for _ in range(draws)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(float((scores.mean(0) >= RETRIEVES).mean()), float(low), float(high), len(scores), 0.95)
