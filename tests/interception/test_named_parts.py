from __future__ import annotations

import numpy as np
import pytest
import torch

from heedful.errors import UsageError
from heedful.interception.named_parts import named_parts


@pytest.mark.parametrize("given", [1, [1], (1,), range(1, 2), np.array([1]), torch.tensor(1), np.int64(1), {1}])
def test_one_layer_in_every_form(given: object) -> None:
    assert named_parts(given, None).layers == (1,)
    assert named_parts(None, given).heads == (1,)


def test_a_path_is_one_layer_and_not_its_letters() -> None:
    assert named_parts("model.layers.0", None).layers == ("model.layers.0",)


def test_heads_by_layer_name_the_layers_too() -> None:
    found = named_parts(None, {0: [2, 3], "b": 1})
    assert found.layers == (0, "b")
    assert (found.heads_of("a", 0), found.heads_of("b#2", 1)) == ((2, 3), (1,))


def test_nothing_named_is_everything() -> None:
    found = named_parts(None, None)
    assert found.layers is None and found.heads_of("a", 0) is None


@pytest.mark.parametrize(
    ("layers", "heads", "told"),
    [
        (1.5, None, "layers: expected an index, a module path, or a list of them; got 1.5"),
        (True, None, "got True"),
        ([], None, "expected at least one"),
        ([None], None, "got None"),
        (None, "3", "heads: expected an index"),
        (None, {}, "got {}"),
        (None, {0: []}, r"heads\[0\]: expected at least one"),
        (None, {0: "a"}, r"heads\[0\]: expected an index"),
        (None, {1.5: [0]}, "heads by layer"),
        (0, {0: [1]}, "leave layers out"),
    ],
)
def test_what_names_nothing_is_refused(layers: object, heads: object, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        named_parts(layers, heads)
