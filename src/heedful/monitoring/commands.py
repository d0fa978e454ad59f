"""Registers the command ``heedful watch``."""

from heedful.commandline.commands import COMMANDS, Command
from heedful.monitoring.command import watch

COMMANDS.add(
    "watch",
    Command(
        watch,
        "Watch a training run: alarms, curves, heads, key vectors.",
        60,
        ("heedful watch run --follow", "heedful watch checkpoints --text notes.txt --html watch.html"),
    ),
)
