import io
import tarfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tests.loading import material

from heedful.loading.weights import (
    CheckpointFormat,
    check_safetensors,
    checkpoint_format,
    extract_state_dict,
    is_derived,
    read_folder_weights,
    read_weights,
)

INDEX = "model.safetensors.index.json"


def _shards(folder: Path, **places: str) -> Path:
    import json

    save_file({"a": torch.ones(1)}, folder / "one.safetensors")
    save_file({"b": torch.ones(2)}, folder / "two.safetensors")
    (folder / INDEX).write_text(json.dumps({"weight_map": places or {"a": "one.safetensors", "b": "two.safetensors"}}))
    return folder


def test_both_formats_are_read(tmp_path: Path) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "x.bin")
    torch.save({"a": torch.ones(1)}, tmp_path / "x.safetensors")
    for name in ("x.bin", "x.safetensors"):
        assert read_weights(tmp_path / name)[0]["a"].item() == 1


def test_shards_are_joined(tmp_path: Path) -> None:
    tensors, notes = read_folder_weights(_shards(tmp_path))
    assert sorted(tensors) == ["a", "b"] and notes == ("2 shards",)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    (_shards(tmp_path) / "two.safetensors").unlink()
    material.refused(lambda: read_folder_weights(tmp_path), 3, "1 of 2 shards are missing: two.safetensors")


@pytest.mark.parametrize("name", ["../x.safetensors", "/etc/passwd", "sub/x.safetensors", "..", "a\\b", "a\0b"])
def test_shards_outside_the_folder_are_refused(name: str, tmp_path: Path) -> None:
    folder = _shards(tmp_path, a="one.safetensors", b=name)
    material.refused(lambda: read_folder_weights(folder), 3, "outside the folder")


def test_a_key_in_two_shards_is_refused(tmp_path: Path) -> None:
    save_file({"a": torch.ones(1)}, _shards(tmp_path) / "two.safetensors")
    material.refused(lambda: read_folder_weights(tmp_path), 3, "keys of an earlier shard too: a")


def test_an_index_without_places_is_refused(tmp_path: Path) -> None:
    (_shards(tmp_path) / INDEX).write_text('{"weight_map": {"a": 1}}')
    material.refused(lambda: read_folder_weights(tmp_path), 3, "weight_map")


def test_folders_without_one_model_are_refused(tmp_path: Path) -> None:
    material.refused(lambda: read_folder_weights(tmp_path), 3, "found none")
    save_file({"a": torch.ones(1)}, tmp_path / "one.safetensors")
    assert sorted(read_folder_weights(tmp_path)[0]) == ["a"]
    save_file({"a": torch.ones(1)}, tmp_path / "two.safetensors")
    material.refused(lambda: read_folder_weights(tmp_path), 3, "2 safetensors files and no index")
    save_file({"a": torch.ones(1)}, tmp_path / "adapter_model.safetensors")
    material.refused(lambda: read_folder_weights(tmp_path), 3, "adapter")


def test_a_gguf_file_is_no_state_dict(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"GGUF" + bytes(50))
    material.refused(lambda: read_weights(tmp_path / "a"), 3, "GGUF")


def test_formats_are_told_by_content_and_not_by_name(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / "named.pt")
    torch.save({"a": torch.ones(2)}, tmp_path / "named.safetensors")
    (tmp_path / "named.bin").write_bytes(b"GGUF" + bytes(40))
    assert checkpoint_format(tmp_path / "named.pt") is CheckpointFormat.SAFETENSORS
    assert checkpoint_format(tmp_path / "named.safetensors") is CheckpointFormat.ZIP
    assert checkpoint_format(tmp_path / "named.bin") is CheckpointFormat.GGUF


def _tar(form: int) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as archive:
        archive.addfile(tarfile.TarInfo("sys_info"))
    return stream.getvalue()


def _v7_tar() -> bytes:
    head = bytearray(_tar(tarfile.USTAR_FORMAT)[:512])
    head[257:265] = bytes(8)
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (material.pickled({"a": 1}, 2), "pickle"),
        (material.pickled({"a": 1}, 5), "pickle"),
        (_tar(tarfile.USTAR_FORMAT), "legacy tar"),
        (_tar(tarfile.GNU_FORMAT), "legacy tar"),
        (_v7_tar(), "legacy tar"),
        (b"\x1f\x8b" + bytes(50), "compressed"),
        (b"<!DOCTYPE html><html></html>" * 30, "begins with 3c 21"),
        (bytes(600), "no checkpoint"),
    ],
)
def test_other_content_is_refused(content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "x.pt").write_bytes(content)
    material.refused(lambda: checkpoint_format(tmp_path / "x.pt"), 3, says)


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


ONE = torch.ones(1)


def test_a_plain_state_dict_passes_unchanged() -> None:
    tensors, notes = extract_state_dict(OrderedDict(a=ONE), "f")
    assert list(tensors) == ["a"] and notes == ()


@pytest.mark.parametrize("nest", ["model_state_dict", "state_dict", "model", "module"])
def test_nests_are_opened_with_a_note(nest: str) -> None:
    tensors, notes = extract_state_dict({nest: {"a": ONE}, "epoch": 3, "optimizer": {"state": {}}}, "f")
    assert list(tensors) == ["a"] and nest in notes[0]


def test_two_nests_are_opened() -> None:
    tensors, notes = extract_state_dict({"state_dict": {"model": {"a": ONE}}}, "f")
    assert list(tensors) == ["a"] and len(notes) == 2


@pytest.mark.parametrize(
    ("key", "plain"),
    [
        ("module.a.weight", "a.weight"),
        ("_orig_mod.a.weight", "a.weight"),
        ("module._orig_mod.module.a.weight", "a.weight"),
        ("a._orig_mod.weight", "a.weight"),
        ("_fsdp_wrapped_module.a._checkpoint_wrapped_module.weight", "a.weight"),
        ("submodule.a.weight", "submodule.a.weight"),
    ],
)
def test_wrapper_prefixes_are_stripped(key: str, plain: str) -> None:
    tensors, notes = extract_state_dict({key: ONE}, "f")
    assert list(tensors) == [plain] and bool(notes) == (key != plain)


def test_the_note_counts_the_keys() -> None:
    _, notes = extract_state_dict({f"module.{i}": ONE for i in range(120)}, "f")
    assert notes == ("prefix 'module.' stripped from 120 keys",)


@pytest.mark.parametrize(
    ("saved", "says"),
    [
        ([ONE], "found a list"),
        (ONE, "found a Tensor"),
        ({}, "found nothing"),
        ({1: ONE}, "not text"),
        ({"a": ONE, "step": 3}, "expected a tensor under step, found int"),
        ({"_orig_mod.a": ONE, "a": ONE}, "differ by a wrapper's prefix"),
        ({"base_model.model.h.0.attn.lora_A.weight": ONE, "base_model.model.h.0.attn.lora_B.weight": ONE}, "LoRA"),
        ({"h.0.weight": torch.ones(1, dtype=torch.int8)}, "dequantise"),
        ({"h.0.weight": torch.ones(1).to(torch.float8_e4m3fn)}, "dequantise"),
        ({"h.0.qweight": torch.ones(1, dtype=torch.int32)}, "dequantise"),
        ({"h.0.weight": torch.ones(1, dtype=torch.complex64)}, "no 16, 32 or 64 bit floats"),
    ],
)
def test_what_is_no_whole_state_dict_is_refused(saved: object, says: str) -> None:
    material.refused(lambda: extract_state_dict(saved, "f.pt"), 3, "f.pt", says)


def test_buffers_that_models_build_themselves() -> None:
    for key in ("h.0.attn.bias", "h.3.attn.masked_bias", "embeddings.position_ids", "rotary_emb.inv_freq"):
        assert is_derived(key)
    for key in ("h.0.attn.c_attn.bias", "cls.predictions.bias", "attention.bias.weight"):
        assert not is_derived(key)
