"""Load the models given to a suite, check them against the counts, and group their seeds."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from heedful.errors import InputRejected, UsageError
from heedful.loading.loaded_model import LoadedModel, load_model
from heedful.loading.wording import escaped
from heedful.ngrams.counting.reading import Counts, read_counts
from heedful.ngrams.remedies.given_heads import check_causal
from heedful.ngrams.remedies.model_variants import Subject
from heedful.ngrams.remedies.record import GivenModel, LearntEmbeddings
from heedful.ngrams.training.model_facts import FROZEN, ModelFacts, model_facts

LONGEST = 12
"""Characters of a model's word, so that a table of its heads is one line a head in a terminal."""

_APART = re.compile(r"[\s:,]")
"""What stands between names."""


@dataclass(frozen=True)
class _One:
    """One folder, loaded."""

    place: str
    loaded: LoadedModel
    facts: ModelFacts


def given_models(places: Sequence[str], counts: Counts, length: int) -> tuple[list[Subject], list[GivenModel]]:
    """Load the given models and return a suite's subjects and their records, in the given order; models that differ
    only in their seed form one subject.

    Folders that differ in their seeds alone become one subject. A run whose embeddings were trained is held against the
    same run with frozen embeddings, where that is given too.

    Args:
        places: Folders, or what else ``load_model`` takes.
        counts: Whose tokenizer all must have.
        length: Tokens of the pieces that they will read.

    Raises:
        UsageError: A path is missing or given twice, or a model does not go with the counts or the pieces.
        InputRejected: A file of one is malformed, unknown, or would have to be run.
    """
    families: dict[str, list[_One]] = {}
    for one in [_load(place, counts, length) for place in _once(places)]:
        families.setdefault(one.facts.same, []).append(one)
    words = _words([[one.place for one in family] for family in families.values()])
    named = list(zip(words, families.values(), strict=True))
    frozen = {family[0].facts.twin: word for word, family in named if family[0].facts.embeddings == FROZEN}
    subjects, messages = [], []
    for word, family in named:
        _check_seeds(family)
        facts = family[0].facts
        against = "" if facts.embeddings == FROZEN else frozen.get(facts.twin, "")
        models = [one.loaded.model for one in family]
        subjects.append(Subject(name=word, models=models, recipe=facts.recipe, against=against if facts.twin else ""))
        messages.append(_given_model(word, family, subjects[-1].against))
    return subjects, messages


def _once(places: Sequence[str]) -> Sequence[str]:
    real = [os.path.realpath(place) for place in places]
    for number, place in enumerate(places):
        if real[number] in real[:number]:
            raise UsageError(f"--model {escaped(place)}: given twice (name each model once)")
    return places


def _load(place: str, counts: Counts, length: int) -> _One:
    loaded = load_model(place)
    option = f"--model {escaped(place)}"
    tokenizer = getattr(loaded.tokenizer, "backend_tokenizer", None)
    if tokenizer is None:
        raise UsageError(f"{option}: has no tokenizer to compare with that of the counts (give a whole model folder)")
    try:
        read_counts(counts.path, tokenizer=tokenizer)
    except InputRejected as error:
        fix = "count the text with --tokenizer and the model's, or give a model trained with that of the counts"
        raise UsageError(f"{option}: {error.subject}: {error.what} ({fix})") from error
    vocabulary, rows = counts.manifest.vocabulary, loaded.vocab_size
    if rows is not None and rows < vocabulary:
        raise UsageError(f"{option}: embeds {rows:,} tokens, the counts have {vocabulary:,} (give their own model)")
    if loaded.max_positions is not None and loaded.max_positions < length:
        raise UsageError(f"{option}: takes at most {loaded.max_positions} tokens, pieces have {length} (--length)")
    try:
        check_causal(loaded.model, np.arange(length)[None] % vocabulary, option)
    except InputRejected as error:
        raise UsageError(str(error)) from error
    return _One(place, loaded, model_facts(Path(place)))


def _check_seeds(family: Sequence[_One]) -> None:
    """The same seed twice would be averaged as if it were two."""
    seeds: dict[int | None, str] = {}
    for one in family:
        if one.facts.seed in seeds:
            message = f"the same settings and seed as {escaped(seeds[one.facts.seed])}"
            raise UsageError(f"--model {escaped(one.place)}: {message} (name each model once)")
        seeds[one.facts.seed] = one.place


def _given_model(name: str, family: Sequence[_One], against: str) -> GivenModel:
    facts = family[0].facts
    drifts = [one.facts.drift for one in family if one.facts.drift is not None]
    learnt = None
    if facts.embeddings and len(drifts) == len(family):
        learnt = LearntEmbeddings(
            embeddings=facts.embeddings,
            step=max(one.step for one in drifts),
            change=[one.change for one in drifts],
            cosine=[one.cosine for one in drifts],
        )
    folders = [escaped(one.place) for one in family]
    return GivenModel(name=name, told=facts.description, folders=folders, against=against, learnt=learnt)


def _words(families: Sequence[Sequence[str]]) -> list[str]:
    """A short word for each family of paths: what their last parts begin with, or the first one's; none twice."""
    found: list[str] = []
    for paths in families:
        parts = [Path(os.path.abspath(path)).parts for path in paths]
        ends = [own[-1] for own in parts]
        if len(set(ends)) < len(ends):  # runs of a sweep are all called the same
            ends = [own[-2] if len(own) > 2 else own[-1] for own in parts]
        word = _shared(ends).rstrip("-_. 0123456789") if len(ends) > 1 else ends[0]
        word = _APART.sub("_", escaped(word or ends[0]))[:LONGEST]
        more = 1
        while word in found:
            more += 1
            word = f"{word[: LONGEST - 2].rstrip('0123456789#')}#{more}"
        found.append(word)
    return found


def _shared(words: Sequence[str]) -> str:
    """What words begin with alike."""
    first, last = min(words), max(words)
    alike = (place for place, (a, b) in enumerate(zip(first, last, strict=False)) if a != b)
    return first[: next(alike, min(len(first), len(last)))]
