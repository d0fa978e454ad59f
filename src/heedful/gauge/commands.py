"""Register the commands of gauge models."""

from heedful.commandline.commands import COMMANDS, Command
from heedful.gauge.command_convert import convert
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
COMMANDS.add(
    "gauge convert",
    Command(
        convert,
        "Convert a checkpoint of irrep_spec, token tables and kappa into a gauge model.",
        220,
        (
            "heedful gauge convert best_model.pt --config config.py --out made",
            "heedful gauge convert ckpt.pt --config c.py --feed-forward none --out made",
        ),
    ),
)
