"""Project head outputs to orthogonal subspaces, so that heads do not overwrite each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from heedful.errors import InputRejected
from heedful.ngrams.derivation.head import HeadMatrices

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
