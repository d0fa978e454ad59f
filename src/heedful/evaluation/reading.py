"""Measure loss and perplexity of the model on the text, compared with token frequencies alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from heedful.evaluation.missing import mean_of
from heedful.evaluation.study import Study

NEAR = 0.97
"""Share of the frequencies' loss from which on a model's loss is near it."""


@dataclass(frozen=True)
class TextLoss:
    """Loss of a model on a text, with the entropy of token frequencies as the baseline.

    Attributes:
        loss: Mean over documents, nats per token.
        frequencies: Loss of token frequencies counted on the text itself, nats per token.
    """

    loss: float
    frequencies: float

    @property
    def perplexity(self) -> float:
        """``exp(loss)``, the effective number of next tokens the model hesitates between; infinite on overflow."""
        return math.exp(self.loss) if self.loss < 700 else math.inf

    @property
    def unlike(self) -> bool:
        """Whether the loss is near or above that of token frequencies, so that the text may not suit the model."""
        return self.loss >= NEAR * self.frequencies

    @property
    def notes(self) -> list[str]:
        """The loss as text, with a warning if it is near or above that of token frequencies."""
        message = f"the model's own loss on this text: {self.loss:.3g} nat/token, perplexity {self.perplexity:.4g}"
        found = [f"{message}; token frequencies alone: {self.frequencies:.3g}"]
        if self.unlike:
            found.append(
                "warning: the model reads this text no better than token frequencies do: it is untrained, or the text "
                "or its tokenizer is unlike what it was trained on, and what its attention does here says little"
            )
        return found


def reading_of(study: Study) -> TextLoss | None:
    """Return the model's loss on the study's text; None if the model has no loss.

    Args:
        study: The study.
    """
    if study.nonfinite_parameters or study.objective.name == "none":
        return None
    loss = float(mean_of(study.units(study.loss)))
    return TextLoss(loss, frequency_loss(study)) if math.isfinite(loss) else None


def frequency_loss(study: Study) -> float:
    r"""Return the entropy of the text's token frequencies in nats, without special tokens, Miller-corrected.

    .. math:: H = -\sum_v p_v \ln p_v + \frac{V - 1}{2 N}

    Source: Miller 1955, Information Theory in Psychology.

    Args:
        study: The study.

    Returns:
        Nats per token; NaN without tokens.
    """
    sequences = study.sequences
    kept = sequences.input_ids[sequences.attention_mask.bool() & ~sequences.special].numpy()
    if not len(kept):
        return math.nan
    share = np.unique(kept, return_counts=True)[1] / len(kept)
    return float(-(share * np.log(share)).sum() + (len(share) - 1) / (2 * len(kept)))
