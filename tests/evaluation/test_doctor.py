from __future__ import annotations

import pytest
import torch

import heedful


def test_the_name_of_before_runs_and_tells_the_new_word() -> None:
    with pytest.warns(DeprecationWarning, match=r"heedful.doctor is now heedful.check\(model, batch\)"):
        found = heedful.doctor(heedful.load_model(), torch.randint(5, 200, (2, 12)))
    assert (found.captured, found.proved) == (4, 4) and found.held
