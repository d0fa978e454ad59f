"""Registers the commands that train, and those that run a plan of trainings."""

from heedful.commandline.commands import COMMANDS, Command
from heedful.training.command import decoder
from heedful.training.sweeps.command import PlanFirst, run, table

COMMANDS.add("train", Command(None, "Train a reference model on your text.", 150))
COMMANDS.add(
    "train decoder", Command(decoder, "Train the reference decoder; continue after a stop with --resume.", 160)
)
COMMANDS.add(
    "sweep",
    Command(
        None,
        "Run a plan of settings and seeds: heedful sweep PLAN.yaml --out SWEEP; then heedful sweep table SWEEP.",
        180,
        PlanFirst,
    ),
)
COMMANDS.add(
    "sweep run",
    Command(run, "Make the runs of a plan, in parallel; repeat it to continue. The word run may be left out.", 190),
)
COMMANDS.add("sweep table", Command(table, "Show and save the table of a sweep, also while it runs.", 200))
