"""Registers the commands that measure what compression costs."""

from heedful.commandline.commands import COMMANDS, Command
from heedful.compression.command_prune import prune
from heedful.compression.command_quantize_keys import quantize_keys

COMMANDS.add(
    "quantize-keys",
    Command(quantize_keys, "Measure what keys in few bits cost on held-out text, against noise of the same size.", 80),
)
COMMANDS.add(
    "prune",
    Command(prune, "Measure what leaving out layers, heads and key dimensions costs, by redundancy and at random.", 90),
)
