"""Variants made from given models: each derived head in its present state, or, for a model without derivation, the
head nearest to the counts.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from torch import nn

from heedful.errors import InputRejected
from heedful.ngrams.derivation.recipe import DerivationRecipe
from heedful.ngrams.remedies import oracles
from heedful.ngrams.remedies.given_heads import nearest_head
from heedful.ngrams.remedies.text import Material
from heedful.ngrams.remedies.variant import GivenHeads, Variant

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
        """Context length and skip of the counts with which each derived head is compared, by (layer, head); empty if
        the model has no such head.
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
    """Return the variants made from given models, and the reason for each model whose heads can't be compared with the
    counts, by model name.

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
