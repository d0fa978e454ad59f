"""Variants made from given models: derived heads as they now are, or the head that is nearest to the counts.

Compute attention logits of a running model's heads on short excerpts, by layer and batch.

Load the models given to a suite, check them against the counts, and group their seeds.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.special import log_softmax
from torch import Tensor, nn

from heedful.attention.call import AttentionCall
from heedful.attention.engines.points import logits_of
from heedful.errors import InputRejected, UsageError
from heedful.evaluation.evidence import Array
from heedful.evaluation.running import device_of, evaluating, run_model
from heedful.interception.event import AttentionEvent
from heedful.interception.intercept import intercept, unwatched
from heedful.loading.loaded_model import LoadedModel, load_model
from heedful.loading.wording import escaped
from heedful.ngrams.alignment.count_alignment import visible_before
from heedful.ngrams.counting.reading import Counts, read_counts
from heedful.ngrams.derivation.recipe import DerivationRecipe
from heedful.ngrams.remedies import oracles
from heedful.ngrams.remedies.record import GivenModel, LearntEmbeddings
from heedful.ngrams.remedies.variant import GivenHeads, Material, Variant
from heedful.ngrams.training.model_facts import FROZEN, ModelFacts, model_facts

GROUP = "models"

Context = tuple[int, int]
"""Tokens in a context, and skip."""

FIRST: Context = (1, 0)
UNIFORM = {FIRST: "uniform", (2, 0): "uniform_2"}
"""Variants of equal weights that the suite has, by what they are held against."""

OFFSET = "it attends a fixed number of tokens back, whatever stands there: counts do not say where it should attend"


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A given model, or several that differ only in their seed.

    Attributes:
        name: Its word.
        models: One a seed.
        recipe: What its heads were derived by; None where they were learnt, and nothing says what they should do.
        against: Name of the subject whose heads it changes, one by one; empty for equal weights.
    """

    name: str
    models: Sequence[nn.Module]
    recipe: DerivationRecipe | None
    against: str = ""

    @property
    def contexts(self) -> dict[tuple[int, int], Context]:
        """Context length and skip of the counts that belong to each derived head, by (layer, head); empty without
        derived heads.
        """
        recipe = self.recipe
        if recipe is None or recipe.pattern == "offset":
            return {}
        return {
            (layer, head): (recipe.context(layer), recipe.skip(head))
            for layer in range(recipe.layers)
            for head in range(recipe.heads)
        }

    @property
    def wanted(self) -> set[Context]:
        """Pairs (context length, skip) of the count tables with which the subject's heads are compared."""
        return set(self.contexts.values()) or {FIRST}


def model_variants(
    subjects: Sequence[Subject], material: Material, known: Collection[str]
) -> tuple[list[Variant], dict[str, str]]:
    """Return the variants made from given models, and why other models cannot be compared with the counts, by name.

    Args:
        subjects: The models.
        material: Text that nearest heads are chosen on: the fitting pieces, none of them measured.
        known: Names of the variants before, among them those of equal weights.
    """
    variants: list[Variant] = []
    skipped: dict[str, str] = {}
    for subject in subjects:
        if subject.recipe is None:
            try:
                variants.append(_nearest(subject, material))
            except InputRejected as error:
                skipped[subject.name] = f"{error.what} ({error.fix})"
        elif subject.recipe.pattern == "offset":
            skipped[subject.name] = f"of every head, {OFFSET}"
        variants += [_derived(subject, *place, context) for place, context in subject.contexts.items()]
    pairs = sorted({(variant.n, variant.skip) for variant in variants})
    return [_uniform(pair) for pair in pairs if equal_weights(pair) not in known] + variants, skipped


def equal_weights(pair: Context) -> str:
    """Return the name of the equal-weights variant for these counts.

    Args:
        pair: Context length and skip.
    """
    return UNIFORM.get(pair, f"uniform_{pair[0]}_skip_{pair[1]}")


def _uniform(pair: Context) -> Variant:
    message = f"equal weights beside counts of n={pair[0]} skip={pair[1]}"
    return Variant(name=equal_weights(pair), group=GROUP, change=message, source=oracles.equal, n=pair[0], skip=pair[1])


def _derived(subject: Subject, layer: int, head: int, pair: Context) -> Variant:
    place = f"L{layer}H{head}"
    return Variant(
        name=f"{subject.name}:{place}",
        group=GROUP,
        change=f"layer {layer}, head {head}, beside counts of n={pair[0]} skip={pair[1]}",
        source=GivenHeads([(model, layer, head) for model in subject.models]),
        against=f"{subject.against}:{place}" if subject.against else equal_weights(pair),
        n=pair[0],
        skip=pair[1],
    )


def _nearest(subject: Subject, material: Material) -> Variant:
    """The head of the whole model that is nearest to what the counts expect of pieces that are not measured."""
    expected = material.expected("fitting", *FIRST)
    heads = [(model, *nearest_head(model, material.fitting.tokens, expected)) for model in subject.models]
    places = list(dict.fromkeys(f"L{layer}H{head}" for _, layer, head in heads))
    return Variant(
        name=f"{subject.name}:{places[0] if len(places) == 1 else 'nearest'}",
        group=GROUP,
        change=f"{', '.join(places)}: nearest of all heads to the counts of n=1 skip=0 on pieces that are not measured",
        source=GivenHeads(heads),
        against=equal_weights(FIRST),
    )


BATCH = 64
"""Pieces that go through a model together."""

Visit = Callable[[int, int, Array], None]
"""Called with a layer, the number of the first piece of a batch, and logits ``(piece, head, row, column)``."""


def visit_heads(model: nn.Module, tokens: np.ndarray, visit: Visit) -> None:
    """Call ``visit`` with the logits of every layer of a model, one batch of excerpts at a time.

    Columns are keys, -inf where the softmax sees none, and one more where the head has a learned sink: it takes weight
    as a key does, and a temperature acts on it.

    Args:
        model: Any causal model.
        tokens: ``(piece, position)`` token numbers.
        visit: What is done with rows from the second on.

    Raises:
        InputRejected: A query sees later tokens.
    """
    layers: dict[str, int] = {}
    begin = 0

    def captured(event: AttentionEvent) -> None:
        call = event.call
        if (call.n_queries, call.n_keys) != (tokens.shape[1], tokens.shape[1]):
            return
        layer = layers.setdefault(event.path, len(layers))
        with unwatched(), torch.no_grad():
            visit(layer, begin, _columns(call, event.path))

    with evaluating(model), torch.no_grad(), intercept(model, captured):
        for begin in range(0, len(tokens), BATCH):
            ids = torch.from_numpy(tokens[begin : begin + BATCH]).to(device_of(model))
            run_model(model, ids, torch.ones_like(ids))


def _columns(call: AttentionCall, path: str) -> Array:
    visible = visible_before(call, np.arange(1, call.n_queries), path)
    logits = logits_of(call, 1, call.n_queries).double().masked_fill(~visible, -torch.inf)
    if call.sink is not None:
        sink: Tensor = call.sink.double().view(1, -1, 1, 1)
        logits = torch.cat([logits, sink.expand(*logits.shape[:-1], 1)], dim=-1)
    return np.asarray(logits.cpu().numpy())


def head_logits(model: nn.Module, tokens: np.ndarray, layer: int, head: int) -> Array:
    """Return one head's attention logits, ``(excerpt, query, key)``; queries start at the second position.

    Args:
        model: Any causal model.
        tokens: ``(piece, position)`` token numbers.
        layer: In the order of calls.
        head: Query head.

    Raises:
        InputRejected: A query sees later tokens or misses earlier ones, or there is no such head to be met.
    """
    found: list[Array] = []

    def visit(at: int, begin: int, logits: Array) -> None:
        if at == layer and head < logits.shape[1]:
            found.append(logits[:, head])

    visit_heads(model, tokens, visit)
    if sum(map(len, found)) != len(tokens):
        raise InputRejected(f"layer {layer}, head {head}", "no attention of it was captured while the model ran")
    logits = np.concatenate(found)
    if not _whole(logits).all():
        message = (
            "keys are hidden from some queries, as by a window, so that the KL from what counts expect has no bound"
        )
        raise InputRejected(f"layer {layer}, head {head}", message, "give a smaller --length")
    return logits


def nearest_head(model: nn.Module, tokens: np.ndarray, expected: Array) -> tuple[int, int]:
    """Return layer and head with the smallest mean KL from expected weights.

    Args:
        model: Any causal model.
        tokens: ``(piece, position)`` token numbers.
        expected: ``(piece, row, position)`` of rows from the second on; NaN where nothing is expected.

    Raises:
        InputRejected: Every layer hides keys from some queries.
    """
    defined = np.asarray(~np.isnan(expected).any(-1))
    known, keys = np.where(defined[..., None], expected, 0.0), expected.shape[-1]
    sums: dict[int, Array] = {}
    hides: set[int] = set()

    def visit(layer: int, begin: int, logits: Array) -> None:
        wanted = known[begin : begin + len(logits), None]
        logs = log_softmax(logits, axis=-1)[..., :keys]
        crossed = -(wanted * np.where(wanted > 0, logs, 0.0)).sum((0, 2, 3))
        sums[layer] = sums.get(layer, 0.0) + crossed
        if not _whole(logits).all():
            hides.add(layer)

    visit_heads(model, tokens, visit)
    least = {layer: total for layer, total in sums.items() if layer not in hides and np.isfinite(total).any()}
    if not least:
        message = "none of its attention was captured, or all of it hides keys from some queries, as by a window"
        raise InputRejected(type(model).__name__, message, "give a smaller --length")
    layer = min(least, key=lambda one: float(np.nanmin(least[one])))
    return layer, int(np.nanargmin(least[layer]))


def _whole(logits: Array) -> np.ndarray:
    """Whether each row sees every key up to its own, ``(..., row)``."""
    rows = logits.shape[-2]
    behind = np.triu(np.ones((rows, rows + 1), dtype=bool), 2)
    return np.asarray((np.isfinite(logits[..., : rows + 1]) | behind).all(-1))


def check_causal(model: nn.Module, tokens: np.ndarray, name: str) -> None:
    """Raise an error if a model, run on one excerpt, is not causal.

    Args:
        model: The model.
        tokens: ``(1, position)`` token numbers.
        name: What the user called it.

    Raises:
        InputRejected: It cannot be run so, shows no attention, or its queries see later tokens.
    """
    layers: set[int] = set()
    try:
        visit_heads(model, tokens, lambda layer, begin, logits: layers.add(layer))
    except InputRejected as error:
        raise InputRejected(name, f"{error.subject}: {error.what}", error.fix) from error
    except (TypeError, ValueError, RuntimeError, IndexError) as error:
        message = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
        raise InputRejected(name, f"its forward raised on {tokens.shape[1]} token ids: {message}") from error
    if not layers:
        raise InputRejected(name, "it ran and showed no attention", "give a model that has some")


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
    """Load the given models; return a suite's subjects and their records. Models that differ only in their seed are one
    subject.

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
