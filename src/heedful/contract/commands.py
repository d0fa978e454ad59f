"""Register the command ``heedful check``."""

from heedful.commandline.commands import COMMANDS, Command
from heedful.contract.command import check_command

COMMANDS.add(
    "check",
    Command(
        check_command,
        "Check what is captured, who sees whom, at what scale and where, against config and batch.",
        5,
        ("heedful check ./my-checkpoint", "heedful check ./my-checkpoint --packed --json contract.json"),
    ),
)
