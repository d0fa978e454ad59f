"""Run ``heedful`` as ``python -m heedful``, without importing modules from the current folder."""

import os
import sys


def _without_current_folder() -> None:
    """Take off the path what ``-m`` has put there, unless heedful itself lies in it; ``python -P`` does so too."""
    first = sys.path[0] if sys.path and not sys.flags.safe_path else None
    here = os.getcwd()
    if first in ("", here) and os.path.dirname(os.path.dirname(os.path.abspath(__file__))) != here:
        del sys.path[0]


if __name__ == "__main__":
    _without_current_folder()
    from heedful.app import main

    main()
