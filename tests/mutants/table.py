"""All mutants, room by room."""

from __future__ import annotations

from tests.mutants.capture_room import CAPTURE
from tests.mutants.measuring_rooms import MEASURING
from tests.mutants.judging_rooms import JUDGING

MUTANTS = (*CAPTURE, *MEASURING, *JUDGING)
