"""Measure a trained model's heads on unseen text, also after rescaling keys and queries without effect on attention."""

from __future__ import annotations

import copy
import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from heedful.errors import UsageError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BATCHES, SEQUENCES = 4, 4
FACTORS = (0.5, 2.0)
"""Range of the factors by which keys are made shorter and queries longer, one a layer, even in their logarithm."""


def measure_heads(model: nn.Module, windows: Sequence[Sequence[int]], out: Path) -> None:
    """Record queries, keys and attention rows of every head, one record per batch.

    Args:
        model: The model; it is not changed.
        windows: Tokens of windows, all of one length.
        out: Folder of the record.

    Raises:
        UsageError: There are too few windows for one batch.
    """
    from heedful.monitoring.tracker.attention_tracker import AttentionTracker
    from heedful.monitoring.vectors.vectors import Sample

    batches = [windows[start : start + SEQUENCES] for start in range(0, SEQUENCES * BATCHES, SEQUENCES)]
    full = [torch.tensor(batch) for batch in batches if len(batch) == SEQUENCES]
    if not full:
        raise UsageError(f"windows: expected at least {SEQUENCES}, got {len(windows)}")
    training = model.training
    model.eval()
    sample = Sample(sequences=SEQUENCES, positions=len(windows[0]))
    try:
        with AttentionTracker(model, out=out, every=1, sample=sample, write=lambda _line: None) as tracker:
            for ids in full:
                model(input_ids=ids)
                tracker.step()
    finally:
        model.train(training)


def rescaled(model: PreTrainedModel, seed: int = 0) -> PreTrainedModel:
    r"""Return a copy of the model with keys divided and queries multiplied by a factor, different in each layer.

    :math:`(c\, q) \cdot (k / c) = q \cdot k`: every logit, and so every weight of attention, is that of the model.

    Args:
        model: The model, with separate projections or norms of queries and keys; it is not changed.
        seed: Seed of the factors.

    Raises:
        UsageError: Nothing to scale was found.
    """
    from heedful.interception.unrotated import PAIRS

    made: Any = copy.deepcopy(model)
    draw, found = random.Random(seed), 0
    for module in made.modules():
        children = dict(module.named_children())
        pair = next((pair for pair in PAIRS if pair[0] in children and pair[1] in children), None)
        if pair is None:
            continue
        low, high = FACTORS
        factor = low * (high / low) ** draw.random()
        found += 1
        with torch.no_grad():
            for name, by in zip(pair, (factor, 1 / factor), strict=True):
                for parameter in children[name].parameters():
                    parameter.mul_(by)
    if not found:
        raise UsageError("rescaled: no module with queries and keys apart was found")
    return made  # type: ignore[no-any-return]


def held_out_windows(run: Path, length: int) -> list[list[int]]:
    """Return full windows of the held-out text of a ``heedful train`` run.

    Args:
        run: Its folder.
        length: Tokens of a window.
    """
    import json

    from heedful.loading.tokenizer_files import load_tokenizer
    from heedful.training.token_windows import document_windows, encode, marks_of

    tokenizer: Any = load_tokenizer(run)[0]
    lines = (run / "held_out.jsonl").read_text(encoding="utf-8").splitlines()
    documents = encode(tokenizer, (json.loads(line)["text"] for line in lines))
    begin = marks_of(tokenizer).begin
    return [w for document in documents for w in document_windows(document, length, begin) if len(w) == length]


def ten_pair_errors(
    model: nn.Module, windows: Sequence[Sequence[int]], draws: int = 1000, seed: int = 0
) -> list[float]:
    """Return, by layer, the RMS error of estimating the mean cosine from ten random pairs of one random head.

    Args:
        model: The model, whose keys have their heads before their positions; it is not changed.
        windows: Tokens of windows; the first is taken.
        draws: How often ten pairs are drawn.
        seed: Seed of the draws.
    """
    from heedful.training.max_share_penalty import key_sources

    met: list[Tensor] = []
    handles = [
        module.register_forward_hook(lambda _module, _given, output, cut=cut: met.append(cut(output)[0].detach()))
        for module, cut in key_sources(model)
    ]
    try:
        with torch.no_grad():
            model(input_ids=torch.tensor(windows[:1]))
    finally:
        for handle in handles:
            handle.remove()
    errors = []
    for layer, keys in enumerate(met):
        drawn = sampled_cosines(keys, pairs=10, draws=draws, seed=seed + layer)
        errors.append(float((drawn - mean_cosine(keys)).square().mean().sqrt()))
    return errors


def mean_cosine(keys: Tensor) -> float:
    """Return the mean cosine over all pairs of different keys, averaged over heads; keys are ``(head, position,
    dim)``.
    """
    unit = torch.nn.functional.normalize(keys.double(), dim=-1)
    number = keys.shape[1]
    return float(((unit.sum(1).square().sum(-1) - number) / (number * (number - 1))).mean())


def sampled_cosines(keys: Tensor, pairs: int, draws: int, seed: int = 0) -> Tensor:
    """Return ``draws`` estimates of the mean cosine, each from ``pairs`` random pairs of one random head.

    Args:
        keys: ``(head, position, dim)`` of one sequence.
        pairs: Pairs of a draw, with replacement.
        draws: Draws.
        seed: Seed of the choice.

    Returns:
        ``(draw,)``.
    """
    generator = torch.Generator().manual_seed(seed)
    unit = torch.nn.functional.normalize(keys.float(), dim=-1)
    heads = torch.randint(len(keys), (draws, 1), generator=generator)
    first, second = (torch.randint(keys.shape[1], (draws, pairs), generator=generator) for _ in range(2))
    return (unit[heads, first] * unit[heads, second]).sum(-1).mean(-1)
