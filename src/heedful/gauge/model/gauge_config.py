r"""The gauge transformer's config (sizes and options), a transformers ``PreTrainedConfig``.

Temperatures kappa of the heads: attention logits are ``-KL / kappa``.

Weights are :math:`\operatorname{softmax}_j(-KL_{ij} / \kappa_h)`. With means of variance :math:`s^2` a component,
divergences have the mean :math:`s^2 d` and the deviation :math:`s^2 \sqrt{2 d}`: one temperature for heads of different
dimension makes the smaller ones flatter, by arithmetic alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedConfig

from heedful.errors import UsageError
from heedful.gauge.beliefs import COVARIANCE_FRAMES, COVARIANCES
from heedful.gauge.irreps import parse_irreps

FEED_FORWARDS = ("learned", "variational", "none")
POSITION_FRAMES = ("none", "learned", "sinusoidal")
TOKEN_FRAMES = ("learned", "none")


class GaugeConfig(PreTrainedConfig):
    """Config of the gauge transformer: sizes and options.

    Attributes:
        irreps: The heads of every layer, in e3nn's notation or as a list of ``(label, copies, dimensions)``; kept in
            the notation.
        covariance: ``isotropic``, ``diagonal`` or ``full``.
        covariance_frame: Frame in which a diagonal covariance is diagonal: ``common``, or ``token``, the token's own (a
            full matrix in the common frame, exact; ``benchmarks/gauge.py`` has its cost).
        kappa: Temperature; ``kappa_rule`` says which each head begins with (``first_kappa``).
        kappa_rule: ``shared``, ``sqrt``, ``dim``, ``calibrated`` (set on the first training batch) or ``learned``.
        target_concentration: Nats from uniform that ``calibrated`` heads begin with; with ``learned`` None begins
            at ``kappa`` in every head.
        mask_self: Whether a token that sees another does not see itself; its divergence from itself is 0, the least.
        position_means: Whether a learned mean of each position is added.
        token_frames: ``learned``, or ``none``: every token has the frame of its position alone, or the common one.
        position_frames: ``none``, ``learned`` or ``sinusoidal``: rotations by position, after those of the token.
        feed_forward: ``learned`` (two matrices about a GELU, not equivariant), ``variational`` or ``none``.
        layer_norm: Whether means are normalised before attention and feed-forward, which is not equivariant.
        residual: Whether messages and feed-forwards are added to what entered.
        inner_steps: Steps of the variational feed-forward.
        prior_pull: Weight of the prior in its free energy.
        alignment_weight: Weight in the training loss of the divergence between a token and what it attends to, mean
            over layers, heads and queries.
        prior_weight: Weight in the training loss of the divergence of final from embedded beliefs, likewise.
        mean_std: Standard deviation of untrained means.
        frame_norm: Root mean square length of untrained angles, at most pi.
        position_std: Standard deviation of untrained means of positions.
        min_variance: Least variance that can be learned.
        max_variance: Largest variance that can be learned.
        initial_variance: Variance of every untrained belief.
        hidden_size: Dimensions of all heads; None for what the irreps have.

    Raises:
        ValueError: Sizes or names that do not go together.
    """

    model_type = "heedful_gauge"
    keys_to_ignore_at_inference = ["cache", "past_key_values"]  # noqa: RUF012  # the Trainer adds a list to it

    irreps: Any = "5x0e + 3x1e + 1x2e"
    covariance: str = "diagonal"
    covariance_frame: str = "common"
    kappa: float = 1.0
    kappa_rule: str = "dim"
    target_concentration: float | None = None
    mask_self: bool = True
    position_means: bool = True
    token_frames: str = "learned"
    position_frames: str = "none"
    feed_forward: str = "learned"
    layer_norm: bool = False
    residual: bool = True
    inner_steps: int = 1
    prior_pull: float = 1.0
    alignment_weight: float = 0.0
    prior_weight: float = 0.0
    mean_std: float = 1.0
    frame_norm: float = 0.3
    position_std: float = 0.3
    min_variance: float = 1e-2
    max_variance: float = 1e2
    initial_variance: float = 1.0
    vocab_size: int = 512
    hidden_size: int | None = None
    num_hidden_layers: int = 1
    num_attention_heads: int | None = None
    max_position_embeddings: int = 128
    attention_dropout: float = 0.0
    tie_word_embeddings: bool = True
    use_cache: bool = True
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        irreps = parse_irreps(self.irreps)
        self.irreps = str(irreps)
        if self.hidden_size not in (None, irreps.dim):
            message = f"irreps {self.irreps} have {irreps.dim} dimensions, hidden_size is {self.hidden_size}"
            raise UsageError(f"{message}; add scalars (x0e) up to it, or leave hidden_size out")
        if self.num_attention_heads not in (None, irreps.heads):
            raise UsageError(f"irreps {self.irreps} are {irreps.heads} heads, not {self.num_attention_heads}")
        self.hidden_size, self.num_attention_heads = irreps.dim, irreps.heads
        if self.kappa_rule == "calibrated" and self.target_concentration is None:
            self.target_concentration = 0.5
        _check(self)
        super().__post_init__(**kwargs)


def _check(config: GaugeConfig) -> None:
    check_kappa(config.kappa_rule, config.kappa)
    for name, known in (
        ("covariance", COVARIANCES),
        ("covariance_frame", COVARIANCE_FRAMES),
        ("feed_forward", FEED_FORWARDS),
        ("token_frames", TOKEN_FRAMES),
        ("position_frames", POSITION_FRAMES),
    ):
        if getattr(config, name) not in known:
            raise UsageError(f"{name} {getattr(config, name)!r}: expected one of {', '.join(known)}")
    for name in ("vocab_size", "num_hidden_layers", "max_position_embeddings", "inner_steps"):
        if not isinstance(getattr(config, name), int) or getattr(config, name) < 1:
            raise UsageError(f"{name} = {getattr(config, name)!r}: expected a whole number from 1 on")
    for name in ("alignment_weight", "prior_weight", "prior_pull", "mean_std", "position_std", "frame_norm"):
        if not 0 <= getattr(config, name) < math.inf:
            raise UsageError(f"{name} = {getattr(config, name)!r}: expected a number from 0 on")
    if config.covariance_frame == "token" and config.covariance != "diagonal":
        message = "an isotropic one is the same in every frame, a full one is learned in the common frame"
        raise UsageError(f"covariance_frame 'token' with covariance {config.covariance!r}: {message}; use 'diagonal'")
    if config.frame_norm > math.pi:
        raise UsageError(f"frame_norm = {config.frame_norm}: expected |phi| of at most pi")
    if not 0 < config.min_variance < config.initial_variance < config.max_variance < math.inf:
        message = f"{config.min_variance}, {config.initial_variance}, {config.max_variance}"
        raise UsageError(f"variances: expected 0 < min_variance < initial_variance < max_variance, got {message}")
    if config.target_concentration is not None and not config.target_concentration > 0:
        raise UsageError(f"target_concentration = {config.target_concentration}: expected nats above 0")


KAPPA_RULES = ("shared", "sqrt", "dim", "calibrated", "learned")

_WIDEST = 60.0
"""Temperatures are sought within ``exp(60)`` of the divergences' own size."""


def check_kappa(rule: str, kappa: float) -> None:
    """Raise an error for an unknown rule or a temperature of 0 or less.

    Raises:
        UsageError: Either of them.
    """
    if rule not in KAPPA_RULES:
        raise UsageError(f"kappa rule {rule!r}: expected one of {', '.join(KAPPA_RULES)}")
    if not (isinstance(kappa, int | float) and math.isfinite(kappa) and kappa > 0):
        raise UsageError(f"kappa {kappa!r}: expected a number above 0")


def first_kappa(rule: str, kappa: float, dims: Sequence[int]) -> tuple[float, ...]:
    r"""Return the initial temperature of each head.

    ``shared`` and ``learned`` :math:`\kappa`; ``sqrt`` :math:`\kappa \sqrt d`, which makes the deviations of the logits
    alike; ``dim`` and, until its first batch, ``calibrated`` :math:`\kappa d`, which makes their means alike.

    Args:
        rule: One of ``KAPPA_RULES``.
        kappa: The temperature, above 0.
        dims: Dimensions of each head.

    Raises:
        UsageError: The rule does not exist, or the temperature is not above 0.
    """
    check_kappa(rule, kappa)
    power = {"shared": 0.0, "learned": 0.0, "sqrt": 0.5, "dim": 1.0, "calibrated": 1.0}[rule]
    return tuple(kappa * dim**power for dim in dims)


def kappa_for(divergences: Tensor, visible: Tensor, target: float) -> Tensor:
    r"""Return the temperature at which each head has the concentration ``target``, ``(head,)``.

    .. math:: \text{find } \kappa_h \text{ with } \operatorname{mean}_i (\log n_i - H_i) = D

    The left side falls as :math:`\kappa` grows, so that it is bisected.

    Args:
        divergences: ``(head, row, key)``, of sampled rows.
        visible: ``(row, key)``, whether a row sees a key.
        target: ``D`` in nats, above 0.

    Returns:
        ``(head,)``; NaN for a head whose rows see equal divergences alone, or cannot be as concentrated as that.

    Raises:
        UsageError: The target is not above 0.
    """
    if not target > 0:
        raise UsageError(f"target concentration {target!r}: expected nats above 0")
    wide = divergences.double().masked_fill(~visible, math.inf)
    gaps = wide - wide.amin(-1, keepdim=True)
    seen = gaps.masked_fill(~visible, 0.0)
    size = seen.amax((-1, -2)).clamp_min(torch.finfo(torch.float64).tiny)
    low, high = torch.full_like(size, -_WIDEST), torch.full_like(size, _WIDEST)
    for _ in range(60):
        middle = (low + high) / 2
        sharp = _concentration(gaps, seen, visible, size * middle.exp()) > target
        low, high = torch.where(sharp, middle, low), torch.where(sharp, high, middle)
    kappa = size * ((low + high) / 2).exp()
    reached = _concentration(gaps, seen, visible, kappa)
    return torch.where((reached - target).abs() < 1e-3 * max(target, 1.0), kappa, math.nan)


def _concentration(gaps: Tensor, seen: Tensor, visible: Tensor, kappa: Tensor) -> Tensor:
    """Mean over rows of ``log n - H``, ``(head,)``."""
    scale = kappa[:, None, None]
    masses = (-gaps / scale).exp()
    total = masses.sum(-1)
    entropy = total.log() + (masses * seen / scale).sum(-1) / total
    return (visible.sum(-1).double().log() - entropy).mean(-1)
