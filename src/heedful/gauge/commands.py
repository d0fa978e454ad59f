"""Register the commands of gauge models."""

from heedful.commandline.commands import COMMANDS, Command
from heedful.gauge.command_train import gauge

COMMANDS.add("gauge", Command(None, "Gauge transformers: beliefs in SO(3) irreps, attention by KL divergence.", 200))
COMMANDS.add(
    "gauge train",
    Command(
        gauge,
        "Train the gauge transformer on your text.",
        210,
        (
            'heedful gauge train --irreps "5x0e + 3x1e + 1x2e" --text notes.txt --out run',
            "heedful gauge train --kappa-rule learned --text notes.txt --out run --resume",
        ),
    ),
)
