"""Registers the command that trains gauge models."""

from heedful.commandline.commands import COMMANDS, Command
from heedful.gauge.command_train import gauge

COMMANDS.add("train gauge", Command(gauge, "Train the gauge transformer: beliefs, SO(3) irreps, KL attention.", 165))
