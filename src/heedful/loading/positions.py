"""Read a model's maximum sequence length and vocabulary size from its modules."""

from __future__ import annotations

import re

from torch import nn

_TABLE = re.compile(
    r"(?:^|\.)(?:wpe|position_embeddings?|embed_positions|positions_embed|pos_emb(?:ed)?|position_mean|position_frame)$"
)

_NO_TEXT = re.compile(r"vision|visual|image|patch|audio")


def learned_positions(model: nn.Module) -> int | None:
    """Return the longest sequence that a learned position table allows, or None.

    Args:
        model: Any model.

    Returns:
        Tokens; None where positions are rotary, relative, biases or absent.
    """
    limits = []
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding) and _TABLE.search(name) and not _NO_TEXT.search(name):
            offset = getattr(module, "offset", None)
            if not isinstance(offset, int):
                offset = module.padding_idx + 1 if module.padding_idx is not None else 0
            limits.append(module.num_embeddings - offset)
    return min(limits) if limits else None


def trained_positions(model: nn.Module) -> int | None:
    """Return the longest sequence that the config states; rotary models run beyond it, but extrapolate.

    Args:
        model: Any model.

    Returns:
        Tokens, or None where the config names none.
    """
    config = getattr(model, "config", None)
    for name in ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length"):
        value = getattr(config, name, None)
        if isinstance(value, int) and value > 0:
            return value
    return None


def embedded_tokens(model: nn.Module) -> int | None:
    """Return the number of token ids in the model's embedding, or None.

    Args:
        model: Any model.

    Returns:
        Rows of its input embedding, or None where it shows none.
    """
    try:
        table = model.get_input_embeddings()  # type: ignore[operator]
    except (AttributeError, NotImplementedError, TypeError):
        return None
    weight = getattr(table, "weight", None)
    return int(weight.shape[0]) if weight is not None and weight.dim() == 2 else None
