"""Measure how well the saved default model predicts held-out text.

N-gram language-model baseline with interpolated modified Kneser-Ney smoothing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from heedful.training.king_james import Split
from heedful.training.token_windows import document_windows, encode

RIVAL_ORDERS = (2, 3, 4, 5)
FEWEST_KEYS = 8
"""Rows that see fewer keys say little of how spread attention is."""


@dataclass(frozen=True)
class Figures:
    """Numbers for the model card; losses are in nats per token of held-out text."""

    parameters: int
    documents: tuple[int, int]
    tokens: tuple[int, int]
    held_out_bytes: int
    loss: float
    loss_before_rounding: float
    loss_at_twice_the_length: float
    rivals: dict[int, float]
    entropy_shares: list[list[float]]

    def bits_per_byte(self, loss: float) -> float:
        """Convert a loss from nats per token to bits per byte of the held-out text."""
        return loss / math.log(2) * self.tokens[1] / self.held_out_bytes


def held_out_loss(model: PreTrainedModel, documents: Sequence[Sequence[int]], length: int) -> float:
    """Return the mean negative log likelihood of all tokens in the documents, in nats.

    Args:
        model: The language model, in evaluation mode.
        documents: Tokens of each document, without special ones.
        length: Tokens in a window.

    Returns:
        Nats per token; NaN where there is no token.
    """
    tokens = sum(map(len, documents))
    return math.fsum(document_losses(model, documents, length)) / tokens if tokens else math.nan


@torch.no_grad()
def document_losses(model: PreTrainedModel, documents: Sequence[Sequence[int]], length: int) -> list[float]:
    """Return the negative log likelihood of each document in nats, summed over tokens.

    Each document is cut end to end into windows of ``length`` tokens of which the first is ``<|begin|>``; a token sees
    its own window and no more.

    Args:
        model: The language model, in evaluation mode.
        documents: Tokens of each document, without special ones.
        length: Tokens in a window.

    Returns:
        Nats a document; 0 for one without tokens.
    """
    losses = []
    for document in documents:
        total = 0.0
        for window in document_windows(document, length, model.config.bos_token_id):
            ids = torch.tensor(window, device=model.device)
            logits = model(ids[None]).logits[0, :-1].double()
            total += torch.nn.functional.cross_entropy(logits, ids[1:], reduction="sum").item()
        losses.append(total)
    return losses


def rival_losses(
    training: list[list[int]], held_out: list[list[int]], tokenizer: PreTrainedTokenizerFast
) -> dict[int, float]:
    """Return the held-out loss of each n-gram baseline in nats per token, by order."""
    begin, vocabulary = tokenizer.bos_token_id, len(tokenizer)
    documents = [[*document, tokenizer.eos_token_id] for document in training]
    tokens = sum(map(len, held_out))
    losses = {}
    for order in RIVAL_ORDERS:
        rival = KneserNey.fit(documents, order, vocabulary, begin)
        losses[order] = sum(sum(rival.losses(document)) for document in held_out) / tokens
    return losses


@torch.no_grad()
def entropy_shares(model: PreTrainedModel, documents: Sequence[Sequence[int]], length: int) -> torch.Tensor:
    r"""Return attention entropy divided by its maximum, ``(layer, head)``.

    .. math:: \operatorname{mean}_i\; H_i / \log n_i, \qquad n_i \ge 8

    over the rows of the first window of each document, where row :math:`i` sees :math:`n_i` keys.

    Reading: 1 where attention is uniform over what is visible, 0 where each query attends to one key.

    Args:
        model: The language model, its attention set to ``eager``.
        documents: Tokens of each document.
        length: Tokens in a window.

    Returns:
        Shares, ``(layer, head)``.
    """
    shares = []
    for document in documents:
        window = document_windows(document, length, model.config.bos_token_id)[0]
        weights = torch.stack(model(torch.tensor([window]), output_attentions=True).attentions)[:, 0].double()
        entropy = torch.special.entr(weights).sum(-1)
        visible = torch.arange(1, len(window) + 1, dtype=torch.float64)
        shares.append((entropy / visible.log())[..., FEWEST_KEYS - 1 :])
    return torch.cat(shares, dim=-1).mean(-1)


def measure_figures(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, split: Split, length: int, out: Path
) -> Figures:
    """Load the model from its folder and measure all numbers of the model card.

    Args:
        model: The model as trained, before its weights were rounded.
        tokenizer: The tokenizer of the model.
        split: Chapters learnt from and chapters judged on.
        length: Tokens in a window.
        out: The folder, the model in it.

    Returns:
        The numbers.
    """
    learnt, unseen = (encode(tokenizer, (chapter.text for chapter in part)) for part in split)
    shipped = LlamaForCausalLM.from_pretrained(out, dtype=torch.float32, attn_implementation="eager").eval()
    return Figures(
        parameters=shipped.num_parameters(),
        documents=(len(split.training), len(split.held_out)),
        tokens=(sum(map(len, learnt)), sum(map(len, unseen))),
        held_out_bytes=sum(chapter.bytes for chapter in split.held_out),
        loss=held_out_loss(shipped, unseen, length),
        loss_before_rounding=held_out_loss(model.eval(), unseen, length),
        loss_at_twice_the_length=held_out_loss(shipped, unseen, 2 * length),
        rivals=rival_losses(learnt, unseen, tokenizer),
        entropy_shares=entropy_shares(shipped, unseen, length).tolist(),
    )


Gram = tuple[int, ...]


@dataclass(frozen=True)
class Level:
    """Counts of one n-gram order: for each context its total, and the mass that it reserves for shorter contexts."""

    grams: dict[Gram, int]
    discounts: tuple[float, float, float]
    totals: dict[Gram, int]
    reserved: dict[Gram, float]

    @classmethod
    def from_counts(cls, grams: dict[Gram, int]) -> Level:
        """Compute discounts, context totals and the mass that each context reserves for shorter ones."""
        discounts = modified_discounts(Counter(grams.values()))
        totals: Counter[Gram] = Counter()
        reserved: dict[Gram, float] = {}
        for gram, count in grams.items():
            context = gram[:-1]
            totals[context] += count
            reserved[context] = reserved.get(context, 0.0) + discounts[min(count, 3) - 1]
        return cls(grams, discounts, dict(totals), reserved)


@dataclass(frozen=True)
class KneserNey:
    r"""Interpolated modified Kneser-Ney model over tokens ``0 .. vocabulary - 1``.

    .. math:: p(w \mid h) = \frac{\max(c(hw) - D(c(hw)), 0)}{\sum_v c(hv)} + \gamma(h)\, p(w \mid h')

    with :math:`h'` the context less its first token, :math:`\gamma(h)` the discounts taken from :math:`h` over its
    total, and the uniform distribution below the unigrams. The longest grams and those that open a document carry raw
    counts; all others carry the number of distinct tokens seen before them.
    Source: Chen and Goodman 1999, doi:10.1006/csla.1999.0128; Heafield et al. 2013, ACL P13-2121.

    Reading: every context's probabilities sum to one over the vocabulary, so losses compare with a softmax's.
    """

    order: int
    vocabulary: int
    begin: int
    levels: tuple[Level, ...]

    @classmethod
    def fit(cls, documents: Iterable[Sequence[int]], order: int, vocabulary: int, begin: int) -> KneserNey:
        """Fit a model of the given order to documents.

        Args:
            documents: Token sequences without ``begin``, which is set before each of them.
            order: Longest gram, at least 1.
            vocabulary: Number of tokens, ``begin`` among them.
            begin: Token that stands before a document and is never predicted from counts.

        Returns:
            The fitted model.

        Raises:
            ValueError: The order is below 1, or no document holds a token.
        """
        if order < 1:
            raise ValueError(f"order must be at least 1, got {order}")
        sequences = [(begin, *document) for document in documents if len(document)]
        if not sequences:
            raise ValueError("expected at least one document with a token, got none")
        raw = [_count_grams(sequences, length) for length in range(1, order + 1)]
        tables = [_continuation_counts(raw[k], raw[k + 1], begin) for k in range(order - 1)] + [raw[-1]]
        tables[0].pop((begin,), None)
        return cls(order, vocabulary, begin, tuple(Level.from_counts(table) for table in tables))

    def probability(self, token: int, context: Sequence[int]) -> float:
        """Return the probability of a token after a context, of which the last ``order - 1`` tokens are used."""
        probability = 1.0 / self.vocabulary
        for length in range(min(self.order, len(context) + 1)):
            level = self.levels[length]
            history = tuple(context[len(context) - length :])
            total = level.totals.get(history)
            if total is None:
                break
            count = level.grams.get((*history, token), 0)
            kept = count - level.discounts[min(count, 3) - 1] if count else 0.0
            probability = (kept + level.reserved[history] * probability) / total
        return probability

    def losses(self, document: Sequence[int]) -> list[float]:
        """Return the negative log likelihood of each token in a document, in nats."""
        sequence = (self.begin, *document)
        return [
            -math.log(self.probability(sequence[i], sequence[max(0, i - self.order + 1) : i]))
            for i in range(1, len(sequence))
        ]


def modified_discounts(counts_of_counts: Counter[int]) -> tuple[float, float, float]:
    r"""Return the discounts for n-grams seen once, twice, and three or more times.

    .. math:: D_k = k - (k + 1)\, Y\, n_{k+1} / n_k, \qquad Y = n_1 / (n_1 + 2 n_2)

    Args:
        counts_of_counts: How many grams were seen each number of times.

    Returns:
        Three discounts, each within ``[0, k]``; 0.5, 1, 1.5 where a count of counts is zero or an estimate falls
        outside (the fallback of Heafield et al. 2013's implementation).
    """
    n1, n2, n3, n4 = (counts_of_counts[k] for k in (1, 2, 3, 4))
    fallback = (0.5, 1.0, 1.5)
    if min(n1, n2, n3, n4) == 0:
        return fallback
    share = n1 / (n1 + 2 * n2)
    found = (1 - 2 * share * n2 / n1, 2 - 3 * share * n3 / n2, 3 - 4 * share * n4 / n3)
    return found if all(0 <= d <= k for k, d in enumerate(found, start=1)) else fallback


def _count_grams(sequences: Sequence[Gram], length: int) -> Counter[Gram]:
    """Raw counts of all grams of one length."""
    counts: Counter[Gram] = Counter()
    for sequence in sequences:
        counts.update(zip(*(sequence[offset:] for offset in range(length)), strict=False))
    return counts


def _continuation_counts(raw: Counter[Gram], longer: Counter[Gram], begin: int) -> dict[Gram, int]:
    """Distinct tokens seen before each gram; the raw count for grams that open a document."""
    counts = Counter(gram[1:] for gram in longer)
    counts.update({gram: count for gram, count in raw.items() if gram[0] == begin})
    return dict(counts)
