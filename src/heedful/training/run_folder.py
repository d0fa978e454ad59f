"""Folder of a training run: a new run needs an empty folder; a run resumes only with the same settings, from a
complete checkpoint.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heedful.errors import HeedfulError, InputRejected, OutputError, UsageError
from heedful.loading.regular_file import read_json
from heedful.loading.run_files import RECORD, WHOLE, verify_checkpoint
from heedful.loading.wording import escaped
from heedful.reporting.write import refuse_links, remove_stale, write_atomic

_CHECKPOINT = re.compile(r"checkpoint-(\d+)")
_RECORD_BYTES = 1 << 20


@dataclass(frozen=True)
class RunFolder:
    """Folder of one training run.

    Attributes:
        path: The folder.
    """

    path: Path

    def check_free(self) -> None:
        """Raise an error if the folder is not empty.

        Raises:
            OutputError: It does, or is no folder.
        """
        if self.path.is_dir() and not any(self.path.iterdir()):
            return
        if self.path.is_symlink() or self.path.exists():
            fix = "give --resume to continue the run" if (self.path / RECORD).is_file() else "name another folder"
            raise OutputError(f"{escaped(self.path)}: not an empty folder, nothing was changed ({fix})")

    def make(self) -> None:
        """Create the folder.

        Raises:
            OutputError: It cannot be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{escaped(self.path)}: {error.strerror or error} (name another folder)") from error

    def empty(self) -> None:
        """Delete everything in the run's folder after a start that failed, so that the next attempt finds it empty."""
        for path in self.path.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()

    def check_begun(self) -> None:
        """Raise an error if no run was started in this folder.

        Raises:
            UsageError: There is no record of a run.
            InputRejected: A symbolic link is in the folder, which could lead writing out of it.
        """
        if not (self.path / RECORD).is_file():
            message = f"no {RECORD}, so no run to resume (leave --resume out to begin one)"
            raise UsageError(f"{escaped(self.path)}: {message}")
        refuse_links(self.path)

    def check_same(self, record: Mapping[str, Any]) -> None:
        """Raise an error if the run was started with other settings.

        Args:
            record: Settings, text and tokenizer of now; a dictionary in it is compared entry by entry.

        Raises:
            UsageError: Something differs; the message names it.
            InputRejected: The folder's record cannot be read.
        """
        begun = read_json(self.path / RECORD, _RECORD_BYTES)
        summary = []
        for name, now in record.items():
            before = begun.get(name)
            if isinstance(now, Mapping) and isinstance(before, Mapping):
                summary += [f"{key} {_brief(before.get(key))}, now {_brief(now[key])}" for key in now
                         if before.get(key) != now[key]]  # fmt: skip
            elif before != now:
                summary.append(f"{name} {_brief(before)}, now {_brief(now)}")
        if summary:
            fix = "give the same, or begin another run with another --out"
            raise UsageError(f"{escaped(self.path)}: begun with {'; '.join(summary)} ({fix})")

    def record(self, facts: Mapping[str, Any]) -> None:
        """Store the settings with which the run starts."""
        write_whole(self.path / RECORD, facts)

    def last_checkpoint(self) -> Path | None:
        """Return the latest complete checkpoint, or None."""
        whole = [path for path in self._checkpoints() if (path / WHOLE).is_file()]
        return max(whole, key=step_of) if whole else None

    def verified_checkpoint(self) -> tuple[Path | None, tuple[str, ...]]:
        """Check the files of the latest complete checkpoint against their recorded hashes, without loading it, and
        return its path (None if there is none) and notes.

        Returns:
            The checkpoint, None where there is none, and notes.

        Raises:
            InputRejected: It is damaged; the message names the checkpoint to go back to.
        """
        last = self.last_checkpoint()
        if last is None:
            return None, ()
        try:
            return last, tuple(f"{last.name}: {note}" for note in verify_checkpoint(last))
        except HeedfulError as error:
            what = error.what if isinstance(error, InputRejected) else str(error)
            earlier = self._sound_before(last)
            back = "begin the run again" if earlier is None else f"go back to {earlier.name}"
            fix = f"remove {last.name} and give --resume again to {back}"
            if earlier is None:
                fix = f"there is no earlier one to go back to: {back} in another folder, or fetch {last.name} again"
            raise InputRejected(escaped(last), what, fix) from error

    def _sound_before(self, last: Path) -> Path | None:
        """The latest checkpoint before this one that is what was written."""
        earlier = [path for path in self._checkpoints() if (path / WHOLE).is_file() and step_of(path) < step_of(last)]
        for path in sorted(earlier, key=step_of, reverse=True):
            try:
                verify_checkpoint(path)
            except HeedfulError:
                continue
            return path
        return None

    def discard_unfinished(self) -> None:
        """Remove incomplete checkpoints and files of a killed process."""
        if self.path.is_dir():
            remove_stale(self.path)
        for path in self._checkpoints():
            if not (path / WHOLE).is_file():
                shutil.rmtree(path, ignore_errors=True)

    def _checkpoints(self) -> list[Path]:
        if not self.path.is_dir():
            return []
        found = (path for path in self.path.iterdir() if _CHECKPOINT.fullmatch(path.name))
        return [path for path in found if path.is_dir() and not path.is_symlink()]


def step_of(checkpoint: Path) -> int:
    """Return the training step of a checkpoint.

    Args:
        checkpoint: Its folder, ``checkpoint-N``.

    Raises:
        InputRejected: It has another name.
    """
    found = _CHECKPOINT.fullmatch(checkpoint.name)
    if found is None:
        raise InputRejected(escaped(checkpoint), "expected a folder checkpoint-N")
    return int(found[1])


def write_whole(path: Path, facts: Mapping[str, Any]) -> None:
    """Write JSON atomically, through a temporary file."""
    write_atomic(path, json.dumps(facts, indent=1) + "\n", overwrite=True)


def _brief(value: Any) -> str:
    """A value in a message; of a hash, its first digits."""
    text = str(value)
    return escaped(text[:12] if re.fullmatch(r"[0-9a-f]{64}", text) else text, 60)
