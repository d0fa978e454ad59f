"""Measure how heavy the tails of key components are, which sets a quantizer's step."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Tails:
    """Kurtosis and crest factor of each sequence's keys, ``(batch, kv_head)`` each; NaN where all components are 0.

    Attributes:
        kurtosis: Fourth moment over the squared second, about the mean of all components.
        crest: Largest absolute component over the root mean square.
    """

    kurtosis: Tensor
    crest: Tensor


def tails(key: Tensor, real: Tensor | None = None) -> Tails:
    r"""Return kurtosis and crest factor over all key components, for each sequence and head.

    .. math:: \frac{\operatorname{mean}(x - \bar x)^4}{(\operatorname{mean}(x - \bar x)^2)^2}, \qquad
              \frac{\max |x|}{\sqrt{\operatorname{mean} x^2}}

    Reading: a Gaussian has kurtosis 3, two equal values 1; a min-max quantizer of b bits over a symmetric range has an
    error of about ``crest / (2^b - 1) / sqrt(3)`` of the root mean square.
    Pitfall: channels of different means or sizes raise both, without any vector being spiky. The crest factor is a
    maximum and grows with the number of components. Source: Pearson 1905, doi:10.2307/2331536.

    Args:
        key: ``(batch, kv_head, key, dim)``.
        real: ``(batch, key)`` bool, False at padding; None where all are real.
    """
    values = key.detach().double() if key.device.type != "mps" else key.detach().float()
    counted = torch.ones_like(values[:, :1, :, :1]) if real is None else real[:, None, :, None].to(values.dtype)
    number = counted.sum((2, 3)) * values.shape[-1]
    held = torch.where(counted.bool(), values, 0.0)
    about = (held - (held.sum((2, 3)) / number)[..., None, None]) * counted
    second, fourth = (about.pow(power).sum((2, 3)) / number for power in (2, 4))
    rms = (held.square().sum((2, 3)) / number).sqrt()
    kurtosis = torch.where(second > 0, fourth / second.square(), math.nan)
    return Tails(kurtosis, torch.where(rms > 0, held.abs().amax((2, 3)) / rms, math.nan))
