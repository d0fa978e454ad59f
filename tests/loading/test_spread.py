"""``--device auto``: laid out by accelerate, or refused in one line."""

from __future__ import annotations

import sys
from typing import Any

import accelerate
import pytest
import torch

from heedful.errors import ResourceLimit, UsageError
from heedful.loading.loaded_model import load_model
from heedful.loading.spread import main_device, spread


def test_a_machine_of_one_device_takes_it_whole() -> None:
    loaded = load_model(None, device="auto")
    assert {parameter.device.type for parameter in loaded.model.parameters()} == {main_device().type}
    assert any(note.startswith("--device auto: the model lies on ") for note in loaded.notes)


def test_without_accelerate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(UsageError, match=r"needs accelerate, which is not installed \(pip install accelerate"):
        load_model(None, device="auto")


def two_layers() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 4))


def test_a_model_that_fits_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerate, "infer_auto_device_map", lambda *_, **__: {"0": "cpu", "1": "disk"})
    with pytest.raises(ResourceLimit, match="big: does not fit on the devices and in memory together"):
        spread(two_layers(), "big")


def test_a_model_over_two_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """What accelerate is asked to do; one CPU stands for both devices."""
    asked: list[Any] = []
    monkeypatch.setattr(accelerate, "infer_auto_device_map", lambda *_, **__: {"0": "cpu", "1": "meta"})
    monkeypatch.setattr(accelerate, "dispatch_model", lambda model, layout: asked.append(layout) or model)
    model = two_layers()
    found, (note,) = spread(model, "two")
    assert found is model and asked == [{"0": "cpu", "1": "meta"}]
    assert note == "--device auto: the model lies on cpu (1 part), meta (1 part)"
