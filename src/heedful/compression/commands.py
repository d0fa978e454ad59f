"""Register the commands that measure the cost of compression."""

from heedful.commandline.commands import COMMANDS, Command
from heedful.compression.command_prune import prune
from heedful.compression.command_quantize import quantize

COMMANDS.add("compress", Command(None, "Measure what fewer bits, heads or layers cost.", 300))
COMMANDS.add(
    "compress quantize",
    Command(
        quantize,
        "Measure what keys in few bits cost on held-out text, against noise of the same size.",
        310,
        (
            "heedful compress quantize ./my-checkpoint --text held_out.txt",
            "heedful compress quantize ./my-checkpoint --bits 4 --html quantized.html",
        ),
    ),
)
COMMANDS.add(
    "compress prune",
    Command(
        prune,
        "Measure what leaving out layers, heads and key dimensions costs, by redundancy and at random.",
        320,
        (
            "heedful compress prune ./my-checkpoint --text held_out.txt",
            "heedful compress prune ./my-checkpoint --part heads --html pruned.html",
        ),
    ),
)
