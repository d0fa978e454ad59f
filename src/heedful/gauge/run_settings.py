"""Training settings of a gauge model, in addition to the general training settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from heedful.gauge.model.gauge import GaugeForCausalLM
from heedful.gauge.model.gauge_config import GaugeConfig
from heedful.training.run_settings import RunSettings

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

WORDS, TOKENS = 2048, 128
"""Tokens of a learnt tokenizer and of a window, where none are given."""

_OF_THE_DECODER = ("preset", "attention", "qk_norm")


@dataclass(frozen=True, kw_only=True)
class GaugeRunSettings(RunSettings):
    """Settings of one gauge training run. Names are those of ``GaugeConfig`` and ``RunSettings``.

    Attributes:
        irreps: The heads of a layer.
        layers: Layers.
        covariance: Form of the covariances.
        covariance_frame: Frame in which diagonal covariances are diagonal.
        kappa: Temperature.
        kappa_rule: Which temperature each head has.
        target_concentration: Nats from uniform that heads are calibrated to.
        feed_forward: What follows attention.
        mask_self: Whether a token that sees another does not see itself.
        position_means: Whether positions have means.
        token_frames: Frames of tokens.
        position_frames: Frames of positions.
        layer_norm: Whether means are normalised.
        residual: Whether messages are added to what entered.
        alignment_weight: Weight of the divergence from what is attended to.
        prior_weight: Weight of the divergence from the embedded beliefs.
        mean_std: Standard deviation of the initial means.
        position_std: Standard deviation of the initial means of positions.
        frame_norm: Length of untrained angles.

    Raises:
        UsageError: Names or sizes that do not go together, or e3nn is not installed.
    """

    irreps: str = "5x0e+3x1e+1x2e"
    layers: int = 1
    covariance: str = "diagonal"
    covariance_frame: str = "common"
    kappa: float = 1.0
    kappa_rule: str = "dim"
    target_concentration: float | None = None
    feed_forward: str = "learned"
    mask_self: bool = True
    position_means: bool = True
    token_frames: str = "learned"
    position_frames: str = "none"
    layer_norm: bool = False
    residual: bool = True
    alignment_weight: float = 0.0
    prior_weight: float = 0.0
    mean_std: float = 1.0
    position_std: float = 0.3
    frame_norm: float = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        self.config(self.words, 0, 0, None)  # refuses what the model would, before any text is read

    @property
    def model_class(self) -> type[PreTrainedModel]:
        """Model class to train."""
        return GaugeForCausalLM

    @property
    def name(self) -> str:
        """Name of the run in messages."""
        return f"gauge {self.irreps}"

    @property
    def words(self) -> int:
        """Vocabulary size of a tokenizer to be trained."""
        return self.vocabulary or WORDS

    @property
    def tokens(self) -> int:
        """Number of tokens per training window."""
        return self.length or TOKENS

    def binding(self) -> dict[str, Any]:
        """Return the settings that must not change when the run is resumed, as plain values."""
        return {name: value for name, value in super().binding().items() if name not in _OF_THE_DECODER}

    def config(self, tokens: int, begin: int, end: int, pad: int | None) -> PreTrainedConfig:
        """Return the model's config; arguments as for ``RunSettings``."""
        names = (
            "irreps", "covariance", "covariance_frame",
            "kappa", "kappa_rule", "target_concentration", "feed_forward", "mask_self",
            "position_means", "token_frames", "position_frames", "layer_norm", "residual", "alignment_weight",
            "prior_weight", "mean_std", "position_std", "frame_norm",
        )  # fmt: skip
        return GaugeConfig(
            **{name: getattr(self, name) for name in names},
            num_hidden_layers=self.layers,
            tie_word_embeddings=self.tied,
            vocab_size=tokens,
            max_position_embeddings=self.tokens,
            bos_token_id=begin,
            eos_token_id=end,
            pad_token_id=pad,
        )
