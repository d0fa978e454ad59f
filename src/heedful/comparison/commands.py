"""Register the command ``heedful compare``."""

from heedful.commandline.commands import COMMANDS, Command
from heedful.comparison.command import compare

COMMANDS.add(
    "compare",
    Command(
        compare,
        "Show what changed between two reports; exit code 1 on a regression.",
        30,
        (
            "heedful compare before.json after.json",
            "heedful compare before.json after.json --fail-on effect --html compared.html",
        ),
    ),
)
