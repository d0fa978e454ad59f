"""Records of comparing attention with the attention that counts predict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from heedful.inference.mean_interval import Effect
from heedful.reporting.shown_record import ShownRecord, counted

ROUNDING = 1e-9
"""Nats: divergences and their differences below it are rounding. No skill is told by such a divergence to uniform."""


@dataclass(frozen=True, kw_only=True)
class UnseenAgreement:
    """One head's agreement with counts and held-out counts, on rows that both predict; means over documents.

    Attributes:
        skill: As that of ``HeadAlignment``, on these rows.
        unseen_skill: The skill by the held-out counts.
        memory: Skill by the counts less skill by the held-out ones, paired by document: what agrees with the one text
            alone.
        rows: Such rows, of all rows from the second on, as a share.
    """

    skill: Effect
    unseen_skill: Effect
    memory: Effect
    rows: float


@dataclass(frozen=True, kw_only=True)
class HeadAlignment:
    """One head's agreement with the attention that a count table predicts; means over documents.

    Attributes:
        layer: Layer index in the order of calls.
        path: Module path of the layer.
        head: Query head.
        n: Tokens of the table's contexts.
        skip: Tokens between a context and the token it speaks of.
        divergence: KL(expected || actual) in nats.
        uniform: KL(expected || uniform over the visible keys).
        frequency: KL(expected || attention by how often each key's token was counted, whatever the context).
        gain: ``uniform - divergence``: above 0 better than uniform attention, below 0 worse.
        skill: ``gain`` over ``uniform``, judged as one quotient: 1 exact, 0 as uniform attention, negative worse; NaN
            where the counts expect equal weights of every row.
        over_frequency: ``frequency - divergence``: above 0 better than attention by frequency.
        p: That the head is no better than one of the two, adjusted for all heads and tables together.
        cosine: Of expected and actual rows.
        match: Share of rows whose most attended key is among those most expected.
        chance: Share of visible keys that would match.
        unseen: Beside held-out counts; None where there are none, or no row has both expectations.
    """

    layer: int
    path: str
    head: int
    n: int
    skip: int
    divergence: Effect
    uniform: Effect
    frequency: Effect
    gain: Effect
    skill: Effect
    over_frequency: Effect
    p: float
    cosine: Effect
    match: Effect
    chance: Effect
    unseen: UnseenAgreement | None = None

    @property
    def frequency_skill(self) -> float:
        """Skill of attention by token frequency alone, the baseline for a head that uses no context."""
        size = self.uniform.estimate
        return 1 - self.frequency.estimate / size if size > ROUNDING else float("nan")


@dataclass(frozen=True, kw_only=True)
class DrawnHead:
    """One head's weights on the drawn excerpt.

    Attributes:
        layer: Layer index.
        head: Query head.
        why: Why it was chosen, in a few words.
        skill: On all the text, by the drawn table.
        weights: ``(query, key)``, 0 behind the query.
    """

    layer: int
    head: int
    why: str
    skill: float
    weights: Sequence[Sequence[float]]


@dataclass(frozen=True, kw_only=True)
class DrawnPiece:
    """Expected and actual weights on a short excerpt of the text.

    Attributes:
        tokens: Text of each token: data, to be escaped where it is shown.
        n: Tokens in a context of the table that the expectation is of.
        skip: Its skip.
        expected: ``(query, key)``, 0 behind the query; NaN in rows without an expectation.
        heads: Those drawn.
    """

    tokens: Sequence[str]
    n: int
    skip: int
    expected: Sequence[Sequence[float]]
    heads: Sequence[DrawnHead]


@dataclass(frozen=True, kw_only=True, repr=False)
class Alignment(ShownRecord):
    """Agreement of a model's heads with the attention predicted by n-gram counts.

    Attributes:
        model: Its name.
        counts: Where the counts came from.
        held_out: Where the held-out counts came from; empty where there are none.
        counted_tokens: Tokens of the counts, and of the held-out counts; 0 where unknown.
        text_was_counted: Whether the text is among those that were counted: ``yes``, ``partly`` or ``unknown``.
        rows: Rows with an expectation, of all rows from the second on, as a share; by table ``(n, skip, share)``.
        sequences: Sequences read.
        documents: Documents they are of.
        heads: One record a head and table, in order of layer, head and table.
        piece: A short piece drawn; None where no row of it has an expectation.
        unmet: Path to why its attention could not be met.
    """

    schema: ClassVar[str] = "heedful.alignment/1"
    page_by: ClassVar[str] = "heedful.ngrams.alignment.page:alignment_page"

    model: str
    counts: str
    held_out: str = ""
    counted_tokens: tuple[int, int] = (0, 0)
    text_was_counted: str = "unknown"
    rows: Sequence[tuple[int, int, float]]
    sequences: int
    documents: int
    heads: Sequence[HeadAlignment]
    piece: DrawnPiece | None = None
    unmet: dict[str, str]

    def one_line(self) -> str:
        """Return one line with the model and the numbers of heads and count tables."""
        heads = len({(one.layer, one.head) for one in self.heads})
        return f"{self.model}: {counted(heads, 'head')} compared with {counted(len(self.rows), 'table')}"
