"""Build tokenizers: one token per character of given texts, a fixed 85-token character vocabulary, or byte-level
BPE.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from heedful.errors import UsageError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

UNKNOWN = "[UNK]"
SEED_SPECIALS = ("[PAD]", UNKNOWN, "[BOS]", "[EOS]")
SEED_MARKS = " .,!?;:'\"-()[]/@#\n\t"
"""The marks of the fixed vocabulary, behind the 52 letters and 10 digits: 85 tokens with the four special ones."""

ANY_CHARACTER = r"[\s\S]"
"""The pattern that splits a text into its characters."""

LEAST_BPE = 257
"""The 256 bytes and one merge."""


def character_tokenizer(
    texts: Iterable[str], vocabulary: int | None = None, marks: Sequence[str] = ()
) -> PreTrainedTokenizerFast:
    """Build a tokenizer with one token per character of the texts: ``[UNK]`` first, then by code point.

    Args:
        texts: The text.
        vocabulary: Most tokens to have; the most frequent characters are kept. None keeps all.
        marks: Further special tokens behind ``[UNK]``: ``[BOS]``, ``[EOS]``, ``[PAD]``.

    Returns:
        The tokenizer.

    Raises:
        UsageError: ``vocabulary`` is below 2.
    """
    if vocabulary is not None and vocabulary < 2:
        raise UsageError(f"--vocabulary {vocabulary}: expected 2 or more: {UNKNOWN} and a character")
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    ordered = sorted(counts, key=lambda character: (-counts[character], character))
    kept = ordered if vocabulary is None else ordered[: vocabulary - 1]
    return _characters((UNKNOWN, *marks), sorted(kept))


def seed_tokenizer() -> PreTrainedTokenizerFast:
    """Build the 85-token character tokenizer of an earlier experiment; other characters are unknown."""
    lower = "abcdefghijklmnopqrstuvwxyz"
    return _characters(SEED_SPECIALS, [*lower, *lower.upper(), *"0123456789", *SEED_MARKS])


def _characters(specials: Sequence[str], characters: Sequence[str]) -> PreTrainedTokenizerFast:
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    known = {token: number for number, token in enumerate([*specials, *characters])}
    backend = Tokenizer(models.WordLevel(known, unk_token=UNKNOWN))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(ANY_CHARACTER), "isolated")
    backend.decoder = decoders.Fuse()
    roles = {"[PAD]": "pad_token", UNKNOWN: "unk_token", "[BOS]": "bos_token", "[EOS]": "eos_token"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **{roles[one]: one for one in specials})


def bpe_tokenizer(texts: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer on texts; it has no unknown tokens.

    Args:
        texts: The text.
        vocabulary: Tokens to have, the 256 bytes among them; fewer where the text gives no more.

    Returns:
        The tokenizer.

    Raises:
        UsageError: ``vocabulary`` is below 257.
    """
    if vocabulary < LEAST_BPE:
        raise UsageError(f"--vocabulary {vocabulary}: expected {LEAST_BPE} or more: the 256 bytes and a merge")
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    backend.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend)
