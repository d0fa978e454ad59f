"""Outputs in subspaces of their own: at right angles, what is kept unchanged, and refused where nothing is left."""

from __future__ import annotations

import numpy as np
import pytest

from heedful.errors import InputRejected
from heedful.ngrams.derivation.head import HeadMatrices
from heedful.ngrams.derivation.orthogonal import orthogonal_outputs

WIDTH, RANK = 24, 5


def head(seed: int, shared: np.ndarray | None = None) -> HeadMatrices:
    query, key, value, output = np.random.default_rng(seed).standard_normal((4, WIDTH, RANK))
    output = output.T.copy()
    if shared is not None:
        output[0] = shared
    return HeadMatrices(query, key, value, output)


def test_subspaces_are_at_right_angles_and_the_first_head_is_as_it_was() -> None:
    shared = np.random.default_rng(9).standard_normal(WIDTH)
    before = [[head(1, shared), head(2, shared), head(3)]]
    after = orthogonal_outputs(before, [0, 1, 2])[0]
    for one in range(3):
        for other in range(one):
            assert np.abs(after[one].output @ after[other].output.T).max() < 1e-10
    np.testing.assert_allclose(after[0].output, before[0][0].output, atol=1e-12)
    assert np.linalg.matrix_rank(after[1].output) == RANK - 1  # what it shared with the first is gone


def test_the_effect_of_a_head_is_kept_up_to_projection() -> None:
    before = [[head(1), head(2)]]
    after = orthogonal_outputs(before, [0, 1])[0]
    for old, new in zip(before[0], after, strict=True):
        basis = np.linalg.svd(new.output, full_matrices=False)[2]
        np.testing.assert_allclose(new.value @ new.output, old.value @ old.output @ basis.T @ basis, atol=1e-10)


def test_heads_of_one_skip_share_their_leading_directions_over_layers() -> None:
    layers = [[head(1), head(2)], [head(3), head(4)]]
    after = orthogonal_outputs(layers, [0, 1])
    for skip in (0, 1):
        both = np.concatenate([layer[skip].output for layer in after])
        assert np.linalg.matrix_rank(both) == RANK
    assert np.abs(after[0][0].output @ after[1][1].output.T).max() < 1e-10


def test_nothing_random_where_nothing_is_left() -> None:
    with pytest.raises(InputRejected, match=r"heads of skip 1 write only where .* outputs=shared"):
        orthogonal_outputs([[head(1), head(1)]], [0, 1])
