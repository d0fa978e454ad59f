"""Register the commands that judge a model's attention."""

from heedful.commandline.commands import COMMANDS, Command
from heedful.evaluation.calibration.command import calibrate
from heedful.evaluation.command_heads import heads
from heedful.evaluation.command_report import report
from heedful.evaluation.command_validate import validate

COMMANDS.add(
    "validate",
    Command(
        validate,
        "Validate the attention of a model on text: nine sections, with verdicts.",
        10,
        (
            "heedful validate ./my-checkpoint --text notes.txt --html report.html",
            "heedful validate --preset quick --json report.json",
        ),
    ),
)
COMMANDS.add(
    "heads",
    Command(
        heads,
        "Show the head table alone, or save it as CSV or Parquet.",
        20,
        ("heedful heads ./my-checkpoint --text notes.txt", "heedful heads ./my-checkpoint --out heads.parquet"),
    ),
)
COMMANDS.add(
    "report",
    Command(
        report,
        "Show a stored JSON report again, or make its page and figures.",
        40,
        ("heedful report report.json", "heedful report report.json --html report.html --figures figures"),
    ),
)
COMMANDS.add("lab", Command(None, "Measure heedful itself.", 400))
COMMANDS.add(
    "lab calibrate",
    Command(
        calibrate,
        "Simulate every check: false alarms, power, and what older thresholds give.",
        410,
        ("heedful lab calibrate", "heedful lab calibrate --claims induction --repetitions 150 --json rates.json"),
    ),
)
