"""Round keys to few bits, and generate noise of equal size.

Measure how heavy the tails of key components are, which sets a quantizer's step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from heedful.errors import UsageError

GROUPS = ("tensor", "token", "channel")
"""What shares one scale: all keys of a layer, the components of one key, or one component of a head over positions."""

MOST_BITS = 8


@dataclass(frozen=True, kw_only=True)
class Quantizer:
    """Settings of a quantizer: bits, grouping and clipping.

    Attributes:
        bits: Bits of a component, 1 to 8; None for clipping alone.
        group: A name of ``GROUPS``.
        clip: Percentage of a group's components that keep their value, the ones in the middle; None for all.

    Raises:
        UsageError: A number is out of range, or nothing would be done.
    """

    bits: int | None
    group: str
    clip: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("bits", self.bits), ("clip", self.clip)):
            if isinstance(value, bool) or not isinstance(value, int | float | None):
                raise UsageError(f"{name}: expected a number, got {value!r:.60}")
        if self.bits is not None and not 1 <= self.bits <= MOST_BITS:
            raise UsageError(f"bits: expected 1 to {MOST_BITS}, got {self.bits}")
        if self.group not in GROUPS:
            raise UsageError(f"group: expected one of {', '.join(GROUPS)}; got {self.group!r}")
        if self.clip is not None and not 0 < self.clip < 100:
            raise UsageError(f"clip: expected a percentage between 0 and 100, got {self.clip}")
        if self.bits is None and self.clip is None:
            raise UsageError("quantizer: expected bits, a percentage to clip at, or both; got neither")

    @property
    def name(self) -> str:
        """Short name, such as ``4-bit tensor clip 99``."""
        rounding = "" if self.bits is None else f"{self.bits}-bit "
        return f"{rounding}{self.group}" + ("" if self.clip is None else f" clip {self.clip:g}")


def quantized(key: Tensor, quantizer: Quantizer, real: Tensor | None = None) -> Tensor:
    r"""Round keys to the nearest of :math:`2^b` levels and convert back.

    Levels are evenly spaced from the smallest to the largest component of a group (asymmetric min-max):

    .. math:: s = \frac{x_{max} - x_{min}}{2^b - 1}, \qquad
              \hat x = x_{min} + s \operatorname{round}\frac{x - x_{min}}{s}

    With ``clip`` the ends are percentiles, and components beyond them take the value of the end. A group lies within
    one sequence: its scale knows all keys of the sequence, later ones too, which a cache that is being filled does not.
    Source: Liu et al. 2024, arXiv:2402.02750, whose groups of 32 are the whole sequence here.

    Args:
        key: ``(batch, kv_head, key, dim)``.
        quantizer: How to round.
        real: ``(batch, key)`` bool, False at padding, which takes no part in any scale; None where all are real.

    Returns:
        The same shape, dtype and device; padding is as it was.
    """
    if real is not None and not bool(real.all()):
        rounded = key.clone()
        for row, places in enumerate(real):
            if bool(places.any()):
                rounded[row, :, places] = quantized(key[row : row + 1, :, places], quantizer)[0]
        return rounded
    rows = _grouped(key.float(), quantizer.group)
    low, high = _ends(rows, quantizer.clip)
    if quantizer.bits is None:
        found = torch.minimum(torch.maximum(rows, low[:, None]), high[:, None])
    else:
        most = 2**quantizer.bits - 1
        scale = (high - low) / most
        scale = torch.where(scale > 0, scale, 1.0)
        start = torch.zeros_like(scale, dtype=torch.int32)
        # what torch rounds to is 0 at the low end: subtracting it first loses no digits to a zero point far away
        found = torch.fake_quantize_per_channel_affine(rows - low[:, None], scale, start, 0, 0, most) + low[:, None]
    return _ungrouped(found, key, quantizer.group).to(key.dtype)


def noise_like(key: Tensor, changed: Tensor, generator: torch.Generator, real: Tensor | None = None) -> Tensor:
    """Add Gaussian noise to keys with the RMS of the quantization error, for each sequence and head.

    Args:
        key: ``(batch, kv_head, key, dim)``.
        changed: The same keys with the error.
        generator: Where the noise comes from; on the CPU, so that it is the same on every device.
        real: ``(batch, key)`` bool, False at padding; None where all are real.
    """
    error = changed.float() - key.float()
    held = error if real is None else error * real[:, None, :, None]
    noise = torch.randn(key.shape, generator=generator).to(key.device)
    noise = noise if real is None else noise * real[:, None, :, None]
    size = (held.square().sum((2, 3), keepdim=True) / noise.square().sum((2, 3), keepdim=True)).sqrt()
    return (key.float() + noise * size.nan_to_num(0.0)).to(key.dtype)


def _grouped(key: Tensor, group: str) -> Tensor:
    """``(group, component)``, the components that share a scale on one row."""
    if group == "tensor":
        return key.flatten(1)
    rows = key if group == "token" else key.transpose(2, 3)
    return rows.reshape(-1, rows.shape[-1])


def _ungrouped(rows: Tensor, key: Tensor, group: str) -> Tensor:
    if group == "channel":
        return rows.view(*key.shape[:2], key.shape[3], key.shape[2]).transpose(2, 3)
    return rows.view(key.shape)


def _ends(rows: Tensor, clip: float | None) -> tuple[Tensor, Tensor]:
    """Lowest and highest value of each row, or the percentiles that leave ``clip`` % between them."""
    if clip is None:
        return rows.amin(-1), rows.amax(-1)
    count = rows.shape[-1]
    beyond = int((1 - clip / 100) / 2 * count + 1e-9)  # components cut at either end
    # sorted, as torch.quantile refuses more than 2^24 numbers
    ordered = rows.sort(-1).values
    return ordered[:, beyond], ordered[:, count - 1 - beyond]


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
