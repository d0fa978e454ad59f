"""Layout of help pages: a command shows examples, then its options in panels; a group shows its commands, then its
subgroups.
"""

from __future__ import annotations

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
