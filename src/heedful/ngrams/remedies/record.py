"""Records of a remedy suite: derived attention with one change at a time, compared with the counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from heedful.inference.mean_interval import FEWEST_FOR_CLAIM, Effect
from heedful.reporting.shown_record import ShownRecord, counted

DIFFUSE = 0.5
"""Entropy over its causal ceiling from which on attention counts as spread out, not focused."""


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Agreement of attention with one text's counts; averaged over seeds, then documents.

    Attributes:
        divergence: KL(expected || actual) in nats, rows from the second on.
        uniform: KL(expected || equal weights over the visible keys).
        skill: 1 less the quotient of their means: 1 exact, 0 as equal weights, negative worse.
        cosine: Of expected and actual rows.
        match: Share of rows whose most attended key is among those most expected, copies of a token counting alike.
        chance: Share of visible keys that would match.
    """

    divergence: Effect
    uniform: Effect
    skill: Effect
    cosine: Effect
    match: Effect
    chance: Effect


@dataclass(frozen=True, kw_only=True)
class Step:
    """Difference between a variant and the variant that it modifies.

    Attributes:
        against: Name of the earlier variant.
        gain: Its divergence less this variant's, in nats, paired by document: above 0 this change helps.
        p: Adjusted for all steps of the suite; NaN where no document could tell.
    """

    against: str
    gain: Effect
    p: float


@dataclass(frozen=True, kw_only=True)
class Remedy:
    """One measured variant of the suite.

    Attributes:
        name: Its word.
        group: What kind of change it is.
        change: What it does, in words.
        n: Tokens of the contexts whose counts it is held against.
        skip: Tokens between these contexts and what was counted.
        agreement: With the counts that it was derived from, or is held against.
        unseen: With the counts of other text; None where none were given.
        entropy: Of its rows over their causal ceiling, mean of the rows.
        seeds: Seeds averaged; of a model that was given, its folders that differ in nothing else.
        spread: Standard deviation over seeds of the mean divergence, in nats; NaN for one seed.
        factor: On its logits, at which it agrees best with pieces of text that are not measured; geometric mean.
        best: Mean divergence at that factor, on the text that is measured.
        step: Beside the variant that it changes; None where it changes none of the suite.
    """

    name: str
    group: str
    change: str
    n: int
    skip: int
    agreement: Agreement
    unseen: Agreement | None
    entropy: Effect
    seeds: int
    spread: float
    factor: float
    best: float
    step: Step | None

    @property
    def misaligned(self) -> bool:
        """Whether attention is focused on wrong keys: concentrated, yet with a skill below 0 by its whole interval."""
        skill = self.agreement.skill
        return skill.n >= FEWEST_FOR_CLAIM and skill.high < 0 and self.entropy.estimate < DIFFUSE


@dataclass(frozen=True, kw_only=True)
class HeadLoss:
    """Next-token loss of a single frozen head.

    Attributes:
        name: Its word.
        attends: Where it looks.
        takes: What it takes from there.
        loss: Held-out, nat a token, mixed with token frequencies.
        weight: Share of the head in the mixture, fitted on pieces of text that are not measured; NaN for frequencies.
        gain: Loss of the bigram less its own, paired by document.
        p: Of no gain, adjusted for all rows of the table; NaN for the bigram itself.
    """

    name: str
    attends: str
    takes: str
    loss: Effect
    weight: float
    gain: Effect
    p: float


@dataclass(frozen=True, kw_only=True)
class LearntEmbeddings:
    """Embedding drift during training, as recorded by the runs.

    Attributes:
        embeddings: ``frozen``, which go nowhere, ``trainable``, or ``linked``: attention follows them.
        step: The last that was recorded.
        change: By seed, norm of their change over that of what they were.
        cosine: By seed, of a token's vector with what it was, mean over tokens.
    """

    embeddings: str
    step: int
    change: Sequence[float]
    cosine: Sequence[float]


@dataclass(frozen=True, kw_only=True)
class GivenModel:
    """A model that the user gave, or several that differ only in their seed.

    Attributes:
        name: Its word, with which the names of its variants begin.
        told: What it is.
        folders: Where it came from, one a seed.
        against: Word of the given model that it changes; empty where it changes none.
        learnt: Of its embeddings; None where no run recorded them.
    """

    name: str
    told: str
    folders: Sequence[str]
    against: str
    learnt: LearntEmbeddings | None


@dataclass(frozen=True, kw_only=True, repr=False)
class AblationSuite(ShownRecord):
    """All remedies measured on one text.

    Attributes:
        counts: Where the counts came from.
        unseen: Where the counts of other text came from, or None.
        text: Where the measured text came from.
        text_was_counted: Whether it is among those that were counted: ``yes``, ``partly`` or ``unknown``.
        vocabulary: Tokens there are.
        width: Of the embeddings, where a variant names no other.
        length: Tokens of a piece of text.
        sequences: Pieces measured.
        documents: Documents they are of.
        seeds: Seeds averaged.
        rows: Rows with an expectation, of all rows from the second on, as a share.
        remedies: In order.
        losses: In order.
        models: That were given, in order.
        skipped: Name of a variant to why it was not measured.
        notes: What was odd about the text.
    """

    schema: ClassVar[str] = "heedful.remedies/1"
    page_by: ClassVar[str] = "heedful.ngrams.remedies.page:remedy_page"

    counts: str
    unseen: str | None
    text: str
    text_was_counted: str = "unknown"
    vocabulary: int
    width: int
    length: int
    sequences: int
    documents: int
    seeds: int
    rows: float
    remedies: Sequence[Remedy]
    losses: Sequence[HeadLoss]
    models: Sequence[GivenModel]
    skipped: dict[str, str]
    notes: Sequence[str]

    def one_line(self) -> str:
        """Return one line with the counts' name and the numbers of variants and documents."""
        more = f", {len(self.skipped)} left out" if self.skipped else ""
        measured = counted(len(self.remedies), "variant")
        return f"{self.counts}: {measured}{more}, {counted(self.documents, 'document')}"
