"""Registers the commands that judge the attention of a model."""

from heedful.commandline.commands import COMMANDS, Command
from heedful.evaluation.calibration.command import calibrate
from heedful.evaluation.command_doctor import doctor
from heedful.evaluation.command_heads import heads
from heedful.evaluation.command_report import report
from heedful.evaluation.command_validate import validate

COMMANDS.add(
    "validate", Command(validate, "Validate the attention of a model on text: nine sections, with verdicts.", 10)
)
COMMANDS.add("report", Command(report, "Show a stored JSON report again, or make its page and figures.", 20))
COMMANDS.add("doctor", Command(doctor, "Show how each attention module is recorded, and prove it twice.", 30))
COMMANDS.add(
    "calibrate", Command(calibrate, "Simulate every check: false alarms, power, and what older thresholds say.", 40)
)
COMMANDS.add("heads", Command(heads, "Show the head table alone, or save it as CSV or Parquet.", 50))
