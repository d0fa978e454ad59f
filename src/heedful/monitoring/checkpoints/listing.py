"""Find the checkpoints that a command line names, with the training step of each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from heedful.errors import InputRejected, UsageError
from heedful.loading.run_files import RECORD, STATE, STATE_BYTES, WHOLE
from heedful.loading.strict_json import read_json
from heedful.loading.wording import escaped

_STEP = re.compile(r"(?:checkpoint|ckpt|steps?|iter(?:ation)?)[-_=]?(\d{1,12})(?!\d)|^(\d{1,12})(?!\d)", re.IGNORECASE)
_FOLDER = re.compile(r"(?:checkpoint|ckpt|(?:global_?)?step|iter)[-_]?\d{1,12}", re.IGNORECASE)


@dataclass(frozen=True)
class Checkpoint:
    """Path of a saved model and its training step.

    Attributes:
        name: What ``load_model`` takes: a folder, a file or a name on the hub.
        step: Step of the training; 0 where a single checkpoint does not say.
    """

    name: str
    step: int


def find_checkpoints(names: Sequence[str]) -> list[Checkpoint]:
    """Return the checkpoints in the given folders and files, sorted by step.

    A single folder that holds step folders (``checkpoint-100``, ``step_100``, ...) stands for these; of a run of
    ``heedful train``, for those that were written to their end. A step is read from the name, else from the
    ``trainer_state.json`` in the folder.

    Args:
        names: Models, or one folder that holds step folders.

    Raises:
        UsageError: One of several does not say its step, or two are of one step.
        InputRejected: A ``trainer_state.json`` is malformed.
    """
    inside = _step_folders(Path(names[0]).expanduser()) if len(names) == 1 else []
    places = [str(path) for path in inside] or list(names)
    if len(places) == 1:
        return [Checkpoint(places[0], _step(places[0]) or 0)]
    found = []
    for place in places:
        step = _step(place)
        if step is None:
            message = "several checkpoints are put in the order of their steps, and this one does not say its own"
            raise UsageError(f"{escaped(place)}: {message} (name it as checkpoint-100, or give it alone)")
        found.append(Checkpoint(place, step))
    found.sort(key=lambda one: one.step)
    for one, other in pairwise(found):
        if one.step == other.step:
            both = f"{escaped(one.name)} and {escaped(other.name)}"
            raise UsageError(f"{both}: both are of step {one.step} (give one checkpoint of a step)")
    return found


def _step_folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    try:
        found = sorted(path for path in folder.iterdir() if _FOLDER.fullmatch(path.name) and path.is_dir())
    except OSError as error:
        raise InputRejected(escaped(folder), f"cannot be read: {error.strerror}", "check its permissions") from error
    if (folder / RECORD).is_file():
        found = [path for path in found if (path / WHOLE).is_file()]
    return found


def _step(name: str) -> int | None:
    """The step that a name tells, else that of the Trainer's state in its folder."""
    path = Path(name).expanduser()
    for part in (path.name, path.parent.name if path.is_file() else ""):
        numbers = [first or second for first, second in _STEP.findall(part)]
        if numbers:
            return int(numbers[-1])
    if path.is_dir() and (path / STATE).exists():
        step = read_json(path / STATE, STATE_BYTES).get("global_step")
        return step if isinstance(step, int) and not isinstance(step, bool) and step >= 0 else None
    return None
