"""Names of the files of a training run, and the check of a checkpoint against its ``whole.json``, which lists every
file's size and SHA-256.

A mark, ``whole.json``, is written into a checkpoint after everything else of it. It lists each file with its size and
SHA-256, so that a file that is missing, was cut or has a flipped bit is found before anything is loaded. Marks of
heedful before 0.2 list nothing: such a checkpoint is believed where what must be there is there.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from heedful.errors import InputRejected
from heedful.loading.regular_file import kind_of, open_regular, read_json
from heedful.loading.wording import escaped, listed

RECORD = "run.json"
"""What the run was begun with, beside its checkpoints."""
WHOLE = "whole.json"
"""Written into a checkpoint after everything else of it."""
STATE = "trainer_state.json"
"""Where the Trainer says at which step it is."""
STATE_BYTES = 64 << 20

UNLISTED = "written by an older heedful: its mark lists no files, so that a changed one may not show"
_MARK_BYTES = 4 << 20
_CHUNK = 1 << 20
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
_NEEDED = ("optimizer.pt", "scheduler.pt", STATE)
_SHARDED = re.compile(r"pytorch_model_fsdp.*|optimizer(?:_\d+|\.bin)?|global_step\d+|latest|distcp.*")
_RANDOM = re.compile(r"rng_state(?:_\d+)?\.pth")
Parts = dict[str, dict[str, Any]]


def parts_of(folder: Path) -> Parts:
    """Return the size in bytes and the SHA-256 of every file of a checkpoint, except ``whole.json`` itself.

    Args:
        folder: The checkpoint.

    Returns:
        Path within the folder, with ``/`` between its parts, to ``bytes`` and ``sha256``.
    """
    found: Parts = {}
    for name in _names(folder):
        size, sha256 = _digest(folder / name)
        found[name] = {"bytes": size, "sha256": sha256}
    return found


def verify_checkpoint(folder: Path, *, only: tuple[str, ...] | None = None) -> tuple[str, ...]:
    """Verify a checkpoint's files against the sizes and SHA-256 values in its ``whole.json``, without loading the
    checkpoint.

    Args:
        folder: The checkpoint.
        only: Beginnings of the names that matter; None for the whole state, of which nothing may be missing either.

    Returns:
        A note where the mark is too old to say.

    Raises:
        InputRejected: A file is missing, was cut or changed, or is not listed; or the mark cannot be read.
    """
    mark = read_json(folder / WHOLE, _MARK_BYTES)
    listed_parts = mark.get("parts")
    if listed_parts is None:
        if only is None:
            _check_needed(folder, _names(folder))
            _check_step(folder, mark)
        return (UNLISTED,)
    parts = _parts(listed_parts, folder)
    names = set(_names(folder))
    wanted = {name for name in parts if only is None or name.startswith(only)}
    if missing := sorted(wanted - names):
        raise _damaged(folder, f"{listed(missing, 3)} {_are(missing)} missing")
    strange = sorted(name for name in names - parts.keys() if only is None or name.startswith(only))
    if strange:
        raise _damaged(folder, f"{listed(strange, 3)} {_are(strange)} not of it")
    if only is None:
        _check_needed(folder, list(parts))
    for name in sorted(wanted):
        size, sha256 = parts[name]
        found, digest = _digest(folder / name)
        if found != size:
            raise _damaged(folder, f"{escaped(name)} has {found:,} bytes, {size:,} were written")
        if digest != sha256:
            raise _damaged(folder, f"{escaped(name)} was changed: its SHA-256 is not that of {WHOLE}")
    if only is None:
        _check_step(folder, mark)
    return ()


def _are(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _damaged(folder: Path, message: str) -> InputRejected:
    return InputRejected(escaped(folder), f"a damaged checkpoint: {message}", "fetch or copy it again")


def _names(folder: Path) -> list[str]:
    """Files of a checkpoint, its mark aside; a link is refused."""
    found = []
    for place, folders, files in os.walk(folder, followlinks=False):
        for name in (*folders, *files):
            path = Path(place) / name
            if path.is_symlink():
                raise _damaged(folder, f"{escaped(path.relative_to(folder))} is a symbolic link")
        found += [(Path(place) / name).relative_to(folder).as_posix() for name in files]
    return sorted(name for name in found if name != WHOLE and not name.startswith(".heedful-"))


def _digest(path: Path) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    with open_regular(path, follow=False) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return size, digest.hexdigest()


def _parts(tree: Any, folder: Path) -> dict[str, tuple[int, str]]:
    try:
        parts = {str(name): (entry["bytes"], entry["sha256"]) for name, entry in tree.items()}
    except (AttributeError, TypeError, KeyError) as error:
        raise _damaged(folder, f"its {WHOLE} is no table of files") from error
    if not all(type(size) is int and isinstance(digest, str) for size, digest in parts.values()):
        raise _damaged(folder, f"its {WHOLE} is no table of files")
    return parts


def _check_needed(folder: Path, names: list[str]) -> None:
    """Refuse a checkpoint from which training cannot go on as it would have."""
    missing = [] if any(name in names for name in _WEIGHTS) else ["the weights"]
    missing += [name for name in _NEEDED if name not in names]
    if not any(_RANDOM.fullmatch(name) for name in names):
        missing.append("rng_state.pth")
    if any(_SHARDED.fullmatch(name.partition("/")[0]) for name in names if name not in _NEEDED):
        missing = [name for name in missing if name not in ("the weights", "optimizer.pt", "scheduler.pt")]
    if missing:
        raise _damaged(folder, f"{listed(missing)} {_are(missing)} missing")


def _check_step(folder: Path, mark: Mapping[str, Any]) -> None:
    """Refuse a checkpoint whose name, mark and Trainer's state tell different steps."""
    if kind_of(folder / STATE) != "a regular file":
        raise _damaged(folder, f"{STATE} is no file")
    step = read_json(folder / STATE, STATE_BYTES).get("global_step")
    named = re.search(r"(\d+)$", folder.name)
    messages = {"its mark": mark.get("step"), "its state": step}
    if named is not None:
        messages["its name"] = int(named[1])
    if len({repr(one) for one in messages.values()}) != 1 or type(step) is not int:
        words = ", ".join(f"{place} {escaped(one, 20)}" for place, one in messages.items())
        raise _damaged(folder, f"of which step it is: {words}")
