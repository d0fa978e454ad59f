"""Accept several values after one option: ``--text a.txt b.txt`` means ``--text a.txt --text b.txt``."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

_TEXT_ENDINGS = (".txt", ".jsonl", ".md", ".text")
_RULES = ("verdict", "fail", "effect", "never")
_CLAIM = re.compile(r"[a-z]+(_[a-z]+)+|induction")


def _is_text(word: str) -> bool:
    return word.endswith(_TEXT_ENDINGS)


def _is_claim(word: str) -> bool:
    return _CLAIM.fullmatch(word) is not None and not Path(word).exists()


def _is_rule(word: str) -> bool:
    return word in _RULES


def _is_margin(word: str) -> bool:
    return "=" in word and not Path(word).exists()


_MORE: dict[str, Callable[[str], bool]] = {
    "--text": _is_text,
    "--require": _is_claim,
    "--claims": _is_claim,
    "--fail-on": _is_rule,
    "--within": _is_margin,
}
"""Flags that take several values, and what a further value looks like: a MODEL that follows is not taken for one."""


def spread(words: Sequence[str]) -> list[str]:
    """Repeat each option name before each of its values.

    Args:
        words: Words of the command line.

    Returns:
        Words that give every value a flag of its own; anything after ``--`` is left alone.
    """
    found: list[str] = []
    flag, seen = "", False
    for place, word in enumerate(words):
        if word == "--":
            return [*found, *words[place:]]
        if word.startswith("-") and word != "-":
            flag, seen = (word, False) if word in _MORE else ("", False)
        elif flag and not seen:
            seen = True
        elif flag and _MORE[flag](word):
            found.append(flag)
        else:
            flag = ""
        found.append(word)
    return found
