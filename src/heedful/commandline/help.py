"""Layout of help pages: a command shows examples, then its options in panels; a group shows its commands, then its
subgroups.

Accept several values after one option: ``--text a.txt b.txt`` means ``--text a.txt --text b.txt``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import typer

PANELS = {
    "Model": ("model", "config", "factory", "checkpoint", "tokenizer", "allow_global", "adapter", "override"),
    "Text": ("text", "seq_len", "sequences", "held_out_text", "stride", "lines", "encoding"),
    "How much": (
        "preset",
        "null_models",
        "sequential",
        "require",
        "repetitions",
        "resamples",
        "budget",
        "null",
        "trials",
    ),
    "Output": ("out", "json", "html", "figures", "markdown", "junit", "force", "brief"),
    "Machine": ("device", "dtype", "parallel", "seed", "processes", "threads", "workers", "engine", "debug", "help"),
}
"""Panel of the help page to the options that stand in it; what no panel names is the command's own."""

OWN = "This command"
GROUPS = "Groups of commands"


class ExampleCommand(typer.core.TyperCommand):
    """Command whose help starts with examples and shows options in panels."""

    examples: ClassVar[tuple[str, ...]] = ()

    def format_help_text(self, ctx: Any, formatter: Any) -> None:
        """Write the examples, then the description of the command."""
        if self.examples:
            with formatter.section("Examples"):
                for line in self.examples:
                    formatter.write(f"{' ' * formatter.current_indent}{line}\n")
        super().format_help_text(ctx, formatter)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments, the command's own options, then the shared panels."""
        panels: dict[str, list[tuple[str, str]]] = {"Arguments": [], OWN: [], **{name: [] for name in PANELS}}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is None:
                continue
            named = next((panel for panel, names in PANELS.items() if parameter.name in names), OWN)
            panels["Arguments" if parameter.param_type_name == "argument" else named].append(record)
        for panel, records in panels.items():
            if records:
                with formatter.section(panel):
                    formatter.write_dl(records)


class PlainGroup(typer.core.TyperGroup):
    """Command group whose help lists its commands first, then its subgroups."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write one entry per command, wrapped between words."""
        rows: dict[str, list[tuple[str, str]]] = {"Commands": [], GROUPS: []}
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is not None and not command.hidden:
                place = GROUPS if isinstance(command, typer.core.TyperGroup) else "Commands"
                rows[place].append((name, command.help or ""))
        for title, found in rows.items():
            if found:
                with formatter.section(title):
                    formatter.write_dl(found)

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the command names in the order in which they were added."""
        return list(self.commands)


def hyphens(words: list[str]) -> list[str]:
    """Replace underscores in option names by hyphens: ``--seq_len 128`` becomes ``--seq-len 128``.

    Args:
        words: Words of the command line; anything after ``--`` is left alone.
    """
    end = words.index("--") if "--" in words else len(words)
    found = []
    for word in words[:end]:
        name, equals, value = word.partition("=")
        found.append(name.replace("_", "-") + equals + value if word.startswith("--") else word)
    return found + words[end:]


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
