from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tests.loading import material

from heedful.loading.weights import read_folder_weights, read_weights

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
