"""The command ``python -P -m reproductions``: show the answers to published claims that the package stores."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heedful.commandline import options
from heedful.commandline.errors import guarded
from heedful.commandline.forms import STANDARD_OUTPUT, Forms, print_written

if TYPE_CHECKING:
    from reproductions.judging import Answered

Names = Annotated[list[str] | None, typer.Argument(metavar="CLAIM", help="Claims by name. Without it: all.")]
OfNote = Annotated[list[str] | None, typer.Option("--note", metavar="NUMBER", help="Of these notes alone: 002, say.")]
Given = Annotated[
    list[str] | None,
    typer.Option("--answer", metavar="WORD", help="With these answers alone: reproduced, refuted, 'not settled', ..."),
]
Json = Annotated[
    Path | None,
    typer.Option("--json", metavar="PATH", help="Also write them as JSON; - writes it alone to standard output."),
]


@guarded
def claims(
    names: Names = None,
    note: OfNote = None,
    answer: Given = None,
    json: Json = None,
    force: options.Force = False,
    debug: options.Debug = False,
) -> int:
    """Show stored answers; the parameters are the options of the same name.

    Returns:
        The exit code, 0: nothing is judged anew.
    """
    from heedful.reporting.json_values import document_text
    from reproductions.lines import print_claims
    from reproductions.stored import claims_document

    forms = Forms(json=json, force=force)
    forms.check()
    shown = _wanted(names or [], note or [], answer or [])
    written = forms.write(json=lambda: document_text(claims_document(shown)))
    if json == STANDARD_OUTPUT:
        sys.stdout.write(document_text(claims_document(shown)))
    else:
        print_claims(shown)
    print_written(written)
    return 0


def _wanted(names: list[str], notes: list[str], words: list[str]) -> "list[Answered]":
    from heedful.errors import UsageError
    from reproductions.answer import Answer
    from reproductions.notes import NOTES
    from reproductions.stored import stored_answers

    known = stored_answers()
    for what, given, allowed in (
        ("claim", names, [one.name for one in known]),
        ("--note", notes, list(NOTES)),
        ("--answer", words, [str(one) for one in Answer]),
    ):
        unknown = [one for one in given if one not in allowed]
        if unknown:
            raise UsageError(
                f"{what} {unknown[0]!r}: expected one of {', '.join(allowed) or 'none: no answer is kept'}"
            )
    return [
        one
        for one in known
        if (not names or one.name in names)
        and (not notes or one.note in notes)
        and (not words or str(one.answer) in words)
    ]
