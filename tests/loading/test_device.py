import pytest
import torch
from tests.loading import material

from heedful.loading.device import DTYPES, resolve_device, resolve_dtype

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
