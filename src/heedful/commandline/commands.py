"""Registry of commands; each feature registers its own."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import typer

from heedful.commandline.help import ExampleCommand, PlainGroup
from heedful.plugins import Registry

LAST = 1000
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Command:
    """A registered command or command group.

    Attributes:
        run: The function whose parameters are the options; None for a group.
        help: One line.
        place: Where it stands in the list of commands, the least first; those of equal place by name.
        examples: Lines that can be typed, shown first in its help.
        group: What a group is made of, where the usual class does not do.
    """

    run: Callable[..., Any] | None
    help: str
    place: int = LAST
    examples: tuple[str, ...] = ()
    group: type[typer.core.TyperGroup] = PlainGroup


COMMANDS: Registry[Command] = Registry("commands", "command")
"""Words of a command (``validate``, ``ngrams count``) to the command; the group of two words is registered too."""


def add_commands(app: typer.Typer) -> None:
    """Add every registered command to a typer app.

    Args:
        app: What the commands are added to.
    """
    groups: dict[str, typer.Typer] = {}
    for words, command in sorted(COMMANDS.items(), key=lambda item: (item[1].place, item[0])):
        first, _, rest = words.rpartition(" ")
        if command.run is None:
            groups[words] = typer.Typer(cls=command.group, help=command.help, no_args_is_help=True)
            app.add_typer(groups[words], name=words)
        elif first and first not in groups:
            _log.warning("command %r was left out: there is no group %r", words, first)
        else:
            shown = type("ShownCommand", (ExampleCommand,), {"examples": command.examples})
            (groups[first] if first else app).command(rest, help=command.help, cls=shown)(command.run)
