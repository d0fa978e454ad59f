"""Text slices, the units of the measurements: each is counted as in the notes and yields short sequences."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from heedful.errors import InputRejected
from heedful.loading.text_corpus import TextCorpus
from heedful.loading.token_encoder import TokenEncoder, seed_tokenizer
from heedful.ngrams.counting.counting import CountSettings, count
from heedful.ngrams.counting.reading import Counts, read_counts
from heedful.ngrams.derivation.recipe import RECIPES
from heedful.ngrams.derivation.table import NgramTable
from heedful.reporting.write import write_atomic

CHARACTERS, BLOCK, TOKENS, SEQUENCES = 68_000, 256, 32, 100
"""Characters of a slice, tokens of a block that counts do not cross, tokens and number of the sequences looked at."""

SLICES, SEED = 1, 42
"""Slices of each text that are measured; seed of the first unit, one more for each further one."""

Tables = dict[tuple[int, int], NgramTable]


@dataclass(frozen=True)
class CountSample:
    """A text slice with its counts, and another slice of the same text as unseen text.

    Attributes:
        name: Text and place.
        seed: Of embeddings and of what is not derived.
        tables: Counts by context length and skip.
        unseen: The same of the other slice.
        documents: Sequences of the slice, ``(position,)`` each.
    """

    name: str
    seed: int
    tables: Tables
    unseen: Tables
    documents: Sequence[np.ndarray]


def slices(path: Path, number: int = SLICES + 1, characters: int = CHARACTERS) -> list[str]:
    """Return disjoint excerpts of a text, spread evenly over it.

    Args:
        path: A plain text.
        number: How many.
        characters: Of each.

    Raises:
        InputRejected: The text is too short.
    """
    text = path.read_text(encoding="utf-8", errors="replace").replace("\r\n", "\n")
    if len(text) < number * characters:
        wanted = f"expected at least {number * characters:,} characters, found {len(text):,}"
        raise InputRejected(path.name, wanted, "name a longer text")
    step = (len(text) - characters) // max(1, number - 1)
    return [text[place * step : place * step + characters] for place in range(number)]


def blocks(text: str) -> list[str]:
    """Split a slice into full-length blocks; each character is a token."""
    return [text[start : start + BLOCK] for start in range(0, len(text) - BLOCK + 1, BLOCK)]


def counted(text: str, folder: Path) -> Counts:
    """Count a slice, one document per block; existing counts are reused.

    Args:
        text: The slice.
        folder: Where counts are kept.
    """
    if (folder / "counts.json").is_file() and (found := read_counts(folder)).manifest.complete:
        return found
    shutil.rmtree(folder, ignore_errors=True)
    lines = [json.dumps({"text": block}) for block in blocks(text)]
    source = folder.with_suffix(".jsonl")
    write_atomic(source, "\n".join(lines) + "\n", overwrite=True)
    recipe = RECIPES["seed"]
    wanted = CountSettings(n=tuple(range(1, recipe.longest + 1)), skips=tuple(range(recipe.furthest + 1)))
    count(TextCorpus([source]), TokenEncoder(seed_tokenizer(), "seed"), folder, wanted)
    return read_counts(folder)


def tables_of(stored: Counts) -> Tables:
    """Return the count tables of every context, as derivations need them."""
    found = {}
    for facts in stored.manifest.tables:
        if facts.n:
            one = stored.table(facts.n, facts.skip)
            found[facts.n, facts.skip] = NgramTable.of_tokens(one.contexts.astype(np.int64), one.matrix, facts.skip)
    return found


def sequences(text: str, stored: Counts, number: int = SEQUENCES) -> list[np.ndarray]:
    """Return the first tokens of evenly spaced blocks of a slice.

    Args:
        text: The slice.
        stored: Its counts, whose tokenizer reads it.
        number: How many at most.
    """
    every = blocks(text)
    places = np.linspace(0, len(every) - 1, min(number, len(every))).astype(int)
    return [np.array(stored.tokenizer.encode(every[place][:TOKENS]).ids) for place in places]


def sample(texts: Sequence[str], place: int, name: str, seed: int, folder: Path) -> CountSample:
    """Return one text slice as a unit; the next slice (or the first) serves as unseen text.

    Args:
        texts: Slices of a text.
        place: Which of them.
        name: Of the text.
        seed: Of the unit.
        folder: Where counts are kept.
    """
    other = (place + 1) % len(texts)
    own, unseen = (counted(texts[one], folder / f"{name}-{one}") for one in (place, other))
    return CountSample(f"{name}-{place}", seed, tables_of(own), tables_of(unseen), sequences(texts[place], own))
