"""One line a layout: ``python -m tests.interception.layouts [WORD ...]``, those whose name or room holds a word."""

from __future__ import annotations

import sys
import traceback
import warnings

import torch
from tests.interception.layouts.corpus import LAYOUTS
from tests.interception.layouts.judging import judge, leftover_modes


def main(words: list[str]) -> int:
    torch.set_num_threads(1)
    failed: dict[str, int] = {}
    sorts: dict[str, int] = {}
    chosen = [one for one in LAYOUTS.values() if not words or any(w in one.name or w == one.room for w in words)]
    for one in chosen:
        notes: list[str] = []
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                problems = judge(one, notes)
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            problems = [f"crash: {type(error).__name__}: {error} ({where.filename.rpartition('/')[2]}:{where.lineno})"]
        if left := leftover_modes():
            problems = [*problems[:2], f"modes left: {left} function modes go on watching"]
        if problems:
            failed[one.room] = failed.get(one.room, 0) + 1
            sort = problems[0].partition(":")[0]
            sorts[sort] = sorts.get(sort, 0) + 1
        message = "; ".join(problem.replace("\n", " ")[:230] for problem in problems[:3] or notes[:2])
        print(f"{'FAIL' if problems else 'ok  '} {one.room}.{one.name} [{one.outcome}] {message}", flush=True)
    print(f"{len(chosen)} layouts, {sum(failed.values())} fail: {failed}; by sort: {sorts}")
    return int(bool(failed))


sys.exit(main(sys.argv[1:]))
