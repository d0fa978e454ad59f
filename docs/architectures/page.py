"""The page, and the command line that makes it."""

from __future__ import annotations

import argparse
import logging
import sys
import traceback
import warnings
from pathlib import Path

import torch

from architectures.case import Case
from architectures.compared import base
from architectures.families import cases
from architectures.operators import declare
from architectures.proofs import Found, prove

HEAD = "| architecture | way in | met | rows measured | equal to its own weights | padded equals unpadded | replaced | remark |"


def found_of(case: Case) -> Found:
    """What is proved of a row; an error of the model is told in its remark."""
    absent = case.absent()
    if absent:
        return Found(case.name, error=f"skipped: needs {absent}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return prove(case)
    except Exception as error:
        logging.getLogger("architectures").debug(traceback.format_exc())
        told = " ".join(str(error).split())[:160]
        return Found(case.name, error=f"{type(error).__name__}: {told}")


def row(found: Found) -> str:
    """One line of the table."""
    if found.error:
        return f"| {found.name} | - | - | - | - | - | - | {found.error} |"
    cells = [
        found.name,
        ", ".join(found.ways) or "not met",
        f"{len(found.met)} of {len(found.attending)}",
        f"{found.measured} of {found.entered}",
        _equal(found),
        _padded(found),
        _replaced(found),
        "; ".join(found.remarks),
    ]
    return "| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |"


def _equal(found: Found) -> str:
    told = [path for path in found.equal if base(path) in found.met]
    if not told:
        return "-" if not found.met else "not returned"
    good = f"{sum(not found.equal[path] for path in told)} of {len(told)}"
    others = [name for name in found.shown if name != "returned"]
    return f"{good} ({', '.join(others)})" if others else good


def _padded(found: Found) -> str:
    if not found.met:
        return "-"
    if not found.sides:
        return "no mask"
    return f"{sum(not wrong for wrong in found.padded.values())} of {len(found.padded)} {', '.join(found.sides)}"


def _replaced(found: Found) -> str:
    if not found.met:
        return "-"
    alone = found.first_head.values()
    good = f"{len(found.moved)} of {len(found.first_head)}"
    heads = f"head 0 alone {sum(one is True for one in alone)} of {sum(one is not None for one in alone)}"
    return f"{good}, {heads}"


def details(found: Found) -> list[str]:
    """What is wrong, a line each."""
    lines = [f"    silently wrong: {path}" for path in found.wrong]
    lines += [f"    not verified: {path}" for path in found.doubted]
    lines += [f"    equal {path}: ours and its: {'; '.join(dict.fromkeys(found.equal[path][:6]))}" for path in found.equal if found.equal[path]]
    lines += [f"    padded {path}: {'; '.join(found.padded[path][:6])}" for path in found.padded if found.padded[path]]
    lines += [f"    not moved: {path}" for path in found.first_head if path not in found.moved]
    lines += [f"    head 0: {path}: {told}" for path, told in found.first_head.items() if told is not True]
    return lines


def main(arguments: list[str] | None = None) -> None:
    """``--only a,b`` takes some rows; ``--print`` shows them with what is wrong, in place of writing the page."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="")
    parser.add_argument("--family", default="")
    parser.add_argument("--print", action="store_true", dest="shown")
    parser.add_argument("--debug", action="store_true")
    asked = parser.parse_args(arguments)
    logging.getLogger("transformers").setLevel(logging.ERROR)
    if asked.debug:
        logging.basicConfig()
        logging.getLogger("architectures").setLevel(logging.DEBUG)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    declare()
    known = cases()
    names = [name for name in asked.only.split(",") if name] or list(known)
    for name in names:
        if asked.family and known[name].family != asked.family:
            continue
        found = found_of(known[name])
        sys.stdout.write("\n".join([row(found), *details(found)]) + "\n")
        sys.stdout.flush()


PAGE = Path(__file__).parent.parent / "architectures.md"
