"""Stand-ins for the rooms that a command calls, so that a command line is tested without a model.

In a test: ``install(monkeypatch.setitem, ...)``. In a process of its own this file is run as a script: its first word
is what ``validate`` does (``report``, ``wait``), the others are the command line.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any


@dataclass(frozen=True)
class Settings:
    preset: str = "standard"
    null_models: int | None = None
    null: str = "random"
    require: tuple[str, ...] = ()
    seed: int = 0
    interim_analyses: int = 1
    budget: float | None = None

    def __post_init__(self) -> None:
        if "no_such_claim" in self.require:
            from heedful.errors import UsageError

            raise UsageError("require: no such claim: no_such_claim")


def install(
    set_item: Callable[[Any, str, Any], None], judge: Callable[..., Any], load: Callable[..., Any] | None = None
) -> dict[str, Any]:
    """Put the stand-ins in place; what they were called with is noted in the dict that is returned."""
    calls: dict[str, Any] = {}

    def load_model(model: Any, **options: Any) -> Any:
        calls["load_model"] = {"model": model, **options}
        if load is not None:
            load()
        return SimpleNamespace(
            model="a model",
            tokenizer="a tokenizer",
            name=model or "embedded default",
            notes=("a note",),
            max_positions=1024,
            vocab_size=50,
            trained_positions=512,
            build=None,
        )

    def load_documents(paths: Any) -> str:
        calls["load_documents"] = paths
        return "documents"

    def make_sequences(documents: Any, tokenizer: Any, **options: Any) -> str:
        calls["make_sequences"] = {"documents": documents, "tokenizer": tokenizer, **options}
        return "sequences"

    def run(model: Any, sequences: Any, **options: Any) -> Any:
        calls["judge"] = {"model": model, "sequences": sequences, **options}
        return judge(**options)

    rooms: dict[str, dict[str, Any]] = {
        "heedful.loading.loaded_model": {"load_model": load_model},
        "heedful.loading.documents": {"load_documents": load_documents},
        "heedful.loading.sequences": {"make_sequences": make_sequences},
        "heedful.evaluation.settings": {"Settings": Settings},
        "heedful.evaluation.nine_sections": {"validate": run, "head_rows": run},
    }
    for name, names in rooms.items():
        room = ModuleType(name)
        vars(room).update(names)
        set_item(sys.modules, name, room)
    return calls


def _report() -> Any:
    """A report of plain records, so that the process need not import torch."""
    nothing = dict.fromkeys(("estimate", "interval", "p", "p_adjusted", "threshold", "layer", "head", "units"))
    text = {"claim": "c", "verdict": "PASS", "reason": "r", "unit": "", "null": "", "source": ""}
    finding = SimpleNamespace(n=0, detail={}, definition=1, meaning="", **text, **nothing)
    section = SimpleNamespace(number=1, title="Correctness \u2713 \u2265", findings=[finding] * 2000)
    fields: dict[str, Any] = {name: {} for name in ("model", "data", "settings", "versions", "summary", "run")}
    return SimpleNamespace(verdict="PASS", sections=[section], heads=[], not_measured=[], cards=None, **fields)


def _wait(**_options: Any) -> Any:
    sys.stderr.write("waiting\n")
    sys.stderr.flush()
    time.sleep(60)


if __name__ == "__main__":
    install(
        lambda modules, name, room: modules.__setitem__(name, room),
        {"report": lambda **_: _report(), "wait": _wait}[sys.argv[1]],
    )
    from heedful.app import main

    main(sys.argv[2:])
