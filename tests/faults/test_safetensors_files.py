"""S06, S07, F03: safetensors files that lie about themselves. Each is refused in less than a second."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tests.loading import material

from heedful.loading.loaded_model import load_model

pytestmark = pytest.mark.fault
MOST_BYTES = 300 << 20


def entry(dtype: str = "F32", shape: tuple[int, ...] = (1,), offsets: tuple[int, int] = (0, 4)) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def raw(header: object, data: bytes = b"", length: int | None = None) -> Callable[[Path], Path]:
    return lambda path: material.raw_safetensors(path, header, data, length)


def content(data: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(data)


def appended(path: Path) -> None:
    save_file({"a": torch.ones(1)}, path)
    path.write_bytes(path.read_bytes() + bytes(40))


MANY = b"{" + b",".join(b'"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}' % i for i in range(200_000)) + b"}"
BAD: dict[str, tuple[Callable[[Path], object], int]] = {
    "S06 pickle": (content(material.pickled({"a": 1})), 3),
    "S07a header of 2**60 bytes": (content((1 << 60).to_bytes(8, "little") + b"{}"), 3),
    "S07a header of 2**64-1 bytes": (content(b"\xff" * 8 + b"{}"), 3),
    "S07b empty": (content(b""), 3),
    "S07b eight bytes": (content(bytes(8)), 3),
    "S07b length alone": (content((2).to_bytes(8, "little")), 3),
    "S07c no JSON": (raw(b"{not json}"), 3),
    "S07c no object": (raw(b"[1, 2, 3]"), 3),
    "S07d overlap": (raw({"a": entry(), "b": entry()}, bytes(4)), 3),
    "S07e hole": (raw({"a": entry(), "b": entry(offsets=(8, 12))}, bytes(12)), 3),
    "S07f 2**40 x 2**40": (raw({"a": entry(shape=(1 << 40, 1 << 40))}, bytes(4)), 3),
    "S07f product that wraps to 4": (raw({"a": entry(shape=(1 << 63, 2, 1))}, bytes(4)), 3),
    "S07g past the end": (raw({"a": entry(shape=(100,), offsets=(0, 400))}, bytes(4)), 3),
    "S07h duplicate key": (raw(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},' * 2 + b'"b":0}', bytes(4)), 3),
    "S07h duplicate field": (raw(b'{"a":{"dtype":"F32","dtype":"I32","shape":[1],"data_offsets":[0,4]}}', bytes(4)), 3),
    "S07i 40 bytes appended": (appended, 3),
    "S07k metadata that is no text": (raw({"__metadata__": {"a": 1}, "a": entry()}, bytes(4)), 3),
    "S07l 200,000 levels": (raw(b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}"), 3),
    "S07n dimension of -1": (raw({"a": entry(shape=(-1,))}, bytes(4)), 3),
    "S07o 200,000 tensors": (raw(MANY), 4),
    "long integers": (raw(b'{"a":{"dtype":"F32","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,4]}}', bytes(4)), 3),
}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path, config = material.save_checkpoint(tmp_path_factory.mktemp("config"))
    load_model(path, config=config)
    return config


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.parametrize("name", sorted(BAD))
def test_a_file_that_lies_is_refused_at_once(name: str, config: Path, tmp_path: Path) -> None:
    write, code = BAD[name]
    path = tmp_path / "model.safetensors"
    write(path)
    before, began = resident(), time.process_time()
    material.refused(lambda: load_model(path, config=config), code, "model.safetensors")
    assert time.process_time() - began < 1.5
    assert resident() - before < MOST_BYTES


def test_s07m_nan_weights_load(tmp_path: Path) -> None:
    state = {key: value.clone() for key, value in material.make_model().state_dict().items() if key != "lm_head.weight"}
    state["transformer.wpe.weight"][0, 0] = torch.nan
    _, config = material.save_checkpoint(tmp_path)
    save_file(state, tmp_path / "nan.safetensors")
    assert load_model(tmp_path / "nan.safetensors", config=config).model.transformer.wpe.weight.isnan().sum() == 1


def test_s07p_a_tensors_name_is_only_shown_escaped(config: Path, tmp_path: Path) -> None:
    save_file({"../../etc/x\x1b[2J<script>": torch.ones(1)}, tmp_path / "name.safetensors")
    message = material.refused(lambda: load_model(tmp_path / "name.safetensors", config=config), 3)
    assert "../../etc/x\\x1b[2J<script>" in message
    assert [path.name for path in tmp_path.iterdir()] == ["name.safetensors"]
