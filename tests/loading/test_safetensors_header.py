from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tests.loading import material

from heedful.loading.safetensors_header import check_safetensors


def test_a_written_file_passes(tmp_path: Path) -> None:
    tensors = {
        "a": torch.ones(2, 3),
        "none": torch.ones(0, 3),
        "scalar": torch.tensor(1.0),
        "half": torch.ones(3).half(),
        "long": torch.ones(2).long(),
        "truth": torch.ones(3).bool(),
    }
    save_file(tensors, tmp_path / "a", metadata={"format": "pt"})
    assert set(check_safetensors(tmp_path / "a")) == set(tensors)


def entry(dtype: object = "F32", shape: object = (1,), offsets: object = (0, 4)) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ({"a": entry("F8_E4M3", (4,))}, "quantised"),
        ({"a": entry("F4", (8,))}, "quantised"),
        ({"a": entry("Q9")}, "unknown dtype"),
        ({"a": entry(shape=[1.0])}, "whole numbers"),
        ({"a": entry(shape=[True])}, "whole numbers"),
        ({"a": entry(shape=[-1])}, "whole numbers"),
        ({"a": entry(shape=[1] * 20)}, "whole numbers"),
        ({"a": entry(offsets=[4, 0])}, "bytes"),
        ({"a": entry(offsets=[0, 4, 4])}, "whole numbers"),
        ({"a": {"dtype": "F32"}}, "not dtype, shape and data_offsets"),
        ({"a": 1}, "not dtype, shape and data_offsets"),
        ({"a": entry(), "__metadata__": {"x": 1}}, "metadata"),
        ({"a": entry(), "__metadata__": []}, "metadata"),
        ({}, "0 bytes, the file holds 4"),
    ],
)
def test_inconsistent_headers_are_refused(header: object, says: str, tmp_path: Path) -> None:
    path = material.raw_safetensors(tmp_path / "a", header, bytes(4))
    material.refused(lambda: check_safetensors(path), 3, says)
