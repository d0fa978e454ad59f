"""All mutants, room by room."""

from __future__ import annotations

from tests.mutants.interception import CAPTURE
from tests.mutants.judging import JUDGING
from tests.mutants.measuring import MEASURING

MUTANTS = (*CAPTURE, *MEASURING, *JUDGING)
