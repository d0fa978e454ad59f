"""The notes whose claims are tested."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Note:
    """A published note that makes claims.

    Attributes:
        number: What claims name it by.
        title: Its title.
        about: What was studied in it.
    """

    number: str
    title: str
    about: str

    @property
    def heading(self) -> str:
        """Its title behind its number, where it has one."""
        return f"Note {self.number}: {self.title}" if self.number.isdigit() else self.title


NOTES = {
    note.number: note
    for note in (
        Note("000", "Deep Attention Analysis Summary", "attention weights derived from counts: scale and focus"),
        Note("001", "Attention Uniformity Investigation", "attention by divergence of beliefs: heads of lower spin"),
        Note("002", "Analysis of Attention Key Evolution", "keys of a 22-layer decoder over 1,000 steps of training"),
        Note("003", "Why Attention Patterns Don't Align with Count Matrices", "weights from counts: alignment"),
        Note("004", "Attention Pattern Validation Guide", "thresholds by which attention is called good or bad"),
        Note(
            "literature",
            "Claims of the literature",
            "trained models that install from packages, and not on the models of the papers",
        ),
    )
}
"""Number to note."""
