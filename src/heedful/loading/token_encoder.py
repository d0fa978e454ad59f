"""Encode pieces of text with a fast tokenizer, or by table lookup if every token is one character.

Build tokenizers: one token per character of given texts, a fixed 85-token character vocabulary, or byte-level
BPE.

Fingerprint of a tokenizer: equal fingerprints mean equal tokens for the same text.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from heedful.errors import HeedfulError, InputRejected, UsageError
from heedful.loading.corpus import Piece, TokenPiece
from heedful.loading.tokenizer_files import bounds_for, tried
from heedful.loading.wording import escaped, reason

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast


_BATCH = 64
_SETTLED = 16
"""Tokens behind a cut after which a tokenizer is taken to make the tokens of the whole document."""

_CODES = 0x110000

_Encoded = tuple[NDArray[np.uint32], int, int]
"""Ids of a text, and which of them begin within a piece's own stretch: first, last."""


@dataclass(frozen=True)
class MadeTokenizer:
    """A tokenizer of the ``tokenizers`` library and its special tokens, as far as counting needs them.

    Attributes:
        backend_tokenizer: The tokenizer.
        special_tokens_map: Role to special token.
    """

    backend_tokenizer: Tokenizer
    special_tokens_map: dict[str, str]

    @property
    def unk_token_id(self) -> int | None:
        """Id of the unknown token, or None."""
        word = self.special_tokens_map.get("unk_token")
        return None if word is None else self.backend_tokenizer.token_to_id(word)

    def of_transformers(self) -> PreTrainedTokenizerFast:
        """Return the same as a tokenizer of transformers."""
        from transformers import PreTrainedTokenizerFast

        return PreTrainedTokenizerFast(tokenizer_object=self.backend_tokenizer, **self.special_tokens_map)


class TokenEncoder:
    """Encode pieces of text with a tokenizer. It can be pickled for other processes.

    Args:
        tokenizer: Of transformers, with a backend of the ``tokenizers`` library, or made here.
        name: What to call it.
        made_here: Whether heedful itself made it; any other encodes in a child with limits.

    Raises:
        InputRejected: The tokenizer has no such backend.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase | MadeTokenizer, name: str, *, made_here: bool = False
    ) -> None:
        backend: Any = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise InputRejected(escaped(name), "a tokenizer without tokenizer.json", "save it as a fast tokenizer")
        backend.no_truncation()
        backend.no_padding()
        self.backend, self.name, self.made_here = backend, name, made_here
        self._text: str = backend.to_str()
        self._roles = {role: word for role, word in tokenizer.special_tokens_map.items() if isinstance(word, str)}
        self.size = 1 + max(backend.get_vocab(with_added_tokens=True).values(), default=0)
        self.unknown: int | None = tokenizer.unk_token_id
        self.fingerprint = fingerprint(self._text)
        self._codes, self._literals = _character_table(self._text, self.unknown)

    def __getstate__(self) -> dict[str, Any]:
        """All but the backend and the table of characters, which its text makes again."""
        return {name: value for name, value in vars(self).items() if name not in ("backend", "_codes", "_literals")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        from tokenizers import Tokenizer

        vars(self).update(state)
        self.backend = Tokenizer.from_str(self._text)
        self._codes, self._literals = _character_table(self._text, self.unknown)

    def save(self, folder: Path) -> None:
        """Write ``tokenizer.json`` and a file with the roles of special tokens.

        Args:
            folder: The folder.
        """
        (folder / "tokenizer.json").write_text(self._text, encoding="utf-8")
        if self._roles:
            (folder / "special_tokens_map.json").write_text(json.dumps(self._roles, indent=1) + "\n", encoding="utf-8")

    def encode(self, pieces: Iterable[Piece], past: int) -> Iterator[TokenPiece]:
        """Yield each piece's tokens, preceded by up to ``past`` earlier tokens.

        Args:
            pieces: The pieces.
            past: Tokens wanted before a piece's own, where the document has them.

        Yields:
            One token piece a piece.
        """
        rest = iter(pieces)
        while batch := list(islice(rest, _BATCH)):
            for piece, encoded in zip(batch, self._encoded(batch), strict=True):
                yield self._placed(piece, encoded, past)

    def _placed(self, piece: Piece, encoded: _Encoded, past: int) -> TokenPiece:
        ids, first, last = encoded
        while not piece.reaches_begin and first < past + _SETTLED and piece.wider is not None:
            piece = piece.wider()
            ids, first, last = self._encoded([piece])[0]
        low = max(0, first - past)
        return TokenPiece(ids[low:last], first - low, piece.opens)

    def _encoded(self, pieces: list[Piece]) -> list[_Encoded]:
        """Ids of each text, and which of them begin within the piece's own stretch."""
        if self._codes is not None and not any(word in piece.text for piece in pieces for word in self._literals):
            return [(_looked_up(self._codes, piece.text), piece.first, piece.last) for piece in pieces]
        try:
            if self.made_here:
                return self._by_backend(pieces)
            bounds = bounds_for(sum(len(piece.text) for piece in pieces))
            return _unpacked(tried(lambda: _packed(self._by_backend(pieces)), bounds, "text"), len(pieces))
        except HeedfulError:
            raise
        except Exception as error:  # a tokenizer raises whatever its parts raise
            raise InputRejected("text", f"not tokenised: {reason(error)}", "check the tokenizer") from error

    def _by_backend(self, pieces: list[Piece]) -> list[_Encoded]:
        texts = [piece.text for piece in pieces]
        whole = all(piece.first == 0 and piece.last == len(piece.text) for piece in pieces)
        encode = self.backend.encode_batch_fast if whole else self.backend.encode_batch
        found: list[_Encoded] = []
        for piece, encoding in zip(pieces, encode(texts, add_special_tokens=False), strict=True):
            ids = np.array(encoding.ids, dtype=np.uint32)
            if whole:
                found.append((ids, 0, len(ids)))
                continue
            first, last = (_first_from(encoding, len(ids), place) for place in (piece.first, piece.last))
            found.append((ids, first if piece.first else 0, last if piece.last < len(piece.text) else len(ids)))
        return found


def _packed(encoded: list[_Encoded]) -> bytes:
    """Number of ids, first and last of each text, int64; then all ids, uint32."""
    heads = np.array([(len(ids), first, last) for ids, first, last in encoded], dtype=np.int64)
    return heads.tobytes() + b"".join(ids.tobytes() for ids, _, _ in encoded)


def _unpacked(content: bytes, texts: int) -> list[_Encoded]:
    heads = np.frombuffer(content, dtype=np.int64, count=3 * texts).reshape(texts, 3)
    ids = np.frombuffer(content, dtype=np.uint32, offset=heads.nbytes)
    parts = np.split(ids, np.cumsum(heads[:, 0])[:-1])
    return [(part, int(first), int(last)) for part, (_, first, last) in zip(parts, heads, strict=True)]


def _first_from(encoding: Any, tokens: int, place: int) -> int:
    """The first token of an encoding that begins at or behind a character; offsets ascend."""
    return bisect_left(range(tokens), place, key=lambda index: encoding.token_to_chars(index)[0])


def _character_table(text: str, unknown: int | None) -> tuple[NDArray[np.uint32] | None, list[str]]:
    """The id of every code point, where a tokenizer splits text into characters and looks each one up.

    Returns:
        ``(code point,)``, uint32, None for any other tokenizer; and the texts that it takes as one token even so.
    """
    tree = json.loads(text)
    model, splitting = tree.get("model") or {}, tree.get("pre_tokenizer") or {}
    literals = [one["content"] for one in tree.get("added_tokens") or ()]
    vocabulary: dict[str, int] = model.get("vocab") or {}
    plain = (
        model.get("type") == "WordLevel"
        and tree.get("normalizer") is None
        and (splitting.get("type"), splitting.get("behavior")) == ("Split", "Isolated")
        and splitting.get("pattern") == {"Regex": ANY_CHARACTER}
        and unknown is not None
    )
    if not plain:
        return None, literals
    codes = np.full(_CODES, unknown, dtype=np.uint32)
    for token, number in vocabulary.items():
        if len(token) == 1:
            codes[ord(token)] = number
    return codes, literals


def _looked_up(codes: NDArray[np.uint32], text: str) -> NDArray[np.uint32]:
    return codes[np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)]


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
    return made_characters(texts, vocabulary, marks).of_transformers()


def made_characters(texts: Iterable[str], vocabulary: int | None = None, marks: Sequence[str] = ()) -> MadeTokenizer:
    """Build the tokenizer of :func:`character_tokenizer` without transformers.

    Args:
        texts: The text.
        vocabulary: Most tokens to have, or None for all characters.
        marks: Further special tokens.

    Returns:
        The tokenizer.

    Raises:
        UsageError: ``vocabulary`` is below 2.
    """
    if vocabulary is not None and vocabulary < 2:
        raise UsageError(f"--vocabulary {vocabulary}: expected 2 or more: {UNKNOWN} and a character")
    counts = np.zeros(_CODES, dtype=np.int64)
    for text in texts:
        plain = text.isascii()
        coded = text.encode("ascii") if plain else text.encode("utf-32-le", "surrogatepass")
        found = np.bincount(np.frombuffer(coded, dtype=np.uint8 if plain else np.uint32))
        counts[: len(found)] += found
    kept = np.flatnonzero(counts)
    if vocabulary is not None:  # the most frequent; of equally frequent ones the first
        kept = np.sort(kept[np.argsort(-counts[kept], kind="stable")[: vocabulary - 1]])
    return _characters((UNKNOWN, *marks), [chr(code) for code in kept])


def seed_tokenizer() -> PreTrainedTokenizerFast:
    """Build the 85-token character tokenizer of an earlier experiment; other characters are unknown."""
    return made_seed().of_transformers()


def made_seed() -> MadeTokenizer:
    """Build the tokenizer of :func:`seed_tokenizer` without transformers."""
    lower = "abcdefghijklmnopqrstuvwxyz"
    return _characters(SEED_SPECIALS, [*lower, *lower.upper(), *"0123456789", *SEED_MARKS])


def _characters(specials: Sequence[str], characters: Sequence[str]) -> MadeTokenizer:
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

    known = {token: number for number, token in enumerate([*specials, *characters])}
    backend = Tokenizer(models.WordLevel(known, unk_token=UNKNOWN))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(ANY_CHARACTER), "isolated")
    backend.decoder = decoders.Fuse()
    # As transformers adds them, so that the fingerprint is the same with and without it.
    backend.add_special_tokens([AddedToken(one, special=True, normalized=False) for one in specials])
    roles = {"[PAD]": "pad_token", UNKNOWN: "unk_token", "[BOS]": "bos_token", "[EOS]": "eos_token"}
    return MadeTokenizer(backend, {roles[one]: one for one in specials})


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
    return made_bpe(texts, vocabulary).of_transformers()


def made_bpe(texts: Iterable[str], vocabulary: int) -> MadeTokenizer:
    """Train the tokenizer of :func:`bpe_tokenizer`, of the same arguments and errors, without transformers.

    Raises:
        UsageError: ``vocabulary`` is below 257.
    """
    if vocabulary < LEAST_BPE:
        raise UsageError(f"--vocabulary {vocabulary}: expected {LEAST_BPE} or more: the 256 bytes and a merge")
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    backend.train_from_iterator(texts, trainer)
    return MadeTokenizer(backend, {})


DECIDES = ("normalizer", "pre_tokenizer", "model", "added_tokens")
"""Parts of a ``tokenizer.json`` that decide about tokens. Truncation, padding, what is set around a text and how tokens
become text again do not."""


def fingerprint(tokenizer: str) -> str:
    """Return the SHA-256 of everything that affects a tokenizer's tokens.

    Args:
        tokenizer: The content of its ``tokenizer.json``.

    Returns:
        The digest, hexadecimal; the order of keys and the layout of the file are no part of it.
    """
    tree = json.loads(tokenizer)
    parts = {name: tree.get(name) for name in DECIDES}
    return hashlib.sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
