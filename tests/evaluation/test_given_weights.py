"""Weights of the user's in place of the learned ones, from a tensor or a file; adapters in a validation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import heedful
from heedful.errors import InputRejected, UsageError
from heedful.evaluation.given_weights import given_weights

WEIGHTS = torch.rand(1, 2, 6, 6).softmax(-1)


@pytest.mark.parametrize("suffix", [".pt", ".npy", ".safetensors"])
def test_files_of_one_tensor_are_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"beta{suffix}"
    if suffix == ".pt":
        torch.save(WEIGHTS, path)
    elif suffix == ".npy":
        np.save(path, WEIGHTS.numpy())
    else:
        save_file({"beta": WEIGHTS}, path)
    assert torch.equal(given_weights(path), WEIGHTS) and torch.equal(given_weights(str(path)), WEIGHTS)


def test_other_files_and_tensors_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}]), allow_pickle=True)
    save_file({"a": WEIGHTS, "b": WEIGHTS.clone()}, tmp_path / "two.safetensors")
    with pytest.raises(InputRejected, match="numpy array of numbers"):
        given_weights(tmp_path / "objects.npy")
    with pytest.raises(InputRejected, match="found 2"):
        given_weights(tmp_path / "two.safetensors")
    with pytest.raises(InputRejected):
        given_weights(tmp_path / "missing.npy")
    with pytest.raises(UsageError, match="one set of weights for all sequences"):
        given_weights(torch.rand(3, 2, 6, 6))
    for wrong in (torch.ones(6, 6, dtype=torch.bool), torch.rand(6)):
        with pytest.raises(UsageError, match="float tensor"):
            given_weights(wrong)


@pytest.mark.slow
def test_given_weights_are_one_more_ablation() -> None:
    model, ids = heedful.load_model().model, torch.randint(5, 500, (20, 12), generator=torch.Generator().manual_seed(0))
    words: dict[str, Any] = {"preset": "quick", "null_models": 0}
    uniform = torch.ones(12, 12).tril() / torch.arange(1, 13)[:, None]
    report = heedful.validate(model, ids, override=uniform, **words)
    by_claim = {f.claim: f for f in report.sections[8].findings if f.layer is None}
    given, equal = by_claim["given_weights_matter"], by_claim["learned_weights_matter"]
    assert given.estimate == pytest.approx(equal.estimate, abs=1e-5)
    assert "(--override)" in given.reason and given.p_adjusted == given.p
    assert "given_weights_matter" not in str(heedful.validate(model, ids, **words).to_json())
    with pytest.raises(UsageError, match="broadcast"):
        heedful.validate(model, ids, override=torch.ones(7, 7), **words)
