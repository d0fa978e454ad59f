"""Read the tensors of a checkpoint: one file or shards, safetensors or torch archives."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from heedful.errors import InputRejected
from heedful.loading.checkpoint_format import CheckpointFormat, checkpoint_format
from heedful.loading.regular_file import kind_of
from heedful.loading.safetensors_header import check_safetensors
from heedful.loading.state_dict import extract_state_dict, without_wrappers
from heedful.loading.strict_json import read_json
from heedful.loading.torch_archive import read_torch_archive, read_torch_stream
from heedful.loading.wording import escaped, listed, reason

_INDEX_BYTES = 32 << 20
_SHARDS = 1000
_WHOLE = ("model.safetensors", "pytorch_model.bin")
_INDEXED = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_ADAPTERS = ("adapter_model.safetensors", "adapter_model.bin", "adapter_config.json")


def read_weights(path: Path, allow_globals: Sequence[str] = ()) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return the state dict of one checkpoint file, with its format detected from the first bytes.

    Args:
        path: The file.
        allow_globals: Names that a torch archive may use; see ``torch_archive``.

    Returns:
        Tensors by name, and notes.

    Raises:
        InputRejected: It is no checkpoint that can be read without running it.
    """
    found = checkpoint_format(path)
    if found is CheckpointFormat.SAFETENSORS:
        return extract_state_dict(_read_safetensors(path), escaped(path))
    if found is CheckpointFormat.ZIP:
        return extract_state_dict(read_torch_archive(path, allow_globals), escaped(path))
    if found is CheckpointFormat.STREAM:
        tensors, notes = extract_state_dict(read_torch_stream(path, allow_globals), escaped(path))
        return tensors, (f"{escaped(path.name)} was written by torch before 1.6", *notes)
    raise InputRejected(escaped(path), "a GGUF file, expected safetensors or a torch archive", "name it as the MODEL")


def read_folder_weights(folder: Path, allow_globals: Sequence[str] = ()) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return a model folder's state dict and notes; safetensors are preferred, and shards are found through the index
    file.

    Args:
        folder: The folder.
        allow_globals: Names that a torch archive may use.

    Returns:
        Tensors by name, and notes.

    Raises:
        InputRejected: No weights are there, a shard is missing, or a file is refused.
    """
    subject = escaped(folder)
    for whole, index in zip(_WHOLE, _INDEXED, strict=True):
        if (folder / whole).is_symlink() or (folder / whole).exists():
            return read_weights(folder / whole, allow_globals)
        if (folder / index).exists():
            return _read_shards(folder / index, allow_globals)
    if any((folder / name).exists() for name in _ADAPTERS):
        raise InputRejected(subject, "a LoRA or other adapter, no whole model", "merge it into its base model first")
    others = sorted(path for path in folder.iterdir() if path.suffix == ".safetensors")
    if len(others) == 1:
        return read_weights(others[0], allow_globals)
    found = f"{len(others)} safetensors files and no index" if others else "none"
    raise InputRejected(subject, f"expected weights ({', '.join(_WHOLE)} or shards), found {found}", "add them")


def _read_shards(index: Path, allow_globals: Sequence[str]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    places = _places(index)
    names = sorted(set(places.values()))
    missing = [name for name in names if not (index.parent / name).exists()]
    if missing:
        message = f"{len(missing)} of {len(names)} shards are missing: {listed(missing)}"
        raise InputRejected(escaped(index.parent), message, "fetch them")
    tensors: dict[str, Tensor] = {}
    notes: list[str] = []
    for name in names:
        part, remarks = read_weights(index.parent / name, allow_globals)
        if twice := part.keys() & tensors.keys():
            raise InputRejected(escaped(index.parent / name), f"keys of an earlier shard too: {listed(twice)}")
        promised = _as_loaded([key for key, place in places.items() if place == name], part)
        if lost := promised - part.keys():
            message = f"names {len(lost)} keys that {escaped(name)} does not hold: {listed(lost)}"
            raise InputRejected(escaped(index), message, "fetch index and shards again, from one place")
        if more := part.keys() - promised:
            notes.append(f"{len(more)} keys of {escaped(name)} are not in the index: {listed(more, 3)}")
        tensors |= part
        notes += [remark for remark in remarks if remark not in notes]
    return tensors, (f"{len(names)} shards", *notes)


def _as_loaded(keys: list[str], part: dict[str, Tensor]) -> set[str]:
    """Keys of an index as their shard's came out of it: where its wrappers' names were stripped, without them."""
    if part.keys() >= set(keys):
        return set(keys)
    plain, _ = without_wrappers(dict.fromkeys(keys, torch.empty(0)), "index")
    return set(plain)


def _places(index: Path) -> dict[str, str]:
    """Key to the file that an index names for it; each must be a plain name beside the index."""
    places = read_json(index, _INDEX_BYTES).get("weight_map")
    if not isinstance(places, dict) or not places or not all(isinstance(name, str) for name in places.values()):
        raise InputRejected(escaped(index), "expected a weight_map of key to file name", "save the model again")
    names = sorted(set(places.values()))
    strange = [name for name in names if Path(name).name != name or "\\" in name or name in (".", "..") or "\0" in name]
    if strange:
        raise InputRejected(
            escaped(index), f"shards outside the folder: {listed(strange)}", "keep them in the same folder"
        )
    if len(names) > _SHARDS:
        raise InputRejected(escaped(index), f"expected at most {_SHARDS} shards, found {len(names)}")
    return places


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError, safe_open

    check_safetensors(path)
    if kind_of(path) != "a regular file":
        raise InputRejected(escaped(path), "changed while it was read", "try again")
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # safe_open is no mapping
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise InputRejected(escaped(path), f"not a safetensors file: {reason(error)}", "fetch it again") from error
