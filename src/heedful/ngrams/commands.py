"""Register the commands ``heedful ngrams ...``."""

from heedful.commandline.commands import COMMANDS, Command
from heedful.ngrams.alignment.command import align
from heedful.ngrams.counting.command import count
from heedful.ngrams.derivation.command_derive import derive
from heedful.ngrams.explanation.command import explain
from heedful.ngrams.remedies.command import remedy
from heedful.ngrams.training.command import derived

COMMANDS.add(
    "ngrams", Command(None, "Attention computed from n-gram counts: count, derive, explain, align, remedy.", 100)
)
COMMANDS.add(
    "ngrams count",
    Command(
        count,
        "Count n-grams of any text into a folder; continue after a stop with --resume.",
        110,
        (
            "heedful ngrams count notes.txt --n 1..3 --skip 0..3 --out counts",
            "heedful ngrams count notes.txt --tokenizer bpe --out counts --resume",
        ),
    ),
)
COMMANDS.add(
    "ngrams derive",
    Command(
        derive,
        "Compute a model's attention from counts, and show what was kept.",
        120,
        (
            "heedful ngrams derive counts --recipe corrected --out derived",
            "heedful ngrams derive counts --set positions=rotary --out rotary",
        ),
    ),
)
COMMANDS.add(
    "ngrams explain",
    Command(
        explain,
        "Explain why derived attention is flat, sharp or elsewhere: scales, geometry, cause.",
        130,
        ("heedful ngrams explain derived counts", "heedful ngrams explain derived counts --html why.html"),
    ),
)
COMMANDS.add(
    "ngrams align",
    Command(
        align,
        "Compare each head with the attention that counts predict.",
        140,
        (
            "heedful ngrams align derived counts --text held_out.txt",
            "heedful ngrams align ./my-checkpoint counts --figures figures",
        ),
    ),
)
COMMANDS.add(
    "ngrams remedy",
    Command(
        remedy,
        "Measure every remedy of derived attention, one change at a time, on one text.",
        150,
        (
            "heedful ngrams remedy counts --text held_out.txt --html remedies.html",
            "heedful ngrams remedy counts --text held_out.txt --model run-0 --model run-1",
        ),
    ),
)
COMMANDS.add(
    "ngrams train",
    Command(
        derived,
        "Train a model whose attention is derived from counts, or what it is compared with.",
        160,
        (
            "heedful ngrams train --arm frozen --text notes.txt --out run",
            "heedful ngrams train --arm none --text notes.txt --out run-none",
        ),
    ),
)
