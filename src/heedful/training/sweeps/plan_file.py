"""Read a plan file as data; errors name the file and key in one line."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from heedful.errors import InputRejected, UsageError
from heedful.loading.config_file import read_config
from heedful.loading.documents import load_documents
from heedful.loading.wording import escaped, listed
from heedful.training.sweeps.plan import CELL, SCHEMA, SweepPlan, Value, laid_out
from heedful.training.sweeps.recipe import SweepRecipe, recipe_of

KEYS = ("recipe", "text", "fixed", "cells", "axes", "seeds", "measures", "track")
LARGEST_SEED = 2**32 - 1
_SUFFIXES = (".yaml", ".yml", ".json", ".toml")
_EXPECTED = {"bool": "true or false", "int": "a whole number", "float": "a number", "str": "text"}


def read_plan(path: Path) -> SweepPlan:
    """Read and validate a plan file.

    ::

        recipe: decoder
        fixed: {preset: tiny, steps: 200}
        axes:
          qk_norm: [true, false]
          learning_rate: [0.001, 0.003]
        seeds: [0, 1, 2]

    Further keys: ``text`` (files, seen from the plan's folder), ``measures`` (names), ``track`` (steps), and ``cells``:
    settings under a name each, for what is no product; the first is what the others are compared with.

    Args:
        path: A YAML file; JSON and TOML are read too.

    Returns:
        The plan with its runs.

    Raises:
        InputRejected: Something in it does not fit; file and key are named.
        UsageError: There is no such file.
    """
    if path.suffix.lower() not in _SUFFIXES and path.is_file():
        raise InputRejected(escaped(path), f"expected a plan that ends in {', '.join(_SUFFIXES)}", "rename it")
    tree = read_config(path)
    if tree.get("schema") == SCHEMA:  # a plan as a sweep's folder keeps it: its runs are found anew
        tree = {key: value for key, value in tree.items() if key not in ("schema", "runs")}
        if tree.get("cells") and isinstance(tree.get("axes"), dict):
            tree["axes"] = {name: values for name, values in tree["axes"].items() if name != CELL}

    def refuse(key: str, what: str, fix: str = "") -> NoReturn:
        raise InputRejected(f"{escaped(path)}: {key}", what, fix)

    for key in tree:
        if key not in KEYS:
            refuse(escaped(key, 60), f"unknown key, expected one of {', '.join(KEYS)}")
    try:
        recipe = recipe_of(str(tree.get("recipe", "")))
        cells = _cells(tree.get("cells", {}), recipe, refuse)
        named: dict[str, list[Value]] = {CELL: list(cells)} if cells else {}
        plan = SweepPlan(
            recipe=recipe.name,
            cells=cells,
            axes=named | _axes(tree.get("axes", {}), recipe, refuse),
            seeds=_seeds(tree.get("seeds"), refuse),
            fixed=_fixed(tree.get("fixed", {}), recipe, refuse),
            text=_text(tree.get("text", []), path, recipe, refuse),
            measures=_measures(tree.get("measures"), recipe, refuse),
            track=_track(tree.get("track"), recipe, refuse),
        )
        for name in plan.axes.keys() & plan.fixed.keys():
            refuse(f"axes: {name}", "stands under fixed too", "name it once")
        for cell, own in plan.cells.items():
            for name in own.keys() & (plan.fixed.keys() | plan.axes.keys()):
                refuse(f"cells: {escaped(cell, 60)}: {name}", "stands under fixed or axes too", "name it once")
        return laid_out(plan, recipe, _text_fingerprint(plan, recipe))
    except UsageError as error:
        raise InputRejected(escaped(path), str(error)) from error


Refuse = Callable[..., NoReturn]


def _axes(given: Any, recipe: SweepRecipe, refuse: Refuse) -> dict[str, list[Value]]:
    if not isinstance(given, dict):
        refuse("axes", f"expected a setting and its values a line, got {type(given).__name__}")
    axes: dict[str, list[Value]] = {}
    for name, values in given.items():
        key = f"axes: {escaped(name, 60)}"
        if not isinstance(values, list):
            refuse(key, "expected a list of values", f"write [{escaped(values, 40)}]")
        if not values:
            refuse(key, "the axis is empty", "give it values, or leave it out")
        axes[name] = [_value(value, name, key, recipe, refuse) for value in values]
        _no_duplicates(axes[name], key, refuse)
    return axes


def _cells(given: Any, recipe: SweepRecipe, refuse: Refuse) -> dict[str, dict[str, Value]]:
    if not isinstance(given, dict):
        refuse("cells", f"expected a name and its settings a line, got {type(given).__name__}")
    for name, named in given.items():
        if not isinstance(named, dict):
            refuse(f"cells: {escaped(name, 60)}", "expected its settings", "write {setting: value}, or {}")
    return {
        str(name): {
            setting: _value(value, setting, f"cells: {escaped(name, 60)}: {escaped(setting, 60)}", recipe, refuse)
            for setting, value in named.items()
        }
        for name, named in given.items()
    }


def _fixed(given: Any, recipe: SweepRecipe, refuse: Refuse) -> dict[str, Value]:
    if not isinstance(given, dict):
        refuse("fixed", f"expected a setting and its value a line, got {type(given).__name__}")
    return {name: _value(value, name, f"fixed: {escaped(name, 60)}", recipe, refuse) for name, value in given.items()}


def _value(given: Any, name: str, key: str, recipe: SweepRecipe, refuse: Refuse) -> Value:
    """One value of a setting, in the setting's own type."""
    hints = get_type_hints(recipe.settings)
    known = sorted(set(hints) - {"seed", *recipe.unset})
    if name == "seed":
        refuse(key, "seeds have a key of their own", "write seeds: [0, 1, 2]")
    if name not in known:
        refuse(key, f"no setting of {recipe.name}", f"it has {listed(known, 30)}")
    hint: Any = hints[name]
    reader: TypeAdapter[Any] = TypeAdapter(hint, config=ConfigDict(strict=True, allow_inf_nan=False))
    try:
        # YAML reads 1e-3 as text; where a number is expected, it is one.
        return reader.validate_strings(given) if _is_number_as_text(given, hint) else reader.validate_python(given)
    except ValidationError:
        expected = " or ".join(_EXPECTED.get(word.strip(), "nothing (null)") for word in _words(hint))
        refuse(key, f"expected {expected}, got {escaped(json.dumps(given), 60)}")


def _is_number_as_text(given: Any, hint: Any) -> bool:
    return isinstance(given, str) and "float" in _words(hint) and "str" not in _words(hint)


def _words(hint: Any) -> list[str]:
    """Names of the types that a setting may have."""
    return [hint.__name__] if isinstance(hint, type) else [word.strip() for word in str(hint).split("|")]


def _seeds(given: Any, refuse: Refuse) -> list[int]:
    if not isinstance(given, list) or not given:
        refuse("seeds", "expected a list of whole numbers, got none", "write seeds: [0, 1, 2]")
    for seed in given:
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= LARGEST_SEED:
            message = escaped(json.dumps(seed), 60)
            refuse("seeds", f"expected whole numbers from 0 to {LARGEST_SEED:,}, got {message}")
    _no_duplicates(given, "seeds", refuse)
    return given


def _text(given: Any, path: Path, recipe: SweepRecipe, refuse: Refuse) -> list[str]:
    files = [given] if isinstance(given, str) else given
    if not isinstance(files, list) or not all(isinstance(file, str) and file for file in files):
        refuse("text", "expected the path of a file, or a list of them")
    if files and not recipe.trains:
        refuse("text", f"{recipe.name} reads no text", "leave it out")
    _no_duplicates(files, "text", refuse)
    return [str((path.parent / file).absolute()) for file in files]


def _measures(given: Any, recipe: SweepRecipe, refuse: Refuse) -> list[str]:
    if given is None:
        return list(recipe.measures)
    if not isinstance(given, list):
        refuse("measures", f"expected a list of {', '.join(recipe.measures) or 'nothing'}")
    for name in given:
        if name not in recipe.measures:
            message = ", ".join(recipe.measures) or "none to choose"
            refuse("measures", f"{escaped(json.dumps(name), 60)} is none of {recipe.name}'s: {message}")
    _no_duplicates(given, "measures", refuse)
    return [name for name in recipe.measures if name in given]


def _track(given: Any, recipe: SweepRecipe, refuse: Refuse) -> int | None:
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int) or given < 1:
        refuse("track", f"expected steps between two records, from 1 on; got {escaped(json.dumps(given), 60)}")
    if not recipe.trains:
        refuse("track", f"{recipe.name} trains nothing", "leave it out")
    return given


def _no_duplicates(values: list[Any], key: str, refuse: Refuse) -> None:
    seen: set[str] = set()
    for value in values:
        word = json.dumps(value)
        if word in seen:
            refuse(key, f"{escaped(word, 60)} stands twice", "name each value once")
        seen.add(word)


def _text_fingerprint(plan: SweepPlan, recipe: SweepRecipe) -> str:
    if not recipe.trains:
        return ""
    texts = load_documents([Path(file) for file in plan.text] or None).texts
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()
