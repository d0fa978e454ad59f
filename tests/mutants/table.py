"""All mutants, room by room."""

from __future__ import annotations

from tests.mutants.capture_room import CAPTURE
from tests.mutants.judging_rooms import JUDGING
from tests.mutants.measuring_rooms import MEASURING

MUTANTS = (*CAPTURE, *MEASURING, *JUDGING)
