"""Read torch.save files safely: records are checked, pickles are not trusted, tensors must be dense."""

from __future__ import annotations

import importlib
import os
import pickle
import re
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from heedful.errors import HeedfulError, InputRejected, ResourceLimit, UsageError
from heedful.loading.memory import ensure_fits
from heedful.loading.regular_file import open_regular
from heedful.loading.wording import escaped, listed, reason

ALLOWABLE_GLOBALS = ("argparse.Namespace", "pathlib.PosixPath", "pathlib.WindowsPath", "types.SimpleNamespace")
"""Harmless records that training scripts put beside the weights; nothing else can be allowed."""

INFLATION = 4
"""Most that the records of an archive may claim, in multiples of the file; stored records claim less than one."""

_RECORDS = 100_010
_PICKLE_BYTES = 64 << 20
_FETCH = "fetch or save it again"
_UNSUPPORTED = re.compile(r"GLOBAL ([\w.]+) was not an allowed|Unsupported (?:class|global) ([\w.]+)")
_CONVERT = "save only the state dict, best with safetensors.torch.save_file"


def read_torch_archive(path: Path, allow_globals: Sequence[str] = ()) -> Any:
    """Load a torch.save archive without executing code from it.

    Args:
        path: The file, a zip archive as torch writes it.
        allow_globals: Names out of ``ALLOWABLE_GLOBALS`` that the pickle may use.

    Returns:
        What was saved: a state dict or something that holds one.

    Raises:
        InputRejected: The archive is damaged, is TorchScript, or asks for code.
        ResourceLimit: It would not fit in memory.
        UsageError: ``allow_globals`` names something that is not on the list.
    """
    with open_regular(path) as file:
        _check_records(file, escaped(path))
        return _loaded(file, escaped(path), allow_globals, _wanted_by_archive)


def read_torch_stream(path: Path, allow_globals: Sequence[str] = ()) -> Any:
    """Load a file written by torch.save before version 1.6, which is a stream (a pickle, then storages) instead of a
    zip archive.

    The same restricted reader of torch reads it. A stream has no checksums; its storages must fit into the file.

    Args:
        path: The file; its first bytes are torch's magic number.
        allow_globals: Names out of ``ALLOWABLE_GLOBALS`` that the pickle may use.

    Returns:
        What was saved: a state dict or something that holds one.

    Raises:
        InputRejected: The stream is damaged, claims more data than it has, or asks for code.
        ResourceLimit: It would not fit in memory.
        UsageError: ``allow_globals`` names something that is not on the list.
    """
    subject = escaped(path)
    with open_regular(path) as file:
        saved = _loaded(file, subject, allow_globals, _wanted_by_stream)
        size = os.fstat(file.fileno()).st_size
    storages = {tensor.untyped_storage()._cdata: tensor.untyped_storage().nbytes() for tensor in _tensors(saved)}
    if sum(storages.values()) > size:
        raise InputRejected(subject, "its tensors claim more data than the file has: a damaged checkpoint", _FETCH)
    return saved


def _loaded(
    file: BinaryIO,
    subject: str,
    allow_globals: Sequence[str],
    wanted: Callable[[BinaryIO, Exception], list[str]],
) -> Any:
    check_globals(allow_globals)
    allowed = [_global(name) for name in allow_globals]
    ensure_fits(os.fstat(file.fileno()).st_size, f"reading {subject}", hint="convert it to safetensors elsewhere")
    file.seek(0)
    try:
        with torch.sparse.check_sparse_tensor_invariants(), torch.serialization.safe_globals(allowed):
            return torch.load(file, map_location="cpu", weights_only=True, mmap=False)
    except HeedfulError:
        raise
    except MemoryError as error:
        raise ResourceLimit(f"{subject}: asks for more memory than there is") from error
    except Exception as error:
        names = wanted(file, error) if isinstance(error, pickle.UnpicklingError) else []
        raise _refusal(subject, error, names) from error


def _tensors(saved: Any) -> Iterable[Tensor]:
    """The tensors of a table, and of tables in it, to the depth at which weights are looked for."""
    found, level = [], [saved]
    for _ in range(5):
        found += [value for value in level if isinstance(value, Tensor) and value.layout is torch.strided]
        level = [value for table in level if isinstance(table, Mapping) for value in table.values()]
    return found


def check_globals(allow_globals: Sequence[str]) -> None:
    """Raise an error for names outside ``ALLOWABLE_GLOBALS``, the list of harmless classes.

    Args:
        allow_globals: The names that the user gave.

    Raises:
        UsageError: A name is not on the list.
    """
    for name in allow_globals:
        if name not in ALLOWABLE_GLOBALS:
            raise UsageError(f"--allow-global {escaped(name, 60)}: expected one of {', '.join(ALLOWABLE_GLOBALS)}")


def check_dense(name: str, tensor: Any, subject: str) -> None:
    """Raise an error if a tensor is sparse, quantised, without data, or larger than its storage.

    Args:
        name: The tensor's key.
        tensor: What stands under that key.
        subject: The file's name in messages.

    Raises:
        InputRejected: It is not a dense strided tensor of plain numbers.
    """
    shown = escaped(name, 80)
    if not isinstance(tensor, Tensor):
        raise InputRejected(subject, f"expected a tensor under {shown}, found {type(tensor).__name__}", _CONVERT)
    if type(tensor) not in (Tensor, torch.nn.Parameter):
        raise InputRejected(subject, f"{shown} is a {type(tensor).__name__}, expected a plain tensor", _CONVERT)
    if tensor.layout is not torch.strided:
        raise InputRejected(subject, f"{shown} is a sparse tensor", "save it as a dense one")
    if tensor.is_quantized or tensor.is_meta or tensor.is_nested:
        raise InputRejected(subject, f"{shown} is quantised, nested or without data", "save it as a dense float tensor")
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise InputRejected(subject, f"{shown} shows its storage several times over", "save a contiguous copy")


def _check_records(file: BinaryIO, subject: str) -> None:
    """Records as torch writes them: stored, whole, each once, no larger than the file."""
    size = os.fstat(file.fileno()).st_size
    try:
        with zipfile.ZipFile(file) as archive:
            records = archive.infolist()
            _check_listing(records, size, subject)
            damaged = archive.testzip()
    except (zipfile.BadZipFile, NotImplementedError, EOFError, ValueError, OSError, RuntimeError) as error:
        raise InputRejected(subject, f"a truncated or damaged checkpoint: {reason(error)}", _FETCH) from error
    if damaged is not None:
        raise InputRejected(subject, f"the checksum of {escaped(damaged, 80)} is wrong: a damaged checkpoint", _FETCH)


def _check_listing(records: list[zipfile.ZipInfo], size: int, subject: str) -> None:
    names = [record.filename for record in records]
    if len(records) > _RECORDS:
        raise ResourceLimit(f"{subject}: expected at most {_RECORDS:,} records, found {len(records):,}")
    if any(name.endswith("/constants.pkl") or "/code/" in name for name in names):
        raise InputRejected(subject, "TorchScript is code", "save its state dict")
    pickles = [record for record in records if record.filename.endswith("data.pkl")]
    if len(pickles) != 1 or len(set(names)) != len(names):
        raise InputRejected(subject, "a zip archive that torch.save did not write", _CONVERT)
    if pickles[0].file_size > _PICKLE_BYTES:
        raise ResourceLimit(f"{subject}: its pickle claims {pickles[0].file_size:,} bytes, at most {_PICKLE_BYTES:,}")
    if sum(record.file_size for record in records) > INFLATION * size:
        raise InputRejected(subject, f"its records claim more than {INFLATION} times the file's size", _CONVERT)
    if any(record.compress_type != zipfile.ZIP_STORED or record.flag_bits & 1 for record in records):
        raise InputRejected(subject, "a compressed or encrypted record; torch stores them plainly", _CONVERT)


def _wanted_by_archive(file: BinaryIO, error: Exception) -> list[str]:
    """Names that an archive's pickle asks for and that are not allowed."""
    try:
        file.seek(0)
        return torch.serialization.get_unsafe_globals_in_checkpoint(file)
    except Exception:  # a pickle that cannot even be listed
        return []


def _wanted_by_stream(file: BinaryIO, error: Exception) -> list[str]:
    """The first such name of a stream, which is all that torch tells."""
    message = _UNSUPPORTED.search(str(error))
    return [message[1] or message[2]] if message else []


def _refusal(subject: str, error: Exception, wanted: Sequence[str]) -> HeedfulError:
    """The one line for what torch.load raised; its own text advises to trust the file and is not passed on."""
    if wanted:
        offered = [name for name in sorted(wanted) if name in ALLOWABLE_GLOBALS]
        flags = " ".join(f"--allow-global {name}" for name in offered)
        fix = f"pass {flags}" if len(offered) == len(wanted) else _CONVERT
        return InputRejected(subject, f"its pickle asks for {listed(wanted)}, which is not run", fix)
    if "can't allocate memory" in str(error) or "not enough memory" in str(error):
        return ResourceLimit(f"{subject}: asks for more memory than there is")
    return InputRejected(subject, f"not a checkpoint of plain tensors: {reason(error)}", _CONVERT)


def _global(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)
