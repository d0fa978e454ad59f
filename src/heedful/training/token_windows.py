"""Prepare documents for training: byte-level tokenizer, packed training windows, evaluation windows.

Split documents into training and held-out sets, with all copies of a document in the same set.

A run's training texts as a corpus for counting, without held-out documents.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch.utils.data import IterableDataset
from transformers import PreTrainedTokenizerFast

from heedful.errors import InputRejected
from heedful.loading.corpus import Piece, TextFile
from heedful.loading.documents import Documents
from heedful.loading.tokenizer_files import bounds_for, tried
from heedful.reporting.write import write_atomic

BEGIN, END = "<|begin|>", "<|end|>"


def build_tokenizer(texts: Iterable[str], vocabulary: int, length: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer that adds ``<|begin|>`` before encoded text.

    Args:
        texts: Training texts.
        vocabulary: Number of tokens, the two special ones and the 256 bytes among them.
        length: Longest sequence the model is trained on.

    Returns:
        The tokenizer; every text decodes to itself.
    """
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[BEGIN, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    special = [(BEGIN, bpe.token_to_id(BEGIN))]
    bpe.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A", pair=f"{BEGIN} $A {BEGIN}:1 $B:1", special_tokens=special
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token=BEGIN, eos_token=END, pad_token=END, model_max_length=length
    )


def encode(tokenizer: PreTrainedTokenizerFast, texts: Iterable[str]) -> list[list[int]]:
    """Return the tokens of each text, without special tokens and length limit."""
    whole = list(texts)

    def encoded() -> list[list[int]]:
        encodings = tokenizer.backend_tokenizer.encode_batch(whole, add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    found: list[list[int]] = tried(encoded, bounds_for(sum(map(len, whole))), "text")
    return found


def save_texts(path: Path, texts: Iterable[tuple[str, str]]) -> None:
    """Write name and text of each document to a JSONL file for ``heedful validate --text``."""
    lines = [json.dumps({"id": name, "text": text}) for name, text in texts]
    write_atomic(path, "\n".join(lines) + "\n", overwrite=True)


@dataclass(frozen=True)
class Marks:
    """Begin and end token ids for windows and documents."""

    begin: int
    end: int


def marks_of(tokenizer: PreTrainedTokenizerFast) -> Marks:
    """Return begin and end token of a tokenizer; if there is only one, it serves as both.

    Args:
        tokenizer: The tokenizer.

    Raises:
        InputRejected: It has neither.
    """
    begin = [tokenizer.bos_token_id, tokenizer.cls_token_id]
    end = [tokenizer.eos_token_id, tokenizer.sep_token_id]
    firsts, lasts = ([mark for mark in side if mark is not None] for side in (begin + end, end + begin))
    if not firsts:
        raise InputRejected("tokenizer", "it names no begin or end of a text", "give it a bos_token or an eos_token")
    return Marks(firsts[0], lasts[0])


def document_windows(document: Sequence[int], length: int, begin: int) -> list[list[int]]:
    """Split one document into consecutive windows of at most ``length`` tokens, each starting with ``begin``."""
    step = length - 1
    return [[begin, *document[start : start + step]] for start in range(0, len(document), step)]


class PackedWindows(IterableDataset[dict[str, list[int]]]):
    """Endless training windows of ``length`` tokens, each starting with ``begin``.

    Every epoch shuffles the documents, joins them with ``end`` after each, and cuts the stream at a fresh offset, so
    that the windows of one epoch are not those of the next. The same seed gives the same windows.

    Args:
        documents: Tokens of each document.
        length: Tokens in a window.
        begin: Token set before each window.
        end: Token set after each document.
        seed: Seed of orders and offsets.

    Raises:
        ValueError: The documents are too short for two windows.
    """

    def __init__(self, documents: Sequence[Sequence[int]], length: int, begin: int, end: int, seed: int = 0) -> None:
        tokens = sum(len(document) + 1 for document in documents)
        if tokens < 2 * length:
            raise ValueError(f"expected at least {2 * length} tokens to cut windows of {length} from, got {tokens}")
        self.documents, self.length, self.begin, self.end, self.seed = documents, length, begin, end, seed

    def __iter__(self) -> Iterator[dict[str, list[int]]]:
        """Windows of one epoch after another, without end."""
        for epoch in count():
            yield from self.epoch(epoch)

    def epoch(self, number: int) -> Iterator[dict[str, list[int]]]:
        """Yield the windows of one pass over shuffled documents, from a random offset; the incomplete last window is
        dropped.
        """
        draw = random.Random(f"{self.seed} {number}")
        order = draw.sample(self.documents, len(self.documents))
        stream = [token for document in order for token in (*document, self.end)]
        step = self.length - 1
        starts = list(range(draw.randrange(step), len(stream) - step + 1, step))
        draw.shuffle(starts)
        for start in starts:
            window = [self.begin, *stream[start : start + step]]
            yield {"input_ids": window, "labels": window}


ENOUGH = 16
"""Fewer documents than these are cut into blocks, of which some are held out."""


@dataclass(frozen=True)
class TextSplit:
    """Training texts and held-out texts.

    Attributes:
        training: Texts to learn from.
        held_out: Name and text of each document that is never learnt from.
        notes: What was cut or left out.
        fingerprint: SHA-256 of all texts in their order, whichever side they are on, hexadecimal.
    """

    training: tuple[str, ...]
    held_out: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    fingerprint: str

    @property
    def held_out_bytes(self) -> int:
        """Length of the held-out text in UTF-8 bytes."""
        return sum(len(text.encode("utf-8", "replace")) for _, text in self.held_out)


def split_documents(documents: Documents, share: float, seed: int) -> TextSplit:
    """Hold out whole documents, chosen by seed.

    Args:
        documents: The documents; of exact copies one is kept. Where they are few, blocks of them stand for documents.
        share: Share that is held out, at least one.
        seed: Seed of the draw.

    Returns:
        Both sides, in the order of the text.

    Raises:
        InputRejected: There is not enough text for two sides.
    """
    named = {text: name for name, text in reversed(list(zip(documents.names, documents.texts, strict=True)))}
    whole = [(name, text) for text, name in reversed(named.items())]
    notes = list(documents.notes)
    if len(whole) < ENOUGH:
        pieces = -(-ENOUGH // len(whole))
        blocks = [block for name, text in whole for block in _blocks(name, text, pieces)]
        notes.append(f"{len(whole)} documents cut into {len(blocks)} blocks; held-out blocks are of the same texts")
        whole = blocks
    out = max(1, round(share * len(whole)))
    if out >= len(whole):
        raise InputRejected(documents.origin, f"{len(whole)} blocks of text, expected at least two", "give more text")
    drawn = set(random.Random(seed).sample(range(len(whole)), out))
    training = tuple(text for index, (_, text) in enumerate(whole) if index not in drawn)
    held_out = tuple(whole[index] for index in sorted(drawn))
    fingerprint = hashlib.sha256(json.dumps(list(named)[::-1]).encode()).hexdigest()
    return TextSplit(training, held_out, tuple(notes), fingerprint)


def _blocks(name: str, text: str, pieces: int) -> list[tuple[str, str]]:
    """A text as consecutive blocks of about equal length, cut behind a paragraph, line or word."""
    bounds = [0]
    for number in range(1, pieces):
        bounds.append(_border(text, max(bounds[-1], number * len(text) // pieces), len(text) // (4 * pieces)))
    blocks = [text[start:stop] for start, stop in zip(bounds, [*bounds[1:], len(text)], strict=True)]
    return [(f"{name} block {number}", block) for number, block in enumerate(blocks, 1) if block.strip()]


def _border(text: str, place: int, reach: int) -> int:
    for mark in ("\n\n", "\n", " "):
        found = text.find(mark, place, place + reach)
        if found >= 0:
            return found + len(mark)
    return place


class TrainingTexts:
    """In-memory documents as a corpus with one shard.

    Args:
        texts: The documents.
    """

    documents = "training documents"

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = texts
        size = sum(len(text.encode("utf-8", "replace")) for text in texts)
        digest = hashlib.sha256(json.dumps(list(texts)).encode()).hexdigest()
        self.files: Sequence[TextFile] = (TextFile("training documents", size, digest),)
        self.notes: Sequence[str] = ()
        self.shard_bytes: Sequence[int] = (size,)

    def pieces(self, shard: int) -> Iterator[Piece]:
        """Yield every document as one piece.

        Args:
            shard: 0.
        """
        return (Piece(text, 0, len(text)) for text in self.texts)
