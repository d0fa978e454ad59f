"""Register ``heedful train`` and ``heedful sweep``."""

from heedful.commandline.commands import COMMANDS, Command
from heedful.training.command import decoder
from heedful.training.sweeps.command import PlanFirst, run, table

COMMANDS.add(
    "train",
    Command(
        decoder,
        "Train the reference decoder on your text; continue after a stop with --resume.",
        70,
        (
            "heedful train --preset small --text notes.txt --steps 600 --out run",
            "heedful train --text notes.txt --track-every 10 --out run --resume",
        ),
    ),
)
COMMANDS.add(
    "sweep",
    Command(
        None,
        "Run a plan of settings and seeds: heedful sweep PLAN.yaml --out SWEEP; then heedful sweep table SWEEP.",
        350,
        group=PlanFirst,
    ),
)
COMMANDS.add(
    "sweep run",
    Command(
        run,
        "Make the runs of a plan, in parallel; repeat it to continue. The word run may be left out.",
        360,
        ("heedful sweep kappa --out sweep", "heedful sweep plan.yaml --out sweep --processes 2"),
    ),
)
COMMANDS.add(
    "sweep table",
    Command(
        table,
        "Show and save the table of a sweep, also while it runs.",
        370,
        ("heedful sweep table sweep", "heedful sweep table sweep --measure loss"),
    ),
)
