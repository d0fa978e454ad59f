"""Read config files in JSON, TOML, YAML or Python literals, without executing code from them."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from heedful.errors import InputRejected
from heedful.loading.regular_file import CONFIG_BYTES, DEEPEST, parse_json, plain_tree, read_small
from heedful.loading.wording import escaped, reason

_WHOLE = ("config", "model_config", "CONFIG", "MODEL_CONFIG")
"""Names under which a Python file may keep one dictionary that is the config."""


def read_config(path: Path) -> dict[str, Any]:
    """Read a model's config from a file, in the format of its suffix.

    Args:
        path: ``.json``, ``.toml``, ``.yaml``, ``.yml`` or ``.py``.

    Returns:
        The config: text, finite numbers, booleans, None, lists and dictionaries.

    Raises:
        InputRejected: The suffix is none of these, or the file holds more than data.
    """
    subject = escaped(path)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise InputRejected(subject, f"no config reader for {path.suffix!r}", f"use {', '.join(sorted(_READERS))}")
    content = read_small(path, CONFIG_BYTES, "a config")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputRejected(subject, f"expected UTF-8: {reason(error)}", "save it as UTF-8") from error
    try:
        tree = reader(text, subject)
    except (RecursionError, MemoryError) as error:
        raise InputRejected(subject, f"nested deeper than {DEEPEST} levels", "flatten it") from error
    if not isinstance(tree, dict):
        raise InputRejected(subject, f"expected a table of settings, found {type(tree).__name__}", "name each value")
    plain_tree(tree, subject)
    return tree


def _toml(text: str, subject: str) -> Any:
    try:
        return tomllib.loads(text)
    except ValueError as error:
        raise InputRejected(subject, f"expected TOML: {reason(error)}", "repair the file") from error


class _PlainYaml(yaml.SafeLoader):
    """YAML without tags that build objects, without aliases, without duplicate keys."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """One node; an alias is refused, for a few of them can stand for billions of values."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("an alias (*name); write the value out")
        self.depth += 1
        if self.depth > DEEPEST:
            raise yaml.YAMLError(f"nested deeper than {DEEPEST} levels")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        """One mapping; a key that stands twice is refused."""
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if len(set(keys)) != len(node.value):
            raise yaml.YAMLError("a key stands twice, or is no plain word")
        return super().construct_mapping(node, deep)


def _yaml(text: str, subject: str) -> Any:
    try:
        return yaml.load(text, Loader=_PlainYaml)  # _PlainYaml is a SafeLoader that refuses more
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise InputRejected(subject, f"expected plain YAML: {reason(error)}", "keep to plain values") from error


def _python(text: str, subject: str) -> dict[str, Any]:
    """Assignments of literals; the file is parsed and never run."""
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError) as error:
        raise InputRejected(subject, f"expected Python: {reason(error)}", "repair the file") from error
    values: dict[str, Any] = {}
    for statement in body:
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            continue
        name, value = _assignment(statement, subject)
        if name in values:
            raise InputRejected(subject, f"line {statement.lineno}: {escaped(name, 60)} is set twice", "keep one")
        values[name] = value
    whole = [name for name in _WHOLE if isinstance(values.get(name), dict)]
    return values[whole[0]] if len(whole) == 1 else values


def _assignment(statement: ast.stmt, subject: str) -> tuple[str, Any]:
    where = f"line {statement.lineno}: expected NAME = literal"
    fix = "write numbers, text, lists and dictionaries out; the file is read, never run"
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    value = statement.value if isinstance(statement, ast.Assign | ast.AnnAssign) else None
    if value is None or len(targets) != 1 or not isinstance(targets[0], ast.Name):
        raise InputRejected(subject, f"{where}, found {type(statement).__name__}", fix)
    try:
        literal = ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError) as error:
        raise InputRejected(subject, f"{where}, found {type(value).__name__}", fix) from error
    return targets[0].id, _listed_tuples(literal)


def _listed_tuples(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_listed_tuples(item) for item in value]
    if isinstance(value, dict):
        return {key: _listed_tuples(item) for key, item in value.items()}
    return value


_READERS: dict[str, Callable[[str, str], Any]] = {
    ".json": parse_json,
    ".toml": _toml,
    ".yaml": _yaml,
    ".yml": _yaml,
    ".py": _python,
}
