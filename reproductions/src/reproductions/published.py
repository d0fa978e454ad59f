"""Registry of published claims: sentence, published figure, and the function that tests it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from heedful.evaluation.result import Finding
from reproductions.evidence import Measurements
from reproductions.notes import NOTES

Judge = Callable[[Measurements], Sequence[Finding]]


@dataclass(frozen=True, kw_only=True)
class PublishedClaim:
    """One published claim and the function that tests it.

    Attributes:
        name: Its name, that of the function that judges it.
        note: Number of the note.
        section: Where in the note it stands.
        sentence: What it says, in our words; it can be false.
        figure: What was published for it.
        judge: From measurements to findings; None where it is not tested.
        reason: Why it is not tested, and what it would take; empty where it is.
    """

    name: str
    note: str
    section: str
    sentence: str
    figure: str
    judge: Judge | None = None
    reason: str = ""

    def __post_init__(self) -> None:
        if self.note not in NOTES:
            raise ValueError(f"claim {self.name!r}: note {self.note!r} is unknown (add it to reproductions/notes.py)")
        if (self.judge is None) == (not self.reason):
            raise ValueError(f"claim {self.name!r}: expected a function that judges it, or why there is none")

    @property
    def source(self) -> str:
        """Note and section that make the claim."""
        return f"note {self.note}, {self.section}" if self.note.isdigit() else self.section


CLAIMS: dict[str, PublishedClaim] = {}
"""Name to claim, in the order in which they were registered."""


def published(*, note: str, section: str, sentence: str, figure: str) -> Callable[[Judge], Judge]:
    """Decorator that registers a function as the test of the published claim of the same name.

    Args:
        note: Number of the note, a key of ``NOTES``.
        section: Where in it.
        sentence: What is claimed, in our words.
        figure: What was published for it.

    Raises:
        ValueError: The name is taken, or the note unknown.
    """

    def register(function: Judge) -> Judge:
        name = function.__name__
        _add(PublishedClaim(name=name, note=note, section=section, sentence=sentence, figure=figure, judge=function))
        return function

    return register


def untested(name: str, *, note: str, section: str, sentence: str, figure: str, reason: str) -> None:
    """Register a claim that is not tested, with the reason.

    Args:
        name: Its name.
        note: Number of the note.
        section: Where in it.
        sentence: What is claimed, in our words.
        figure: What was published for it.
        reason: Why it is not tested, and what it would take.

    Raises:
        ValueError: The name is taken, the note unknown, or there is no reason.
    """
    _add(PublishedClaim(name=name, note=note, section=section, sentence=sentence, figure=figure, reason=reason))


def _add(claim: PublishedClaim) -> None:
    if claim.name in CLAIMS:
        raise ValueError(f"claim {claim.name!r} is registered twice")
    CLAIMS[claim.name] = claim
