"""Training settings of a derived model, in addition to the general training settings.

Register training of models with derived attention as a sweep recipe.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heedful.errors import InputRejected, UsageError
from heedful.loading.token_encoder import TokenEncoder, character_tokenizer
from heedful.ngrams.counting.counting import CountSettings, count
from heedful.ngrams.counting.reading import read_counts
from heedful.ngrams.derivation.calibrated import short_pieces
from heedful.ngrams.derivation.model.arms import DERIVED, WITHOUT, arm_config, arm_model
from heedful.ngrams.derivation.model.derived import HeedfulDerivedForCausalLM
from heedful.ngrams.derivation.model.deriving import derive
from heedful.ngrams.derivation.recipe import DerivationRecipe, recipe_named
from heedful.ngrams.derivation.table import stored_table
from heedful.ngrams.training.model_facts import EmbeddingDrift, Relinking
from heedful.training.run_settings import RunSettings
from heedful.training.sweeps.recipe import RECIPES, SweepRecipe
from heedful.training.token_windows import TrainingTexts, encode

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast, TrainerCallback


WORDS, TOKENS = 512, 128
"""Tokens of a learnt tokenizer and of a window, where none are given."""

COUNTED = "counts"
"""Folder of counts inside the folder of a run that counts its own training texts."""

UNITS = ("bpe", "characters")
MARKS = ("[PAD]", "[BOS]", "[EOS]")
_OF_THE_DECODER = ("preset", "attention", "qk_norm", "max_share_penalty", "counts")


@dataclass(frozen=True, kw_only=True)
class DerivedRunSettings(RunSettings):
    """Settings of one training run of a model with derived attention, or of one of its controls.

    Attributes:
        recipe: Name of the derivation.
        changes: Changes of its fields, ``width=128 heads=2``.
        arm: One of ``heedful.ngrams.derivation.model.arms.ARMS``.
        embeddings: One of ``heedful.ngrams.derivation.model.arms.EMBEDDINGS``.
        relink_every: Steps after which linked attention follows its embeddings.
        counts: Folder of counts; None to count the training texts, and nothing else, with the run's tokenizer.
        units: Tokens of a tokenizer that is learnt: ``bpe`` or ``characters``.

    Raises:
        UsageError: Names or sizes that do not go together.
    """

    recipe: str = "corrected"
    changes: str = ""
    arm: str = "frozen"
    embeddings: str = "frozen"
    relink_every: int = 1
    counts: str | None = None
    units: str = "bpe"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.units not in UNITS:
            raise UsageError(f"units {self.units!r}: expected one of {', '.join(UNITS)}")
        if self.relink_every < 1:
            raise UsageError(f"relink_every {self.relink_every}: expected at least 1")
        if self.max_share_penalty and self.arm in WITHOUT:
            raise UsageError(f"max_share_penalty {self.max_share_penalty}: an arm without attention has no keys")
        self.config(self.words, 0, 0, None)  # refuses what the model would, before any text is read

    @cached_property
    def derivation(self) -> DerivationRecipe:
        """Derivation recipe, with the run's changes."""
        return recipe_named(self.recipe, self.changes.replace(",", " ").split())

    @property
    def tells_heads(self) -> bool:
        """Whether the run's tracker prints one line per head: True, since derived heads are few and each is of its own
        kind.
        """
        return True

    @property
    def model_class(self) -> type[PreTrainedModel]:
        """Model class to train."""
        return HeedfulDerivedForCausalLM

    @property
    def name(self) -> str:
        """Name of the run in messages."""
        return f"derived {self.recipe}, {self.arm}"

    @property
    def words(self) -> int:
        """Vocabulary size of a tokenizer to be trained."""
        return self.vocabulary or WORDS

    @property
    def least_words(self) -> int:
        """Smallest vocabulary of a trained tokenizer; one of characters has the special tokens and at least one
        character.
        """
        return super().least_words if self.units == "bpe" else len(MARKS) + 2

    @property
    def tokens(self) -> int:
        """Number of tokens per training window."""
        return self.length or TOKENS

    @property
    def tokenizer(self) -> Path | None:
        """Path of the tokenizer with which the counts were made, or None."""
        return None if self.counts is None else Path(self.counts)

    @property
    def caches(self) -> bool:
        """Always False: a query may depend on earlier tokens, so the model has no key-value cache."""
        return False

    @property
    def notes(self) -> tuple[str, ...]:
        """Remarks on which documents were counted, and on whether training makes attention and embeddings disagree."""
        found = [
            "attention is derived from counts of the training documents alone"
            if self.counts is None
            else "attention is derived from given counts: held-out documents may have been counted, and the held-out "
            "loss be too good (give no counts: the run then counts its training documents)"
        ]
        if self.arm in DERIVED and self.embeddings == "trainable":
            found.append("embeddings are trained: attention is soon no longer that which was derived for them")
        if self.arm in DERIVED and self.derivation.positions == "learned" and not self._blind:
            found.append("positions are trained, and the attention is not blind to them")
        return tuple(found)

    @property
    def _blind(self) -> bool:
        return self.embeddings == "linked" and self.derivation.encoder == "joint_pseudo_inverse"

    def binding(self) -> dict[str, Any]:
        """Return the settings that must not change when the run is resumed, including the content of given counts."""
        found = {name: value for name, value in super().binding().items() if name not in _OF_THE_DECODER}
        if self.counts is not None:
            manifest = read_counts(self.counts).path / "counts.json"
            found["counts"] = hashlib.sha256(manifest.read_bytes()).hexdigest()
        return found

    def learnt_tokenizer(self, texts: Sequence[str]) -> PreTrainedTokenizerFast:
        """Train a tokenizer on the training texts; a character tokenizer gets their characters."""
        if self.units == "bpe":
            return super().learnt_tokenizer(texts)
        kept = None if self.vocabulary is None else self.vocabulary - len(MARKS)
        return character_tokenizer(texts, kept, marks=MARKS)

    def marked(self, tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
        """Return the counts' tokenizer; if it has neither a begin nor an end token, its unknown token is used for
        both.
        """
        if tokenizer.bos_token_id is None and tokenizer.eos_token_id is None and tokenizer.cls_token_id is None:
            if tokenizer.unk_token is None:
                message = "its tokenizer names no begin or end of a text, and nothing that could stand for them"
                fix = "leave COUNTS out: the run then counts its training text; or count with --tokenizer characters"
                raise InputRejected(str(self.counts or "tokenizer"), message, fix)
            tokenizer.bos_token = tokenizer.eos_token = tokenizer.unk_token
        return tokenizer

    def prepare(self, texts: Sequence[str], tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
        """Count the training texts, or check that given counts have this tokenizer and all needed tables."""
        wanted = self.derivation.wanted()
        if self.counts is None:
            lengths, skips = zip(*wanted, strict=True)
            settings = CountSettings(n=lengths, skips=skips, resume=True)
            count(TrainingTexts(texts), TokenEncoder(tokenizer, "tokenizer"), out / COUNTED, settings)
            return
        stored = read_counts(self.counts, tokenizer=tokenizer.backend_tokenizer)
        for pair in sorted(wanted):
            stored.facts(*pair)

    def config(self, tokens: int, begin: int, end: int, pad: int | None) -> PreTrainedConfig:
        """Return the model's config; the arguments are those of ``RunSettings.config``."""
        return arm_config(
            self.derivation,
            self.arm,
            self.embeddings,
            tokens,
            self.tokens,
            tie_word_embeddings=self.tied,
            bos_token_id=begin,
            eos_token_id=end,
            pad_token_id=pad,
        )

    def model(
        self, config: Any, texts: Sequence[str], tokenizer: PreTrainedTokenizerFast, out: Path
    ) -> PreTrainedModel:
        """Return the model derived from the counts, with temperatures fitted on the training texts."""
        stored = read_counts(self.counts or out / COUNTED, tokenizer=tokenizer.backend_tokenizer)
        tables = {pair: stored_table(stored, *pair) for pair in sorted(self.derivation.wanted())}
        pieces = short_pieces(encode(tokenizer, texts))
        made = derive(tables, self.derivation, pieces, self.tokens, self.seed)
        if made.model.config.vocab_size != config.vocab_size:
            message = f"counts of {made.model.config.vocab_size} tokens, and a tokenizer of {config.vocab_size}"
            raise InputRejected(str(stored.path), message, "count the text again with this tokenizer")
        return arm_model(made, config, self.arm, self.seed)

    def callbacks(self, model: Any, tokenizer: PreTrainedTokenizerFast, out: Path) -> list[TrainerCallback]:
        """Return callbacks that recompute attention for new embeddings, and record drift and skill."""
        linked: list[TrainerCallback] = [Relinking(self.relink_every)] if self.embeddings == "linked" else []
        if self.arm in WITHOUT:
            return linked
        counts = Path(self.counts) if self.counts is not None else out / COUNTED
        drift = EmbeddingDrift(model, tokenizer, counts, self.derivation, out, self.track_every or self.every)
        return [*linked, drift]


def derived_recipe() -> SweepRecipe:
    """Return the recipe that trains the parts of a model not derived from counts."""
    from heedful.training.decoder_run import train_decoder
    from heedful.training.sweeps.training_recipe import training_recipe

    return training_recipe("derived", DerivedRunSettings, train_decoder)


RECIPES.add("derived", derived_recipe)
