"""The reference pages, made from the code: functions, commands, checks, statistics, columns, JSON fields.

``pages()`` gives every page by its path in the site. Nothing here is typed by hand: an item that registers itself, or a
public name, is on its page. ``python docs/site/reference.py build/reference`` writes them, to look at.
"""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import re
import sys
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from docstrings import cell, code, escaped, inline, markdown, summary

ROOT = "reference"
ARGUMENTS = ("Args",)


def pages() -> dict[str, str]:
    """Path of each page, and its Markdown."""
    made = {f"{ROOT}/functions/{name}.md": function_page(name) for name in public_names()}
    made |= {f"{ROOT}/commands/{slug(words)}.md": command_page(words) for words in command_words()}
    made[f"{ROOT}/functions/index.md"] = function_list()
    made[f"{ROOT}/commands/index.md"] = command_list()
    made[f"{ROOT}/testing.md"] = testing_page()
    made[f"{ROOT}/checks.md"] = checks_page()
    made[f"{ROOT}/statistics.md"] = statistics_page()
    made[f"{ROOT}/columns.md"] = columns_page()
    made[f"{ROOT}/json.md"] = json_page()
    return made


def navigation() -> list[Any]:
    """The reference's part of the site's navigation."""
    functions = [{name: f"{ROOT}/functions/{name}.md"} for name in public_names()]
    commands = [{f"heedful {words}": f"{ROOT}/commands/{slug(words)}.md"} for words in command_words()]
    return [
        {"Functions": [f"{ROOT}/functions/index.md", *functions]},
        {"Commands": [f"{ROOT}/commands/index.md", *commands]},
        {"Assertions": f"{ROOT}/testing.md"},
        {"Checks": f"{ROOT}/checks.md"},
        {"Statistics": f"{ROOT}/statistics.md"},
        {"Columns": f"{ROOT}/columns.md"},
        {"JSON fields": f"{ROOT}/json.md"},
    ]


# Functions


def public_names() -> list[str]:
    """Names of ``heedful.__all__``, functions first."""
    import heedful

    return sorted(heedful.__all__, key=lambda name: (inspect.isclass(getattr(heedful, name)), name.lower()))


def signature(name: str, function: Any) -> str:
    """A call with its arguments, one a line where they are many."""
    try:
        found = inspect.signature(function)
    except (TypeError, ValueError):
        return name
    arguments, star = [], False
    for one in found.parameters.values():
        if one.name == "self":
            continue
        if one.kind is one.KEYWORD_ONLY and not star:
            arguments.append("*")
            star = True
        star = star or one.kind is one.VAR_POSITIONAL
        arguments.append(_argument(one))
    returned = "" if found.return_annotation is inspect.Signature.empty else f" -> {_type(found.return_annotation)}"
    returned = "" if inspect.isclass(function) else returned
    flat = f"{name}({', '.join(arguments)}){returned}"
    return flat if len(flat) < 88 else f"{name}(\n    " + ",\n    ".join(arguments) + f",\n){returned}"


def _argument(one: inspect.Parameter) -> str:
    prefix = {one.VAR_POSITIONAL: "*", one.VAR_KEYWORD: "**"}.get(one.kind, "")
    known = "" if one.annotation is one.empty else f": {_type(one.annotation)}"
    if one.default is one.empty:
        return f"{prefix}{one.name}{known}"
    default = "..." if callable(one.default) or " at 0x" in repr(one.default) else repr(one.default)
    return f"{one.name}{known}{' = ' if known else '='}{default}"


def _type(annotation: Any) -> str:
    return annotation.strip("'\"") if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))


def function_page(name: str) -> str:
    """One public function or class."""
    import heedful

    item = getattr(heedful, name)
    if not inspect.isclass(item):
        command = next((words for words in command_words() if words.split()[-1] == name), None)
        link = f"\nOn the command line: [heedful {command}](../commands/{slug(command)}.md).\n" if command else ""
        return f"# heedful.{name}\n\n```python\n{signature(f'heedful.{name}', item)}\n```\n\n{markdown(item, 2)}{link}"
    shown = (
        ""
        if issubclass(item, BaseException) or _is_enum(item)
        else f"```python\n{signature(f'heedful.{name}', item)}\n```\n\n"
    )
    methods = [
        f"## {called}\n\n```python\n{signature(called, one)}\n```\n\n{markdown(one)}" for called, one in _methods(item)
    ]
    values = [f"- `{one.name}`: {escaped(str(one.value))}" for one in item] if _is_enum(item) else []
    listed = "\n".join(values) + "\n\n" if values else ""
    return f"# heedful.{name}\n\n{shown}{markdown(item, 2)}\n{listed}{''.join(methods)}"


def _is_enum(item: Any) -> bool:
    from enum import Enum

    return inspect.isclass(item) and issubclass(item, Enum)


def _methods(item: type) -> list[tuple[str, Any]]:
    """Public methods and properties that have a docstring of heedful's own."""
    found = []
    for name, one in inspect.getmembers(item):
        function = one.fget if isinstance(one, property) else one
        home = getattr(inspect.unwrap(function), "__module__", "") if callable(function) else ""
        if (
            not name.startswith("_")
            and callable(function)
            and str(home).startswith("heedful")
            and inspect.getdoc(function)
        ):
            found.append((name, function))
    return found


def function_list() -> str:
    """Every public name with one line."""
    import heedful

    rows = [f"| [`{name}`]({name}.md) | {cell(summary(getattr(heedful, name)))} |" for name in public_names()]
    return (
        "# Functions\n\nThe public names of `heedful`, functions first.\n\n| name | what it is |\n|---|---|\n"
        + "\n".join(rows)
        + "\n"
    )


def testing_page() -> str:
    """Every assertion of ``heedful.testing``."""
    from heedful import testing

    made = [f"# Assertions\n\n{markdown(testing)}"]
    for name in testing.__all__:
        one = getattr(testing, name)
        made.append(f"## {name}\n\n```python\n{signature(f'heedful.testing.{name}', one)}\n```\n\n{markdown(one)}")
    return "\n".join(made)


# Commands


def slug(words: str) -> str:
    """File name of a command's page."""
    return words.replace(" ", "-")


def command_words() -> list[str]:
    """Every command that runs something, in the order of ``heedful --help``."""
    from heedful.commandline.commands import COMMANDS

    ranked = sorted(COMMANDS.items(), key=lambda item: (COMMANDS[item[0].split()[0]].place, item[0]))
    return [words for words, command in ranked if command.run is not None]


def _click(words: str) -> tuple[Any, Any]:
    """The command as the command line has it, and a context to ask it in."""
    import click
    import typer.main

    from heedful.app import app

    found = typer.main.get_command(app)
    context = (
        type(found).context_class(found, info_name="heedful")
        if hasattr(type(found), "context_class")
        else click.Context(found)
    )
    for word in words.split():
        found = found.commands[word]
        context = found.context_class(found, info_name=word, parent=context)
    return found, context


def command_page(words: str) -> str:
    """One command: what it does, examples, arguments and options by panel."""
    import heedful
    from heedful.commandline.commands import COMMANDS
    from heedful.commandline.help import OWN, PANELS

    record = COMMANDS[words]
    command, context = _click(words)
    made = [f"# heedful {words}", escaped(record.help)]
    made.append("```bash\n" + "\n".join(record.examples) + "\n```" if record.examples else "")
    panels: dict[str, list[str]] = {"Arguments": [], OWN: [], **{name: [] for name in PANELS}}
    for parameter in command.get_params(context):
        shown = parameter.get_help_record(context)
        if shown is None:
            continue
        panel = next((name for name, own in PANELS.items() if parameter.name in own), OWN)
        panel = "Arguments" if parameter.param_type_name == "argument" else panel
        panels[panel].append(f"| `{cell(shown[0])}` | {cell(escaped(shown[1]))} |")
    for panel, rows in panels.items():
        if rows:
            title = "Options" if panel == OWN else panel
            made += [f"## {title}", "| word | what it means |\n|---|---|\n" + "\n".join(rows)]
    name = words.split()[-1]
    if name in heedful.__all__:
        made.append(f"In Python: [`heedful.{name}`](../functions/{name}.md), with the same words.")
    return "\n\n".join(part for part in made if part) + "\n"


def command_list() -> str:
    """Every command with one line, and the exit codes."""
    from heedful.app import app
    from heedful.commandline.commands import COMMANDS

    rows = [
        f"| [`heedful {words}`]({slug(words)}.md) | {cell(escaped(COMMANDS[words].help))} |"
        for words in command_words()
    ]
    return (
        "# Commands\n\n| command | what it does |\n|---|---|\n"
        + "\n".join(rows)
        + f"\n\n{escaped(str(app.info.epilog))}\n"
    )


# Checks


def checks_page() -> str:
    """Every check: what it claims, why it matters, null, source."""
    from heedful.evaluation.registry import CHECKS, SECTION_TITLES

    made = [
        "# Checks\n\nA check is a claim that can be false. `heedful validate` judges them in nine sections. Each "
        "estimate has a 95 % interval over documents; [verdicts](../explanation/verdicts.md) says when a claim passes."
    ]
    for number, title in SECTION_TITLES.items():
        made.append(f"## {number} {title}")
        for name, facts in CHECKS.items():
            if facts.section == number:
                made.append(_check(name, facts))
    return "\n\n".join(made) + "\n"


def _check(name: str, facts: Any) -> str:
    rows = [
        ("null", null_of(facts.judge)),
        ("source", escaped(facts.source)),
        ("cheapest preset", facts.preset),
        ("can be required", "no: it describes and never passes" if facts.descriptive else f"`--require {name}`"),
        ("definition", f"version {facts.definition}"),
    ]
    table = "| fact | value |\n|---|---|\n" + "\n".join(f"| {label} | {cell(text)} |" for label, text in rows)
    return f"### {name}\n\n**{escaped(facts.meaning)}**\n\n{markdown(facts.judge, 0, ARGUMENTS)}\n{table}"


def null_of(judge: Any) -> str:
    """What a check is compared with, read from the code that judges it."""
    source = inspect.getsource(inspect.getmodule(judge))  # type: ignore[arg-type]
    exact = re.search(r"null=f?\"([^\"{]+)", source)
    if exact:
        return escaped(exact[1].rstrip(": "))
    if "null_name=" in source:
        return "random query and key projections on the model's own inputs; see [nulls](../explanation/nulls.md)"
    if re.search(r"divergence|content", source) and "6" in source:
        return "random orientations of queries against keys; see [nulls](../explanation/nulls.md)"
    if "margin" in source and "mass" in source:
        return "the margin over the uniform share; see [nulls](../explanation/nulls.md)"
    if "ablation" in source.lower():
        return "the same tokens with the learned attention; see [ablation](../explanation/ablation.md)"
    return "see [nulls](../explanation/nulls.md)"


# Statistics and columns


def statistics_page() -> str:
    """Every registered statistic: definition, unit, bounds, source."""
    from heedful.attention.registry import STATISTICS

    made = [
        "# Statistics\n\nA statistic is one number per query row. heedful computes it from moments, without a "
        "(query, key) matrix. The head table shows its mean over judged rows."
    ]
    for name, facts in sorted(STATISTICS.items()):
        bounds = " to ".join(f"{one:g}" for one in facts.bounds)
        rows = [
            ("unit", facts.unit),
            ("bounds", bounds),
            ("computed from", ", ".join(map(code, facts.needs))),
            ("source", escaped(facts.source)),
        ]
        table = "| fact | value |\n|---|---|\n" + "\n".join(f"| {label} | {cell(text)} |" for label, text in rows)
        made.append(f"## {name}\n\n{markdown(facts.compute, 0, ARGUMENTS)}\n{table}")
    return "\n\n".join(made) + "\n"


def columns_page() -> str:
    """Every column of the head table."""
    from heedful.attention.registry import STATISTICS
    from heedful.evaluation.page.html.heads import known_names, words_of

    rows = []
    for name in sorted({*known_names(), *STATISTICS}):
        unit, reading = words_of(name)
        link = f"[`{name}`](statistics.md#{name})" if name in STATISTICS else f"`{name}`"
        rows.append(f"| {link} | {escaped(unit)} | {cell(escaped(reading))} |")
    return (
        "# Columns\n\nColumns of the head table: `session.heads()`, `heedful heads`, section 5 of a report and its "
        "JSON. A value is the mean over judged rows; it is null where it is undefined. "
        "A table holds the columns that were measured.\n\n"
        "| column | unit | what it is |\n|---|---|---|\n" + "\n".join(rows) + "\n"
    )


# JSON


def json_page() -> str:
    """Every field of the documents that ``--json`` writes."""
    from heedful.evaluation.page.schema import json_schema

    schema = json_schema()
    made = [
        "# JSON fields\n\nEvery document names its schema and version in `schema`. Numbers that are not finite are "
        "null. The report's JSON Schema ships with the package (`heedful/evaluation/page/schema`)."
    ]
    made.append(_object("heedful.report/1", schema))
    made += [_object(name, one) for name, one in sorted(schema["$defs"].items()) if one.get("properties")]
    for record in records():
        made.append(f"## {record.schema}\n\n`{record.__name__}`: {summary(record)}\n\n{_fields(record)}")
    return "\n\n".join(made) + "\n"


def _object(name: str, schema: dict[str, Any]) -> str:
    rows = [
        f"| `{field}` | {cell(escaped(_kind(one)))} | {cell(escaped(one.get('description', '')))} |"
        for field, one in schema["properties"].items()
    ]
    return (
        f"## {name}\n\n{escaped(schema.get('description', ''))}\n\n| field | type | what it is |\n|---|---|---|\n"
        + "\n".join(rows)
    )


def _kind(one: dict[str, Any]) -> str:
    if "anyOf" in one:
        return " or ".join(_kind(part) for part in one["anyOf"])
    if "$ref" in one:
        return str(one["$ref"].rsplit("/", 1)[-1])
    kind = str(one.get("type", json.dumps(one["const"]) if "const" in one else "any"))
    return f"array of {_kind(one['items'])}" if kind == "array" and isinstance(one.get("items"), dict) else kind


def records() -> list[type]:
    """Records that a public function returns and that name a schema of their own."""
    from heedful.reporting.shown_record import ShownRecord

    _import_all()
    return sorted((one for one in _below(ShownRecord) if getattr(one, "schema", "")), key=lambda one: one.schema)


def _below(base: type) -> Iterator[type]:
    for child in base.__subclasses__():
        if child.__module__.startswith("heedful."):
            yield child
            yield from _below(child)


def _import_all() -> None:
    """Import every file that is called a record, so that each is known as a subclass."""
    import heedful

    for module in pkgutil.walk_packages(heedful.__path__, "heedful."):
        if module.name.endswith(".record"):
            importlib.import_module(module.name)


def _fields(record: type) -> str:
    from docstrings import entries, parts

    text = inspect.getdoc(record) or ""
    known = dict(entry for name, content in parts(text)[1] if name == "Attributes" for entry in entries(content))
    names = [one.name for one in fields(record)] if is_dataclass(record) else list(known)
    rows = [f"| `{name}` | {cell(inline(known.get(name, '')))} |" for name in names]
    return "| field | what it is |\n|---|---|\n" + "\n".join(rows)


def main(folder: str) -> None:
    """Write every page below a folder."""
    for path, text in pages().items():
        place = Path(folder) / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
