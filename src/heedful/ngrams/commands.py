"""Registers the commands that go from n-gram counts to derived attention."""

from heedful.commandline.commands import COMMANDS, Command
from heedful.ngrams.alignment.command import align
from heedful.ngrams.counting.command import count
from heedful.ngrams.derivation.command_derive import derive
from heedful.ngrams.derivation.command_train import derived
from heedful.ngrams.explanation.command import explain
from heedful.ngrams.remedies.command import remedy

COMMANDS.add(
    "count", Command(count, "Count n-grams of any text into a folder; continue after a stop with --resume.", 100)
)
COMMANDS.add("derive", Command(derive, "Compute a model's attention from counts, and show what was kept.", 110))
COMMANDS.add("align", Command(align, "Compare each head with the attention that counts predict.", 120))
COMMANDS.add(
    "explain",
    Command(explain, "Explain why derived attention is flat, sharp or elsewhere: scales, geometry, cause.", 130),
)
COMMANDS.add(
    "remedy", Command(remedy, "Measure every remedy of derived attention, one change at a time, on one text.", 140)
)
COMMANDS.add(
    "train derived",
    Command(derived, "Train a model whose attention is derived from counts, or what it is compared with.", 170),
)
