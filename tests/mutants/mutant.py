"""A single change of meaning in the source, and the tests that must notice it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.places import ROOT

SOURCE = ROOT / "src"


@dataclass(frozen=True)
class Mutant:
    """One change.

    Attributes:
        name: What is wrong about the changed source, in a few words.
        file: The file, from ``src/heedful``.
        old: Text that occurs in it exactly once.
        new: What takes its place.
        tests: Arguments of pytest that name the tests; all pass on the true source, one at least fails on this one.
    """

    name: str
    file: str
    old: str
    new: str
    tests: str

    @property
    def path(self) -> Path:
        """The file from the folder of the sources."""
        return Path("heedful") / self.file

    def changed(self, text: str) -> str:
        """The file's text with the change made.

        Raises:
            ValueError: The old text does not occur exactly once.
        """
        if text.count(self.old) != 1:
            raise ValueError(
                f"{self.name}: {self.file}: expected {self.old!r} once, found it {text.count(self.old)} times"
            )
        return text.replace(self.old, self.new)
