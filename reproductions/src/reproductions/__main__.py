"""``python -P -m reproductions``: show the stored answers to published claims, or write them as JSON."""

import sys

import typer

from heedful.commandline.errors import outcome
from reproductions.command import claims


def main() -> None:
    """Run the command and exit with its exit code.

    Raises:
        SystemExit: Always, with the exit code.
    """
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command("reproductions", help="Show the answers that were given to published claims.")(claims)
    raise SystemExit(
        outcome(lambda: app(prog_name="python -P -m reproductions", standalone_mode=False), debug="--debug" in sys.argv)
    )


if __name__ == "__main__":
    main()
