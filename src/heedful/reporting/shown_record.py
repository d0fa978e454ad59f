"""Base class of results: a record with a short repr, a page, JSON, and methods to save both."""

from __future__ import annotations

import importlib
import os
from html import escape
from pathlib import Path
from typing import Any, ClassVar

from heedful.errors import UsageError
from heedful.reporting.write import is_own, write_atomic

HEIGHT = 640
"""Pixels of the frame in which a notebook shows a page."""


class ShownRecord:
    """Base class of results; subclasses name the functions that make their page and JSON.

    Attributes:
        page_by: Function of the record that gives its ``Page``; empty where ``html_by`` makes the HTML itself.
        html_by: Function of the record that gives HTML; read where ``page_by`` is empty.
        json_by: Function of the record that gives JSON text.

    Example:
        >>> class Answer(ShownRecord):
        ...     html_by, json_by = "html:escape", "json:dumps"
        ...
        ...     def one_line(self):
        ...         return "42"
        >>> Answer()
        Answer(42)
    """

    page_by: ClassVar[str] = ""
    html_by: ClassVar[str] = ""
    json_by: ClassVar[str] = "heedful.reporting.pages.part:record_json"

    def one_line(self) -> str:
        """Return the text of the repr: the record's subject in a few words.

        Raises:
            NotImplementedError: The record does not say.
        """
        raise NotImplementedError(f"{type(self).__name__}.one_line")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.one_line()})"

    def to_json(self) -> str:
        """Return the record as strict JSON text that ends with a newline; undefined values are null."""
        return str(_named(self.json_by)(self))

    def to_html(self) -> str:
        """Return the page as one self-contained HTML document."""
        if not self.page_by:
            return str(_named(self.html_by)(self))
        from heedful.reporting.pages.html import page_html

        return page_html(_named(self.page_by)(self), self)

    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> Path:
        """Save the page or the JSON document, chosen by the path's suffix, in one atomic write.

        Args:
            path: A path that ends in ``.html`` or ``.json``.
            force: Whether a file that is not an earlier result of heedful's may be replaced.

        Returns:
            The path.

        Raises:
            UsageError: The path ends otherwise.
            OutputError: The file could not be written; what stood there is whole.
        """
        place = _place(path)
        forms = self._forms()
        write = forms.get(place.suffix.lower())
        if write is None:
            known = " or ".join(forms)
            raise UsageError(f"save: {os.fspath(path)}: expected a name that ends in {known}, got {place.suffix!r}")
        write_atomic(place, write(), overwrite=force or is_own(place))
        return place

    def _forms(self) -> dict[str, Any]:
        """Ending to what gives a file's content."""
        return {".html": self.to_html, ".json": self.to_json}

    def _repr_html_(self) -> str:
        """The page in a frame that runs nothing and reaches nothing of the notebook around it."""
        return framed(self.to_html(), repr(self))


def framed(page: str, title: str) -> str:
    """Return HTML with the page in a sandboxed iframe, without scripts and with its own origin.

    Args:
        page: HTML of the page.
        title: What the frame is called, for screen readers.

    Returns:
        HTML of the frame.
    """
    style = f"width:100%;height:{HEIGHT}px;border:1px solid #8884;border-radius:4px"
    return f'<iframe sandbox="" title="{escape(title)}" style="{style}" srcdoc="{escape(page)}"></iframe>'


def counted(number: int, word: str) -> str:
    """Format a number with its noun: ``1 head``, ``24 heads``.

    Args:
        number: How many.
        word: The noun, which takes an s.
    """
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def _named(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


def _place(path: Any) -> Path:
    try:
        return Path(path)
    except TypeError:
        raise UsageError(f"save: expected a path, got {type(path).__name__}") from None
