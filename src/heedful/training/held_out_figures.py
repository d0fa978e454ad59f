"""Measure how well the saved default model predicts held-out text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from heedful.training.king_james import Split
from heedful.training.ngram import KneserNey
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
