from __future__ import annotations

import runpy
import sys
from pathlib import Path

CHECKS = Path(__file__).parents[1] / "checks"
sys.path.insert(0, str(CHECKS))

misnormalised_llama = runpy.run_path(str(CHECKS / "conftest.py"))["misnormalised_llama"]
