"""The loss that measures the cost of ablation, per sequence: next token, masked token, or none."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from heedful.evaluation.output_layer import OutputLayer, losses_of_hidden, token_losses
from heedful.evaluation.running import run_model, tensor_of
from heedful.loading.batch import Batch

OFFER = "load it with its language-model or masked-token head, or let it return logits (batch, token, vocabulary)"
"""What a model without a loss must be given."""

_OF_POSITIONS = re.compile(r"wpe|pos", re.IGNORECASE)

MASKED_SHARE = 0.15
"""Share of tokens hidden for the masked-token loss (Devlin et al. 2019, arXiv:1810.04805)."""


@dataclass(frozen=True)
class Objective:
    """The prediction task that defines the loss: next token, masked token, or none.

    Attributes:
        name: ``next token``, ``masked token`` or ``none``.
        reason: Why there is none; empty otherwise.
        mask_token: Id that hides a token, for ``masked token``.
        seed: Seed of the hidden positions.
        layer: The output layer, which is computed block by block where no gradient is wanted; None takes the model's
            logits as they are.
    """

    name: str
    reason: str = ""
    mask_token: int | None = None
    seed: int = 0
    layer: OutputLayer | None = field(default=None, compare=False, repr=False)

    def losses(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the mean negative log likelihood of each sequence, ``(sequence,)`` in nats per predicted token.

        Returns:
            ``(sequence,)``, with a gradient where grad is enabled; NaN where a sequence predicts nothing.
        """
        ids, counted, targets = self.question(batch)
        if self.layer is not None and not torch.is_grad_enabled():
            hidden = self.layer.hidden_of(model, ids, batch.attention_mask)
            losses = losses_of_hidden(hidden[:, : targets.shape[1]], targets, self.layer.module.forward)
            return means_of(losses, counted)
        logits = tensor_of(run_model(model, ids, batch.attention_mask), "logits")
        if logits is None:
            return torch.full((len(ids),), torch.nan)
        return means_of(token_losses(logits[:, : targets.shape[1]], targets), counted)

    def question(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Return input ids, a bool mask of counted predictions, and target ids."""
        if self.name == "next token":
            return next_tokens(batch)
        hidden = torch.zeros_like(batch.input_ids, dtype=torch.bool)
        for row, index in enumerate(batch.index.tolist()):
            draw = torch.rand(
                batch.input_ids.shape[1], generator=torch.Generator().manual_seed(self.seed * 1_000_003 + index)
            )
            hidden[row] = (draw < MASKED_SHARE).to(hidden.device)
        hidden &= batch.attention_mask.bool() & ~batch.special
        ids = batch.input_ids.masked_fill(hidden, self.mask_token or 0)
        return ids, hidden.float(), batch.input_ids


def next_tokens(batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Return input ids, a bool mask of counted predictions, and target ids for next-token prediction.

    Args:
        batch: Some sequences.

    Returns:
        ``(sequence, token)`` ids; ``(sequence, token - 1)`` 1 where a real token follows a real one; and what follows.
    """
    counted = (batch.attention_mask[:, 1:] * batch.attention_mask[:, :-1]).float()
    return batch.input_ids, counted, batch.input_ids[:, 1:]


def means_of(losses: Tensor, counted: Tensor) -> Tensor:
    """Return the mean loss of each sequence over the predictions that ``counted`` selects, ``(sequence,)``.

    Args:
        losses: ``(sequence, token)``.
        counted: ``(sequence, token)``, 1 where a prediction counts.

    Returns:
        ``(sequence,)``; NaN where none counts.
    """
    counted = counted.to(losses.device)
    total = losses.masked_fill(counted == 0, 0).sum(1)
    return total / counted.sum(1).masked_fill(counted.sum(1) == 0, torch.nan)


def find_objective(
    model: nn.Module,
    batch: Batch,
    *,
    hides_future: bool,
    mask_token: int | None,
    vocabulary: int,
    seed: int,
    layer: OutputLayer | None = None,
) -> Objective:
    """Choose the loss that fits a model: next token, masked token, or none.

    Args:
        model: The model.
        batch: A batch to try it on.
        hides_future: Whether every layer hides the future.
        mask_token: The tokenizer's mask token, or None.
        vocabulary: One more than the largest token id seen.
        seed: Seed of hidden positions.
        layer: The model's output layer, if it is known.
    """
    with torch.no_grad():
        logits = tensor_of(run_model(model, batch.input_ids[:1], batch.attention_mask[:1]), "logits")
    hidden = getattr(getattr(model, "config", None), "hidden_size", None)
    if (
        logits is None
        or logits.dim() != 3
        or logits.shape[1] != batch.input_ids.shape[1]
        or logits.shape[-1] < vocabulary
    ):
        return Objective("none", f"the model returns no logits over the vocabulary, so it has no loss: {OFFER}")
    width = logits.shape[-1]
    headless = hidden == width and type(model).__name__.endswith("Model")
    if headless or _is_hidden(model, width, vocabulary):
        message = f"the model has no language-model head (it returns hidden states of width {width}), so it has no loss"
        return Objective("none", f"{message}: {OFFER}")
    if hides_future:
        return Objective("next token", seed=seed, layer=layer)
    if mask_token is None:
        return Objective(
            "none",
            "the model is bidirectional and its tokenizer has no mask token, so it has no loss: "
            "give --tokenizer with the mask token that it was trained with",
        )
    return Objective("masked token", mask_token=mask_token, seed=seed, layer=layer)


def is_causal_by_name(model: nn.Module) -> bool:
    """Return whether the class or config of a transformers model states that it predicts the next token."""
    config, name = getattr(model, "config", None), type(model).__name__
    named = name.endswith(("ForCausalLM", "LMHeadModel")) or getattr(config, "is_decoder", False)
    return config is not None and bool(named)


def _is_hidden(model: nn.Module, width: int, vocabulary: int) -> bool:
    """Whether outputs have the width of the token vectors, and not one entry for each of them."""
    tables = [
        module
        for name, module in model.named_modules()
        if isinstance(module, nn.Embedding) and module.num_embeddings >= vocabulary and not _OF_POSITIONS.search(name)
    ]
    return any(t.embedding_dim == width for t in tables) and all(t.num_embeddings != width for t in tables)
