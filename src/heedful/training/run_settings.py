"""Settings of a training run, and which of them must not change when it resumes."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast, TrainerCallback

from heedful.errors import UsageError
from heedful.training.model.attention.softmax import VARIANTS
from heedful.training.model.decoder import HeedfulDecoderForCausalLM
from heedful.training.model.decoder_config import PRESETS, HeedfulDecoderConfig
from heedful.training.token_windows import build_tokenizer

FREE = ("save_every", "kept", "device", "trackers", "track_every")
"""Settings that change nothing about the weights, and may differ when a run goes on."""

_LEAST = {"steps": 1, "seed": 0, "length": 2, "batch": 1, "accumulation": 1, "save_every": 1,
          "learning_rate": 0, "weight_decay": 0, "gain_weight_decay": 0, "warmup_share": 0, "held_out": 0,
          "max_share_penalty": 0, "track_every": 1}  # fmt: skip
_MOST = {"seed": 2**32 - 1, "warmup_share": 1, "held_out": 0.9}
_WORDS = {"precision": ("float32", "bfloat16"), "device": ("cpu", "auto")}


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """Settings of one training run.

    Attributes:
        preset: Name of the model's sizes, a key of ``heedful.training.model.decoder_config.PRESETS``.
        steps: Steps of the optimiser.
        seed: Seed of the weights, of the split and of the order of windows.
        attention: Attention variant, a key of ``heedful.training.model.attention.softmax.VARIANTS``.
        qk_norm: Whether queries and keys are normalised.
        tied: Whether the head is the embedding.
        vocabulary: Tokens of the tokenizer that is learnt; None for the preset's.
        length: Tokens of a window; None for the preset's.
        batch: Windows a step, process and part.
        accumulation: Parts of a step whose gradients are added.
        learning_rate: Its peak.
        weight_decay: On matrices.
        gain_weight_decay: On gains of norms.
        max_share_penalty: Weight of the mean smooth crest of keys in the loss; 0 for none.
        warmup_share: Share of the steps until the peak; a cosine to zero follows.
        held_out: Share of the documents that is never learnt from.
        precision: ``float32``, or ``bfloat16`` autocast.
        gradient_checkpointing: Whether layers are computed again in the backward, to save memory.
        save_every: Steps between checkpoints; None for an eighth of the run.
        kept: Checkpoints that are kept, the latest; at least 2, since one may be cut off while it is written.
        device: ``cpu``, or ``auto`` for whatever accelerate finds.
        trackers: Integrations of the Trainer that get the curves, such as ``tensorboard``.
        track_every: Steps between records of the attention tracker in the run's folder; None for no tracker.

    Raises:
        UsageError: A word is unknown, a number is out of range, or under two checkpoints are kept.
    """

    preset: str = "tiny"
    steps: int = 200
    seed: int = 0
    attention: str = "softmax"
    qk_norm: bool = True
    tied: bool = True
    vocabulary: int | None = None
    length: int | None = None
    batch: int = 8
    accumulation: int = 1
    learning_rate: float = 2e-3
    weight_decay: float = 0.1
    gain_weight_decay: float = 0.0
    max_share_penalty: float = 0.0
    warmup_share: float = 0.05
    held_out: float = 0.1
    precision: str = "float32"
    gradient_checkpointing: bool = False
    save_every: int | None = None
    kept: int = 2
    device: str = "cpu"
    trackers: tuple[str, ...] = ()
    track_every: int | None = None

    def __post_init__(self) -> None:
        words: dict[str, Collection[str]] = {"preset": PRESETS, "attention": VARIANTS, **_WORDS}
        for word, known in words.items():
            if (given := getattr(self, word)) not in known:
                raise UsageError(f"{word} {given!r}: expected one of {', '.join(known)}")
        for word, least in {**_LEAST, "vocabulary": self.least_words}.items():
            given, most = getattr(self, word), _MOST.get(word, math.inf)
            if given is not None and not (least <= given <= most and given < math.inf):
                message = f"at least {least}" if math.isinf(most) else f"from {least} to {most}"
                raise UsageError(f"{word} {given!r}: expected {message}")

        if self.kept < 2:
            raise UsageError(f"kept {self.kept}: expected at least 2 (one may be cut off while it is written)")

    @property
    def model_class(self) -> type[PreTrainedModel]:
        """Model class to train."""
        return HeedfulDecoderForCausalLM

    @property
    def name(self) -> str:
        """Name of the run in messages."""
        return self.preset

    @property
    def words(self) -> int:
        """Vocabulary size of a tokenizer to be trained."""
        return self.vocabulary or PRESETS[self.preset].vocab_size

    @property
    def least_words(self) -> int:
        """Smallest vocabulary of a trained tokenizer: 256 bytes, begin and end token."""
        return 258

    @property
    def tokens(self) -> int:
        """Number of tokens per training window."""
        return self.length or PRESETS[self.preset].max_position_embeddings

    @property
    def every(self) -> int:
        """Number of steps between checkpoints."""
        return self.save_every or max(1, self.steps // 8)

    @property
    def tokenizer(self) -> Path | None:
        """Path of the tokenizer named in the settings; None if it is trained or passed separately."""
        return None

    @property
    def tells_heads(self) -> bool:
        """Whether the run's tracker prints one line per head."""
        return False

    @property
    def caches(self) -> bool:
        """Whether the model supports a key-value cache."""
        return True

    @property
    def notes(self) -> tuple[str, ...]:
        """Remarks for readers of the run's results."""
        return ()

    def learnt_tokenizer(self, texts: Sequence[str]) -> PreTrainedTokenizerFast:
        """Train a tokenizer on the training texts."""
        return build_tokenizer(texts, self.words, self.tokens)

    def marked(self, tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
        """Add begin and end tokens to a given tokenizer if it supports them."""
        return tokenizer

    def prepare(self, texts: Sequence[str], tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
        """Prepare what all processes need to build the model; the first process calls this before the others. The base
        class does nothing.

        Args:
            texts: The training texts.
            tokenizer: Their tokenizer.
            out: Folder of the run.
        """

    def model(
        self, config: Any, texts: Sequence[str], tokenizer: PreTrainedTokenizerFast, out: Path
    ) -> PreTrainedModel:
        """Return the untrained model; the caller has already set torch's random seed to the run's seed.

        Args:
            config: From ``config``.
            texts: The training texts.
            tokenizer: Their tokenizer.
            out: Folder of the run.
        """
        return self.model_class(config)

    def callbacks(self, model: Any, tokenizer: PreTrainedTokenizerFast, out: Path) -> list[TrainerCallback]:
        """Return the callbacks that these settings always add.

        Args:
            model: The model before its first step.
            tokenizer: Its tokenizer.
            out: Folder of the run.
        """
        return []

    def binding(self) -> dict[str, Any]:
        """Return the settings that must not change when the run is resumed, as plain values."""
        found = {name: value for name, value in asdict(self).items() if name not in FREE}
        if not self.gain_weight_decay:  # as in the records of runs that had no such setting
            del found["gain_weight_decay"]
        return found

    def config(self, tokens: int, begin: int, end: int, pad: int | None) -> PreTrainedConfig:
        """Return the model's config.

        Args:
            tokens: Tokens that the tokenizer knows.
            begin: Token set before each window.
            end: Token set after each document.
            pad: Token of padding.
        """
        config: HeedfulDecoderConfig = PRESETS[self.preset].config(
            attention=self.attention,
            qk_norm=self.qk_norm,
            tie_word_embeddings=self.tied,
            vocab_size=tokens,
            max_position_embeddings=self.tokens,
            bos_token_id=begin,
            eos_token_id=end,
            pad_token_id=pad,
        )
        return config
