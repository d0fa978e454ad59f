"""Recipes: named sets of all choices in a derivation.

Assign the components of a factorisation to the dimensions of a rotary head.

Rotary positions turn pairs of dimensions, dimension ``i`` and ``i + dim / 2``, by angles that grow with distance: the
first pair fastest. A component on a fast pair no longer matches its partner a few tokens away, so the components that
matter most belong on the slowest pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from math import inf
from typing import get_type_hints

import numpy as np

from heedful.errors import UsageError


def largest_fastest(dim: int) -> np.ndarray:
    """Return an order with components 1 and 2 on the fastest rotary pair; it reproduces an error in a published
    derivation.
    """
    component = np.arange(dim)
    return component // 2 + component % 2 * (dim // 2)


def largest_slowest(dim: int) -> np.ndarray:
    """Return an order with components 1 and 2 on the slowest rotary pair, where distance hardly rotates them."""
    component = np.arange(dim)
    return dim // 2 - 1 - component // 2 + component % 2 * (dim // 2)


ORDERS: dict[str, Callable[[int], np.ndarray]] = {
    function.__name__: function for function in (largest_fastest, largest_slowest)
}
"""Orders by name: ``dim``, even, to the dimension of each component, ``(dim,)``, largest singular value first."""


def arranged(order: str, matrix: np.ndarray, dim: int) -> np.ndarray:
    """Move columns to the dimensions of a rotary head; unused dimensions are 0.

    Args:
        order: A key of ``ORDERS``.
        matrix: ``(row, component)``, largest singular value first, at most ``dim`` of them.
        dim: Dimensions of the head, even.

    Returns:
        ``(row, dim)``.

    Raises:
        UsageError: The order is not known.
    """
    if order not in ORDERS:
        raise UsageError(f"order {order!r} is not known; one of: {', '.join(ORDERS)}")
    found = np.zeros((len(matrix), dim))
    found[:, ORDERS[order](dim)[: matrix.shape[1]]] = matrix
    return found


def rotated_vectors(vectors: np.ndarray, turn: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Rotate vectors of consecutive positions as a rotary head does.

    Args:
        vectors: ``(position, dim)``.
        turn: Cosines and sines, ``(position, dim)`` each, of at least as many positions.
    """
    cosine, sine = (part[: len(vectors)] for part in turn)
    first, second = np.split(vectors, 2, axis=-1)
    return vectors * cosine + np.concatenate([-second, first], axis=-1) * sine


CHOICES = {
    "factorisation": ("plain", "frequency"),
    "query": ("last_token", "previous_tokens"),
    "pattern": ("content", "offset"),
    "value": ("probability", "log_ratio", "copy"),
    "order": tuple(ORDERS),
    "subtracted": ("nothing", "position_shift"),
    "outputs": ("shared", "orthogonal"),
    "calibration": ("raw", "std", "logit_sd", "divergence", "reference"),
    "value_calibration": ("raw", "std", "residual"),
    "kept": ("embedding", "reinitialised"),
}
"""Words of the fields that are no names of other registries."""


@dataclass(frozen=True)
class DerivationRecipe:
    """All settings that turn counts into a model.

    Attributes:
        affinity: Matrix that queries and keys factorise, a key of ``AFFINITIES``.
        factorisation: ``plain``, or weighed by ``frequency``.
        embedding: A key of ``EMBEDDINGS``.
        encoder: A key of ``ENCODERS``.
        query: ``last_token`` of a longer context stands for it, or ``previous_tokens`` are all read.
        pattern: ``content`` decides where heads look, or a fixed ``offset``: their skip.
        value: What is taken from a key's token: ``probability`` of or ``log_ratio`` for what follows it, or a ``copy``.
        order: Of components on the pairs that rotary positions turn, a key of ``ORDERS``.
        subtracted: Taken from affinities first: ``nothing``, or the ``position_shift`` of a published correction, which
            loses.
        outputs: Heads write where they will, ``shared``, or those of different skips into ``orthogonal`` subspaces.
        calibration: Of the logits: ``raw``; matrices of a ``std``; logits of a ``logit_sd``; least ``divergence``;
            or logits that spread as those of a ``reference`` model.
        target: What ``std`` or ``logit_sd`` should be.
        value_calibration: Of what heads add: ``raw``; value and output matrices of a ``value_std``; or as much as the
            ``residual`` stream holds, a layer's heads together.
        value_std: Standard deviation of value and output matrices where they are brought to one.
        width: Of the embeddings.
        head_dim: Components a head.
        layers: Layers; layer l has contexts of ``shortest + l`` tokens, up to ``longest``.
        heads: Heads a layer; head j has skip j, up to ``furthest``.
        shortest: Context of the first layer.
        longest: Longest context.
        furthest: Largest skip.
        inner: Width of the feed-forward part; 0 for none.
        positions: As in ``HeedfulDerivedConfig``.
        attention_input: As in ``HeedfulDerivedConfig``.
        final_norm: As in ``HeedfulDerivedConfig``.
        kept: The ``embedding`` that the matrices were derived for stays, or is ``reinitialised``: a fault of the
            published code, here so that its figures can be had.
    """

    affinity: str = "log_probability_backoff"
    factorisation: str = "frequency"
    embedding: str = "random_unit"
    encoder: str = "pseudo_inverse"
    query: str = "previous_tokens"
    pattern: str = "content"
    value: str = "copy"
    order: str = "largest_slowest"
    subtracted: str = "nothing"
    outputs: str = "shared"
    calibration: str = "raw"
    target: float = 1.0
    value_calibration: str = "raw"
    value_std: float = 0.01
    width: int = 256
    head_dim: int = 64
    layers: int = 1
    heads: int = 1
    shortest: int = 1
    longest: int = 1
    furthest: int = 0
    inner: int = 1024
    positions: str = "none"
    attention_input: str = "layer_norm"
    final_norm: bool = True
    kept: str = "embedding"

    def __post_init__(self) -> None:
        for name, words in CHOICES.items():
            if getattr(self, name) not in words:
                raise UsageError(f"{name} {getattr(self, name)!r} is not known; one of: {', '.join(words)}")
        for name in ("width", "head_dim", "layers", "heads", "shortest", "longest"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1; came {getattr(self, name)}")
        if self.shortest > self.longest:
            raise UsageError(f"shortest must be at most longest; came {self.shortest} and {self.longest}")
        if self.furthest < 0 or self.inner < 0:
            raise UsageError(f"furthest and inner must be at least 0; came {self.furthest} and {self.inner}")
        if not (0 < self.target < inf and 0 < self.value_std < inf):
            raise UsageError(
                f"target and value_std must be above 0 and finite; came {self.target} and {self.value_std}"
            )
        self._check_positions()

    def _check_positions(self) -> None:
        if self.subtracted == "position_shift" and self.positions not in ("learned", "sinusoidal"):
            raise UsageError(
                f"subtracted 'position_shift' wants positions learned or sinusoidal, which are added to tokens; came "
                f"{self.positions}"
            )
        subspaces = min(self.heads, self.furthest + 1)
        if self.outputs == "orthogonal" and subspaces * self.head_dim > self.width:
            raise UsageError(
                f"outputs 'orthogonal' wants a width of at least {subspaces} skips x head_dim {self.head_dim} = "
                f"{subspaces * self.head_dim}; came {self.width}"
            )

    def context(self, layer: int) -> int:
        """Return the number of tokens in a layer's contexts."""
        return min(self.shortest + layer, self.longest)

    def skip(self, head: int) -> int:
        """Return the number of tokens between a head's context and the counted token."""
        return min(head, self.furthest)

    @property
    def reads_text(self) -> bool:
        """Whether a calibration of the recipe is fitted on text."""
        return self.calibration in ("logit_sd", "divergence", "reference") or self.value_calibration == "residual"

    def wanted(self) -> set[tuple[int, int]]:
        """Return the (context length, skip) pairs whose counts the recipe needs."""
        lengths = {self.context(layer) for layer in range(self.layers)}
        pairs = {(length, self.skip(head)) for length in lengths for head in range(self.heads)}
        if self.query == "previous_tokens":
            pairs = {(1, skip + back) for length, skip in pairs for back in range(length)}
        else:
            pairs |= {(length - 1, 0) for length in lengths if length > 1}
        return pairs | {(1, self.skip(head)) for head in range(self.heads)} | {(1, 0)}


RECIPES = {
    "seed": DerivationRecipe(
        affinity="normalised",
        factorisation="plain",
        encoder="transpose",
        query="last_token",
        value="probability",
        order="largest_fastest",
        calibration="std",
        target=0.01,
        value_calibration="std",
        value_std=0.01,
        layers=4,
        heads=4,
        longest=2,
        furthest=3,
        positions="learned",
        kept="reinitialised",
    ),
    "corrected": DerivationRecipe(),
    "offset": DerivationRecipe(
        pattern="offset", value="log_ratio", heads=4, furthest=3, attention_input="none", positions="none"
    ),
}
"""``seed``: the published derivation with its faults. ``corrected``: log P, least squares, paired with copying.
``offset``: each head looks a fixed number of tokens back and adds what that token says about the next."""


def recipe_named(name: str, changes: Sequence[str] = ()) -> DerivationRecipe:
    """Return a recipe of ``RECIPES`` with changes from the command line.

    Args:
        name: Its name.
        changes: ``FIELD=VALUE`` each.

    Raises:
        UsageError: There is none of this name, or a change cannot be read.
    """
    if name not in RECIPES:
        raise UsageError(f"--recipe {name!r}: expected one of {', '.join(RECIPES)}")
    words = {}
    for one in changes:
        field, equals, value = one.partition("=")
        if not equals:
            raise UsageError(f"--set {one!r}: expected FIELD=VALUE, such as width=512")
        words[field.strip()] = value.strip()
    return changed(RECIPES[name], **words)


def changed(recipe: DerivationRecipe, **words: str) -> DerivationRecipe:
    """Return a recipe with some fields replaced by command-line values.

    Raises:
        UsageError: A field is not known, or its value is of another kind.
    """
    kinds = get_type_hints(DerivationRecipe)
    values = {field.name: getattr(recipe, field.name) for field in fields(DerivationRecipe)}
    for name, word in words.items():
        if name not in values:
            raise UsageError(f"{name!r} is no field of a recipe; one of: {', '.join(values)}")
        values[name] = _read(name, word, kinds[name])
    return DerivationRecipe(**values)


def _read(name: str, word: str, wanted: object) -> object:
    if wanted is bool:
        if word not in ("true", "false"):
            raise UsageError(f"{name}: expected true or false; came {word!r}")
        return word == "true"
    if wanted is str:
        return word
    try:
        return int(word) if wanted is int else float(word)
    except ValueError:
        kind = "a whole number, such as 256" if wanted is int else "a number"
        raise UsageError(f"{name}: expected {kind}; came {word!r}") from None
