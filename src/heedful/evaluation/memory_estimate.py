"""Estimate the peak memory of a study before anything is allocated."""

from __future__ import annotations

from torch import nn

from heedful.attention.engines.blocks import CPU_ELEMENTS

ACTIVATIONS = 24
"""Floats per token and layer, in widths, that a forward and the backward of section 8 keep: queries, keys, values,
feed-forward of four widths and their gradients."""

LOGIT_COPIES = 4
"""Copies of the logits that the loss makes: the model's own, float32, log-softmax and its gradient."""


def batch_bytes(model: nn.Module, sequences: int, tokens: int) -> int:
    """Estimate the bytes that one batch needs in addition to the parameters.

    Args:
        model: The model; sizes are read from its config where it has one, else from its largest parameter.
        sequences: Sequences in a batch.
        tokens: Tokens of a sequence.

    Returns:
        An upper estimate.
    """
    config = getattr(model, "config", None)
    text = config.get_text_config() if config is not None and hasattr(config, "get_text_config") else config
    rows = [max(p.shape) for p in model.parameters() if p.dim() > 1]
    columns = [min(p.shape) for p in model.parameters() if p.dim() > 1]
    width = int(getattr(text, "hidden_size", 0) or max(columns, default=1))
    layers = int(getattr(text, "num_hidden_layers", 0) or 8)
    heads = int(getattr(text, "num_attention_heads", 0) or 8)
    vocabulary = int(getattr(text, "vocab_size", 0) or max(rows, default=1))
    everywhere = sequences * tokens
    per_token = vocabulary * LOGIT_COPIES + width * ACTIVATIONS * layers
    # Sampled rows of section 6, blocks of the ablation patterns: at most 64 query rows against all keys of the batch.
    rows_held = 4 * 64 * everywhere * heads
    return 4 * (everywhere * per_token + rows_held + 4 * CPU_ELEMENTS)
