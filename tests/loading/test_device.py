"""``--device auto``: laid out by accelerate, or refused in one line."""

from __future__ import annotations

import sys
from typing import Any

import accelerate
import pytest
import torch
from tests.loading import material

from heedful.errors import ResourceLimit, UsageError
from heedful.loading.device import DTYPES, fits_on, main_device, resolve_device, resolve_dtype, spread
from heedful.loading.loaded_model import load_model

CPU = torch.device("cpu")


def test_the_cpu_is_always_there() -> None:
    assert resolve_device("cpu") == CPU


@pytest.mark.parametrize("name", ["tpu9", "meta", "cpu:3", "cuda:999", "cuda:256", "cuda:-1", "", "cuda\x1b[2J"])
def test_a_device_that_is_not_there_is_a_usage_error(name: str) -> None:
    material.refused(lambda: resolve_device(name), 2, "device")


def test_auto_is_float32_on_a_cpu_and_the_checkpoints_own_elsewhere() -> None:
    assert resolve_dtype("auto", CPU, "bfloat16") is torch.float32
    assert resolve_dtype("auto", torch.device("cuda"), "bfloat16") is torch.bfloat16
    assert resolve_dtype("auto", torch.device("cuda"), "load") is torch.float32


@pytest.mark.parametrize("name", sorted(DTYPES))
def test_dtypes_by_name(name: str) -> None:
    assert resolve_dtype(name, CPU) is getattr(torch, name)


def test_an_unknown_dtype_is_a_usage_error() -> None:
    material.refused(lambda: resolve_dtype("int8", CPU), 2, "int8", "float32")
    material.refused(lambda: resolve_dtype("float64", torch.device("mps")), 2, "mps")


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
        monkeypatch.setattr("heedful.loading.device.available_bytes", lambda device, free=free: int(free))
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
