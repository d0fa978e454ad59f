"""Register the command ``heedful keys``."""

from heedful.commandline.commands import COMMANDS, Command
from heedful.monitoring.command import keys

COMMANDS.add(
    "keys",
    Command(
        keys,
        "Draw the key vectors of a training run, with what the figures show.",
        60,
        ("heedful keys run --html keys.html --figures figures", "heedful keys checkpoints --text notes.txt"),
    ),
)
