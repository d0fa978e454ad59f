"""Register training's recipes: the reference decoder, and attention between random vectors.

Measure how far attention between random queries and keys is from uniform, without training.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from heedful.attention.engines.measure import measure
from heedful.attention.registry import STATISTICS
from heedful.attention.statistics.concentration import concentration
from heedful.attention.statistics.max_weight import max_weight
from heedful.attention.statistics.visible_share import visible_share
from heedful.errors import UsageError
from heedful.training.sweeps.recipe import RECIPES, RunMeasure, SweepRecipe, Workplace


def decoder_recipe() -> SweepRecipe:
    """Return the recipe that trains the reference decoder."""
    from heedful.training.decoder_run import train_decoder
    from heedful.training.run_settings import RunSettings
    from heedful.training.sweeps.training_recipe import training_recipe

    return training_recipe("decoder", RunSettings, train_decoder)


def random_attention_recipe() -> SweepRecipe:
    """Return the recipe that measures attention between random queries and keys, without training."""
    return SweepRecipe(name="random_attention", settings=RandomAttention, make=random_attention)


RECIPES.add("decoder", decoder_recipe)
RECIPES.add("random_attention", random_attention_recipe)


SHOWN = (concentration, visible_share, max_weight)


@dataclass(frozen=True, kw_only=True)
class RandomAttention:
    """Parameters of the random-attention simulation.

    Attributes:
        dim: Dimensions of a head.
        keys: Keys, and queries, of a sequence.
        temperature: Logits are divided by it, beside the usual root of the dimension.
        heads: Heads, each with vectors of its own.
        sequences: Sequences, over which is averaged.
        seed: Seed of the vectors.

    Raises:
        UsageError: A number is too small.
    """

    dim: int = 16
    keys: int = 128
    temperature: float = 1.0
    heads: int = 4
    sequences: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("dim", 1), ("keys", 2), ("heads", 1), ("sequences", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise UsageError(f"{name}: expected at least {least}, got {getattr(self, name)}")
        if not self.temperature > 0:
            raise UsageError(f"temperature: expected a positive number, got {self.temperature}")


def random_attention(settings: RandomAttention, work: Workplace) -> list[RunMeasure]:
    r"""Return statistics of causal attention between standard normal queries and keys, by head.

    .. math:: \operatorname{softmax}\!\left(\frac{q_i \cdot k_j}{\tau \sqrt d}\right)

    Reading: the last query alone, which sees all keys. Where logits are nearly normal (many dimensions, a warm
    temperature) its concentration is close to half their variance, :math:`1 / (2 \tau^2)` nats.

    Args:
        settings: The parameters.
        work: Its ``progress`` is called once.

    Returns:
        Concentration, share of effective keys and largest weight of each head, averaged over sequences.
    """
    draw = torch.Generator().manual_seed(settings.seed)
    size = (settings.sequences, settings.heads, settings.keys, settings.dim)
    query, key = (torch.randn(size, generator=draw) for _ in range(2))
    rows = measure(query, key, scale=settings.dim**-0.5 / settings.temperature).rows
    found = []
    for statistic in SHOWN:
        facts = STATISTICS[statistic.__name__]
        values = statistic(rows)[..., -1].mean(0).tolist()
        found += [
            RunMeasure(
                measure=facts.name,
                value=value,
                unit=facts.unit,
                n=settings.sequences,
                layer=0,
                head=head,
                label=f"L0H{head}",
            )
            for head, value in enumerate(values)
        ]
    work.progress(1, 1, "measured")
    return found
