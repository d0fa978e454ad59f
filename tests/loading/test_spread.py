"""``--device auto``: laid out by accelerate, or refused in one line."""

from __future__ import annotations

import sys
from typing import Any

import accelerate
import pytest
import torch

from heedful.errors import ResourceLimit, UsageError
from heedful.loading.loaded_model import load_model
from heedful.loading.spread import fits_on, main_device, spread


def test_a_model_lies_on_the_machines_accelerator_or_its_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "accelerate", None)
    loaded = load_model(None, device="auto")
    assert {parameter.device.type for parameter in loaded.model.parameters()} == {main_device().type}
    assert not any("--device auto" in note for note in loaded.notes)


def test_a_model_too_large_for_one_device_needs_accelerate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(UsageError, match=r"needs accelerate, which is not installed \(pip install accelerate"):
        spread(two_layers(), "large")


def test_room_is_asked_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = 2 * 20 * 4
    for free, fits in ((1.5 * weights, True), (1.5 * weights - 1, False)):
        monkeypatch.setattr("heedful.loading.spread.available_bytes", lambda device, free=free: int(free))
        assert fits_on(two_layers(), main_device()) is fits


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
