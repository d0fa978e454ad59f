"""Compute derived matrices and load them into a transformers model.

Scale the output of derived heads relative to the residual stream, measured in the running model.

Project head outputs to orthogonal subspaces, so that heads do not overwrite each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from heedful.errors import InputRejected, UsageError
from heedful.ngrams.derivation.calibrated import PIECE, calibrated
from heedful.ngrams.derivation.embeddings import embedding, fingerprint
from heedful.ngrams.derivation.encoder import layer_normalised
from heedful.ngrams.derivation.factors import SharedFactors
from heedful.ngrams.derivation.head import HeadMatrices, Stage, Tables, derived_head
from heedful.ngrams.derivation.model.attention.corpus_derived import CorpusDerivedAttention, distinct_tokens
from heedful.ngrams.derivation.model.derived import HeedfulDerivedForCausalLM, sinusoids
from heedful.ngrams.derivation.model.derived_config import HeedfulDerivedConfig
from heedful.ngrams.derivation.recipe import DerivationRecipe
from heedful.ngrams.derivation.table import NgramTable
from heedful.training.model.attention.softmax import rotation

Progress = Callable[[int, int, str], None]

Spreads = Sequence[Sequence[float]]
"""Standard deviations of logits by layer and head."""

LENGTH = 256
"""Most tokens of a sequence, unless told otherwise."""

INITIAL_STD = 0.02
"""Of what is not derived, as in GPT-2."""


@dataclass(frozen=True)
class Derived:
    """A derived model with its recipe, head matrices and reports.

    Attributes:
        model: In evaluation mode, float32.
        heads: Matrices by layer and head.
        embedding: ``(vocabulary, width)`` that they were derived for, float64.
    """

    model: HeedfulDerivedForCausalLM
    heads: list[list[HeadMatrices]]
    embedding: np.ndarray


def derive(
    tables: Tables,
    recipe: DerivationRecipe,
    documents: Sequence[np.ndarray] = (),
    length: int = LENGTH,
    seed: int = 0,
    *,
    spreads: Spreads | None = None,
    shared: SharedFactors | None = None,
    progress: Progress = lambda done, total, what: None,
) -> Derived:
    """Compute a model's attention from count tables.

    Args:
        tables: Counts by context length and skip, over one vocabulary.
        recipe: What is derived how.
        documents: Short pieces of text for calibrations that want them.
        length: Most tokens of a sequence.
        seed: Of embeddings and of what is not derived.
        spreads: Spread of the logits by layer and head of a reference model (``logit_spreads`` gives it), at least as
            many as the recipe has; for calibration ``reference``.
        shared: Decompositions that several calls share; None keeps none.
        progress: Called with (done, total, what).

    Raises:
        UsageError: Counts that the recipe wants are missing, or its parts do not go together.
        InputRejected: A matrix has no directions, or its decomposition does not converge.
    """
    first = tables[1, 0] if (1, 0) in tables else next(iter(tables.values()))
    wanted = _wanted_spreads(recipe, spreads)
    shared = shared or SharedFactors()
    rows = embedding(recipe.embedding, first, recipe.width, seed, shared)
    model = _empty(recipe, first.vocabulary, length, seed)
    heads = _heads(tables, recipe, _stage(recipe, rows, first, model, shared), documents, wanted, progress)
    with torch.no_grad():
        if recipe.kept == "embedding":
            model.model.embed_tokens.weight.copy_(torch.from_numpy(rows))
            model.config.embedding_fingerprint = fingerprint(rows)
        for layer, made in zip(model.model.layers, heads, strict=True):
            _pour(layer.attention, made)
    model.eval()
    if recipe.value_calibration == "residual":
        heads = residual_outputs(model, heads, documents)
    return Derived(model, heads, rows)


def _empty(recipe: DerivationRecipe, vocabulary: int, length: int, seed: int) -> HeedfulDerivedForCausalLM:
    """The model before anything is derived; the random state is as it was."""
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    try:
        return HeedfulDerivedForCausalLM(derived_config(recipe, vocabulary, length))
    except ValueError as error:
        raise UsageError(f"the recipe makes no model: {error}") from error
    finally:
        torch.set_rng_state(state)


def _heads(
    tables: Tables,
    recipe: DerivationRecipe,
    stage: Stage,
    documents: Sequence[np.ndarray],
    spreads: Spreads,
    progress: Progress,
) -> list[list[HeadMatrices]]:
    """Every head's matrices, by layer."""
    skips = [recipe.skip(head) for head in range(recipe.heads)]
    contexts = [recipe.context(layer) for layer in range(recipe.layers)]
    made: dict[tuple[int, int], HeadMatrices] = {}
    pairs = list(dict.fromkeys((context, skip) for context in contexts for skip in skips))
    for done, pair in enumerate(pairs):
        progress(done, len(pairs), "heads")
        made[pair] = derived_head(tables, recipe, stage, *pair)
    heads = [[made[context, skip] for skip in skips] for context in contexts]
    if recipe.outputs == "orthogonal":
        heads = orthogonal_outputs(heads, skips)
    made.clear()
    # Layers of one context are one layer until their values are brought to the stream: it is held once.
    found: dict[tuple[int, tuple[float, ...]], list[HeadMatrices]] = {}
    for layer, context, row in zip(heads, contexts, spreads, strict=True):
        if (context, tuple(row)) not in found:
            counted = [tables.get((context, skip), tables[1, skip]) for skip in skips]
            found[context, tuple(row)] = calibrated(layer, counted, recipe, stage, documents, row)
    return [found[context, tuple(row)] for context, row in zip(contexts, spreads, strict=True)]


def _stage(
    recipe: DerivationRecipe,
    rows: np.ndarray,
    first: NgramTable,
    model: HeedfulDerivedForCausalLM,
    shared: SharedFactors,
) -> Stage:
    config, turn = model.config, None
    if recipe.positions == "rotary":
        at = torch.arange(config.max_position_embeddings)[None]
        cosine, sine = rotation(at, config.head_dim, config.rope_theta, torch.float64)
        turn = cosine[0].numpy(), sine[0].numpy()
    return Stage(
        embedding=rows,
        fed=layer_normalised(rows) if recipe.attention_input == "layer_norm" else rows,
        positions=places(model),
        turn=turn,
        encoder=recipe.encoder,
        frequency=first.row_sums + 1 if first.length == 1 else None,
        shared=shared,
    )


def _wanted_spreads(recipe: DerivationRecipe, spreads: Spreads | None) -> Spreads:
    """The spreads of the recipe's own layers and heads."""
    if recipe.calibration != "reference":
        return [()] * recipe.layers
    if spreads is None:
        raise UsageError("calibration 'reference' wants the spread of a reference model's logits; none came")
    if len(spreads) < recipe.layers or min(map(len, spreads)) < recipe.heads:
        had = f"{len(spreads)} layers of {min(map(len, spreads), default=0)} heads"
        raise UsageError(f"calibration 'reference' wants {recipe.layers} layers of {recipe.heads} heads; it has {had}")
    found = [tuple(row[: recipe.heads]) for row in spreads[: recipe.layers]]
    if not all(math.isfinite(value) and value > 0 for row in found for value in row):
        raise UsageError(f"calibration 'reference' wants spreads above 0; came {found}")
    return found


def derived_config(recipe: DerivationRecipe, vocabulary: int, length: int) -> HeedfulDerivedConfig:
    """Return the config of the model that a recipe defines.

    Args:
        recipe: What is derived how.
        vocabulary: Tokens.
        length: Most tokens of a sequence.

    Raises:
        ValueError: Sizes that do not go together.
    """
    offsets: list[int | None] = [
        recipe.skip(head) if recipe.pattern == "offset" else None for head in range(recipe.heads)
    ]
    return HeedfulDerivedConfig(
        vocab_size=vocabulary,
        hidden_size=recipe.width,
        intermediate_size=recipe.inner,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        head_dim=recipe.head_dim + recipe.head_dim % 2,
        max_position_embeddings=length,
        positions=recipe.positions,
        attention_input=recipe.attention_input,
        final_norm=recipe.final_norm,
        context=[recipe.context(layer) if recipe.query == "previous_tokens" else 1 for layer in range(recipe.layers)],
        offsets=[list(offsets) for _ in range(recipe.layers)],
        initializer_range=INITIAL_STD,
    )


def usual_length(recipe: DerivationRecipe) -> int:
    """Return the default maximum length: ``LENGTH``, or less if heads with a fixed offset cannot tell so many positions
    apart.

    Heads that tell fewer apart than a piece of text has are left to be refused.

    Args:
        recipe: What is derived how.
    """
    if recipe.pattern != "offset":
        return LENGTH
    most = distinct_tokens(recipe.head_dim + recipe.head_dim % 2, LENGTH)
    return most if most >= PIECE else LENGTH


def places(model: HeedfulDerivedForCausalLM) -> np.ndarray | None:
    """Return the position vectors added to tokens, ``(position, width)`` float64; None if there are none."""
    config = model.config
    if config.positions == "learned":
        return model.model.embed_positions.weight.detach().double().numpy()
    if config.positions == "sinusoidal":
        at = torch.arange(config.max_position_embeddings)[None]
        return sinusoids(at, config.hidden_size, torch.float64)[0].numpy()
    return None


def _pour(attention: CorpusDerivedAttention, heads: Sequence[HeadMatrices]) -> None:
    """Every head's matrices into its rows of the projections; dimensions beyond their rank are 0."""
    dim = attention.head_dim
    projections = (attention.q_proj, attention.k_proj, attention.v_proj)
    for projection in (*projections, attention.o_proj):
        projection.weight.zero_()
    for number, head in enumerate(heads):
        for projection, matrix in zip(projections, (head.query, head.key, head.value), strict=True):
            rows = slice(number * dim, number * dim + matrix.shape[1])
            projection.weight[rows] = torch.from_numpy(matrix.T).float()
        columns = slice(number * dim, number * dim + len(head.output))
        attention.o_proj.weight[:, columns] = torch.from_numpy(head.output.T).float()


def residual_outputs(
    model: HeedfulDerivedForCausalLM, heads: Sequence[Sequence[HeadMatrices]], documents: Sequence[np.ndarray]
) -> list[list[HeadMatrices]]:
    """Return heads whose output matrices are scaled so that their contribution is as large as the residual stream
    itself.

    Every head of a layer gets the same root mean square, and their sum that of the stream, over all positions of the
    text: the stream's root mean square at most doubles in a layer, however heads agree. Layers are met one after the
    other, each behind those that are done, in the model itself, whose matrices change with those returned.

    Args:
        model: It holds the heads already.
        heads: By layer.
        documents: Token numbers, ``(position,)`` each.

    Returns:
        The heads with other outputs.

    Raises:
        UsageError: There is no text.
        InputRejected: A head adds nothing, so that no factor makes it something.
    """
    if not len(documents):
        raise UsageError("value_calibration 'residual' wants text; none came")
    found = []
    for number, layer in enumerate(heads):
        projection, dim = model.model.layers[number].attention.o_proj, model.config.head_dim
        stream, mixed = _captured(model, number, documents)
        weight = projection.weight.detach()
        parts = [mixed[:, at : at + dim] @ weight[:, at : at + dim].T for at in range(0, len(layer) * dim, dim)]
        sizes = [_size(part) for part in parts]
        if not min(sizes) > 0:
            raise InputRejected(
                "counts", f"head {sizes.index(min(sizes))} of layer {number} adds nothing", "count more"
            )
        together = sum((part / size for part, size in zip(parts, sizes, strict=True)), torch.zeros_like(stream))
        factors = [_size(stream) / _size(together) / size for size in sizes]
        with torch.no_grad():
            for head, factor in enumerate(factors):
                projection.weight[:, head * dim : (head + 1) * dim] *= factor
        found.append([head.scaled(output=factor) for head, factor in zip(layer, factors, strict=True)])
    return found


def _size(vectors: Tensor) -> float:
    """Root mean square."""
    return float(vectors.double().square().mean().sqrt())


def _captured(model: HeedfulDerivedForCausalLM, number: int, documents: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """The stream before a layer, ``(position, width)``, and its heads' mixed values, ``(position, head * dim)``."""
    layer = model.model.layers[number]
    streams: list[Tensor] = []
    mixed: list[Tensor] = []

    def stream_in(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        streams.append(given[0].detach().flatten(0, 1))

    def values_in(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        mixed.append(given[0].detach().flatten(0, 1))

    hooks = [
        layer.register_forward_pre_hook(stream_in),
        layer.attention.o_proj.register_forward_pre_hook(values_in),
    ]
    try:
        with torch.no_grad():
            for tokens in documents:
                model.model(torch.from_numpy(np.asarray(tokens))[None])
    finally:
        for hook in hooks:
            hook.remove()
    return torch.cat(streams), torch.cat(mixed)


OWN = 1e-10
"""Share of a direction's length under which nothing of it is left outside of earlier subspaces."""


def orthogonal_outputs(heads: Sequence[Sequence[HeadMatrices]], skips: Sequence[int]) -> list[list[HeadMatrices]]:
    r"""Return the heads with outputs projected onto mutually orthogonal subspaces, one per skip.

    The outputs of all heads of a skip, in every layer, span its subspace; skips take turns from the smallest on, and
    each keeps what earlier ones left. With an orthonormal basis ``B`` of it,

    .. math:: W_O \leftarrow W_O B^\top B

    Pitfall: this costs what heads have in common. What skips would all write (how frequent tokens are, above all) stays
    with the first alone, and each later head loses more; room is what the embeddings span, which is the vocabulary
    where that is smaller than the width. Published with a derivation whose last heads got random
    directions where none were left; here that is refused.

    Args:
        heads: By layer.
        skips: Of each head of a layer; heads of one skip share a subspace.

    Returns:
        The heads; of a skip's OV matrix what lies in its subspace is as it was, the rest is gone.

    Raises:
        InputRejected: Earlier skips left nothing of a skip's outputs.
    """
    bases: dict[int, np.ndarray] = {}
    for skip in sorted(set(skips)):
        outputs = [head.output for layer in heads for head, own in zip(layer, skips, strict=True) if own == skip]
        bases[skip] = _basis(np.concatenate(outputs), max(map(len, outputs)), bases, skip)
    return [
        [
            replace(head, output=head.output @ bases[skip].T @ bases[skip])
            for head, skip in zip(layer, skips, strict=True)
        ]
        for layer in heads
    ]


def _basis(outputs: np.ndarray, most: int, earlier: Mapping[int, np.ndarray], skip: int) -> np.ndarray:
    """Orthonormal rows ``(direction, width)`` of the leading directions of outputs, outside of earlier subspaces."""
    _, sizes, directions = np.linalg.svd(outputs, full_matrices=False)
    leading = directions[:most][sizes[:most] > OWN * sizes[0]]
    taken = np.concatenate(list(earlier.values())) if earlier else np.zeros((0, outputs.shape[1]))
    for _ in range(2):  # a second time, since the first leaves rounding along the earlier subspaces
        leading = leading - leading @ taken.T @ taken
    _, left, own = np.linalg.svd(leading, full_matrices=False)
    if not (left > OWN).any():
        raise InputRejected(
            "outputs", f"heads of skip {skip} write only where those of smaller skips do", "set outputs=shared"
        )
    return np.asarray(own[left > OWN])
