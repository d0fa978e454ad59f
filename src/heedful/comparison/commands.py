"""Registers the command that compares two reports."""

from heedful.commandline.commands import COMMANDS, Command
from heedful.comparison.command import compare

COMMANDS.add("compare", Command(compare, "Show what changed between two reports; exit code 1 on a regression.", 60))
