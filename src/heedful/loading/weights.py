"""Read the tensors of a checkpoint: one file or shards, safetensors or torch archives.

Detect the format of a checkpoint file from its first bytes, not its name.

Check the header of a safetensors file before a library reads the tensors.

Extract the state dict from what a training script saved, with wrapper prefixes removed from its names.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from heedful.errors import InputRejected, ResourceLimit
from heedful.loading.regular_file import kind_of, open_regular, parse_json, read_json
from heedful.loading.torch_archive import check_dense, read_torch_archive, read_torch_stream
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


_CONVERT = "save its state dict with safetensors.torch.save_file"
_SAVE_AGAIN = "where you trust its source, load it with what wrote it and save its state dict with torch.save"
_STREAM = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")
"""The pickle of torch's magic number 0x1950a86a20f9469cfc6c, with which torch before 1.6 began every file."""

_TAR_MAGIC = slice(257, 262)
_HEAD = 512
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")


class CheckpointFormat(StrEnum):
    """Checkpoint formats that can be read without executing their content."""

    SAFETENSORS = "safetensors"
    ZIP = "torch zip archive"
    STREAM = "torch stream of before 1.6"
    GGUF = "gguf"


def checkpoint_format(path: Path) -> CheckpointFormat:
    """Detect the format of a checkpoint file.

    Args:
        path: The file.

    Returns:
        The format.

    Raises:
        InputRejected: It is empty, or a plain pickle stream, a tar archive, compressed or unknown.
    """
    subject = escaped(path)
    with open_regular(path) as file:
        head = file.read(_HEAD)
    if not head:
        raise InputRejected(subject, "the file is empty: a truncated checkpoint", "fetch it again")
    if head.startswith(b"GGUF"):
        return CheckpointFormat.GGUF
    if head.startswith(b"PK\x03\x04"):
        return CheckpointFormat.ZIP
    if head.startswith(_STREAM):
        return CheckpointFormat.STREAM
    if head[0] == 0x80 and len(head) > 1 and 1 <= head[1] <= 5 and head[8:9] != b"{":
        raise InputRejected(subject, "a raw pickle stream, which is a program", _SAVE_AGAIN)
    if head[_TAR_MAGIC] == b"ustar" or _is_old_tar(head):
        raise InputRejected(subject, "a legacy tar checkpoint (torch before 0.2), which is a program", _SAVE_AGAIN)
    if head.startswith(_COMPRESSED):
        raise InputRejected(subject, "a compressed file, expected a checkpoint", "decompress it first")
    if len(head) < 9 or head[8:9] == b"{" or path.suffix == ".safetensors":
        return CheckpointFormat.SAFETENSORS
    raise InputRejected(subject, f"no checkpoint: it begins with {head[:8].hex(' ')}", _CONVERT)


def _is_old_tar(head: bytes) -> bool:
    """A tar header without magic: its first 512 bytes sum to the octal number that they hold themselves."""
    if len(head) < _HEAD:
        return False
    try:
        message = int(head[148:156].rstrip(b" \0"), 8)
    except ValueError:
        return False
    return message == sum(head[:148]) + 8 * ord(" ") + sum(head[156:])


HEADER_BYTES = 100 * 1000 * 1000
"""Longest header; the safetensors library has the same bound."""

TENSORS = 100_000
"""Most tensors of one file; the largest published models have a few thousand a file."""

_DIMENSIONS = 16
_BITS = {"F64": 64, "I64": 64, "U64": 64, "C64": 64, "F32": 32, "I32": 32, "U32": 32}
_BITS |= {"F16": 16, "BF16": 16, "I16": 16, "U16": 16, "BOOL": 8, "U8": 8, "I8": 8}
_QUANTISED = ("F8_", "F6_", "F4", "E8M0")


def check_safetensors(path: Path) -> tuple[str, ...]:
    """Check a safetensors header (sizes, strict JSON, tensors without gaps) and return the tensor names.

    Args:
        path: The file.

    Returns:
        The names of its tensors.

    Raises:
        InputRejected: The header is malformed, or does not fit the file.
        ResourceLimit: It is longer, or names more tensors, than any model has.
    """
    subject = escaped(path)
    header, data_bytes = _header(path, subject)
    names = [name for name in header if name != "__metadata__"]
    if len(names) > TENSORS:
        raise ResourceLimit(f"{subject}: expected at most {TENSORS:,} tensors, the header names {len(names):,}")
    metadata = header.get("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise InputRejected(subject, "its metadata is not a table of text", "save it again")
    spans = sorted(_span(name, header[name], subject) for name in names)
    place = 0
    for begin, end, name in spans:
        if begin != place:
            state = "overlaps the tensor before it" if begin < place else "leaves a hole before it"
            raise InputRejected(subject, f"the data of {escaped(name, 80)} {state}", "fetch or save the file again")
        place = end
    if place != data_bytes:
        raise InputRejected(subject, f"tensors of {place:,} bytes, the file holds {data_bytes:,}: truncated or padded")
    return tuple(names)


def _header(path: Path, subject: str) -> tuple[dict[str, Any], int]:
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
        if size < 10 or length > size - 8:
            message = f"its header would have {length:,} bytes, the file has {size:,}"
            raise InputRejected(
                subject, f"expected a safetensors file, {message}", "fetch it again, or name its format"
            )
        if length > HEADER_BYTES:
            raise ResourceLimit(f"{subject}: expected a header of at most {HEADER_BYTES:,} bytes, found {length:,}")
        text = file.read(length)
    if not text.startswith(b"{"):
        raise InputRejected(subject, "expected a safetensors file, its header is not a JSON object")
    if text.count(b'"dtype"') > TENSORS or text.count(b",") > 20 * TENSORS or text.count(b":") > 20 * TENSORS:
        raise ResourceLimit(f"{subject}: expected at most {TENSORS:,} tensors, the header names more")
    return parse_json(text, subject), size - 8 - length


def _span(name: str, entry: Any, subject: str) -> tuple[int, int, str]:
    """First and last byte of one tensor, once its entry is consistent."""
    shown = escaped(name, 80)
    if not isinstance(entry, Mapping) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise InputRejected(subject, f"the entry of {shown} is not dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if isinstance(dtype, str) and dtype.startswith(_QUANTISED):
        raise InputRejected(subject, f"{shown} is {escaped(dtype, 20)}: quantised weights", "dequantise the model")
    if not isinstance(dtype, str) or dtype not in _BITS:
        raise InputRejected(subject, f"{shown} has the unknown dtype {escaped(dtype, 20)}")
    if not _counts(shape) or len(shape) > _DIMENSIONS or not _counts(offsets) or len(offsets) != 2:
        raise InputRejected(subject, f"the shape or the offsets of {shown} are not whole numbers from 0 up")
    begin, end = offsets
    if end - begin != math.prod(shape) * _BITS[dtype] // 8:
        raise InputRejected(subject, f"{shown} has {end - begin:,} bytes, not as many as {escaped(shape, 60)} needs")
    return begin, end, name


def _counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)


NESTS = ("model_state_dict", "state_dict", "model", "module")
"""Keys under which training scripts keep the weights, beside optimizers and counters."""

_LEADING = ("module.", "_orig_mod.")
_ANYWHERE = re.compile(r"(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
_ADAPTER = re.compile(r"\.lora_[AB]\b|\.lora_embedding_|\bprompt_encoder\b|\.ia3_l\b|\bbase_model\.model\.")
_QUANTISED_KEYS = re.compile(r"\.(?:qweight|qzeros|g_idx|SCB|absmax|weight_scale(?:_inv)?|weight_packed)\b")
_DERIVED = re.compile(r"(?:^|\.)(?:position_ids|attn\.(?:masked_)?bias|attention\.(?:masked_)?bias|inv_freq)$")


def is_derived(key: str) -> bool:
    """Return whether a key is a rebuilt buffer: a causal mask, position ids, rotary frequencies.

    Args:
        key: A state dict key.

    Returns:
        True where its absence from the model means nothing.
    """
    return _DERIVED.search(key) is not None


def extract_state_dict(saved: Any, subject: str) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return the tensors of a loaded checkpoint by name, without wrapper prefixes, and notes on what was unwrapped.

    Args:
        saved: What the checkpoint held.
        subject: The file's name in messages.

    Returns:
        Tensors by name, and notes on what was unwrapped.

    Raises:
        InputRejected: There is no state dict, an entry is no dense tensor, or it is an adapter or quantised.
    """
    notes: list[str] = []
    while isinstance(saved, Mapping):
        nest = next((key for key in NESTS if isinstance(saved.get(key), Mapping)), None)
        if nest is None or len(notes) == len(NESTS):
            break
        notes.append(f"weights found under {nest!r}")
        saved = saved[nest]
    if not isinstance(saved, Mapping) or not saved:
        what = "nothing" if isinstance(saved, Mapping) else f"a {escaped(type(saved).__name__, 40)}"
        raise InputRejected(subject, f"expected a table of tensors, found {what}", "save model.state_dict()")
    if not all(isinstance(key, str) for key in saved):
        raise InputRejected(subject, "a key of its state dict is not text", "save model.state_dict()")
    for key, tensor in saved.items():
        check_dense(key, tensor, subject)
    tensors, renamed = without_wrappers(dict(saved), subject)
    _refuse_partial(tensors, subject)
    return tensors, (*notes, *renamed)


def without_wrappers(tensors: dict[str, Tensor], subject: str) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Strip prefixes of DataParallel, torch.compile and FSDP from names.

    Args:
        tensors: Tensors by name.
        subject: The file's name in messages.

    Returns:
        Tensors by shorter name, and a note for each prefix that was stripped.

    Raises:
        InputRejected: Two names become one.
    """
    notes: list[str] = []
    while prefix := next((p for p in _LEADING if all(key.startswith(p) for key in tensors)), None):
        tensors = {key.removeprefix(prefix): tensor for key, tensor in tensors.items()}
        notes.append(f"prefix {prefix!r} stripped from {len(tensors)} keys")
    plain = {_ANYWHERE.sub("", key): tensor for key, tensor in tensors.items()}
    if len(plain) != len(tensors):
        raise InputRejected(subject, "two keys differ by a wrapper's prefix alone", "save one of the models")
    touched = sum(_ANYWHERE.search(key) is not None for key in tensors)
    if touched:
        notes.append(f"wrapper names stripped from {touched} keys")
    return plain, tuple(notes)


def _refuse_partial(tensors: Mapping[str, Tensor], subject: str) -> None:
    adapters = [key for key in tensors if _ADAPTER.search(key)]
    if adapters:
        what = (
            f"a LoRA or other adapter, no whole model: {len(adapters)} keys of {len(tensors)}, as {listed(adapters, 3)}"
        )
        raise InputRejected(subject, what, "merge it into its base model first")
    packed = [key for key in tensors if _QUANTISED_KEYS.search(key)]
    packed += [
        key
        for key, tensor in tensors.items()
        if key.endswith((".weight", ".bias")) and not is_derived(key) and _is_packed(tensor)
    ]
    if packed:
        what = f"weights that are no 16, 32 or 64 bit floats: {len(packed)} keys ({listed(packed, 3)})"
        raise InputRejected(subject, what, "dequantise the model, then save it")


def _is_packed(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() or tensor.element_size() < 2
