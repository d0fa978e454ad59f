"""heedful's exceptions, each with the exit code of the command line.

::

    HeedfulError               6  internal
     ├─ UsageError             2  an argument is wrong (also a ValueError)
     ├─ InputRejected          3  a model, checkpoint, config or text is malformed or untrusted
     │   └─ CaptureError       3  the model shows no attention that heedful understands
     ├─ ResourceLimit          4  the work would not fit in memory; nothing was allocated
     ├─ OutputError            5  a report could not be written; the old file is whole
     ├─ RankLost               6  a process of a run over several ended or hung; no report was written
     └─ CallError              6  query, key, value, mask or scale do not fit together (also a ValueError)
         └─ UnsupportedByEngine   the engine asked for by name cannot do this call
"""

import re

LONGEST_WORD, LONGEST_MESSAGE = 512, 3000
"""Characters; an input that is quoted in a message may be of any length."""


class HeedfulError(Exception):
    """Base class of all errors that heedful raises on purpose.

    Args:
        *words: The message; a word of more than 512 characters is cut short, and a message of more than 3,000 loses its
            middle.
    """

    exit_code: int = 6

    def __init__(self, *words: object) -> None:
        super().__init__(*(_cut(word) if isinstance(word, str) else word for word in words))


def _cut(text: str) -> str:
    if len(text) <= LONGEST_WORD:
        return text
    text = re.sub(
        rf"\S{{{LONGEST_WORD + 1},}}", lambda found: f"{found[0][:60]}... ({len(found[0]):,} characters)", text
    )
    end = LONGEST_MESSAGE // 4
    return text if len(text) <= LONGEST_MESSAGE else f"{text[: LONGEST_MESSAGE - end]} ... {text[-end:]}"


class UsageError(HeedfulError, ValueError):
    """An argument has an invalid value."""

    exit_code = 2


class InputRejected(HeedfulError):
    """A file, folder or text is malformed, unreadable or untrusted; no code from it was run.

    Args:
        subject: The file or thing that was refused, as the user named it.
        what: What was expected and what came.
        fix: What the user can do about it.
    """

    exit_code = 3

    def __init__(self, subject: str, what: str, fix: str = "") -> None:
        self.subject, self.what, self.fix = subject, what, fix
        super().__init__(f"{subject}: {what}" + (f" ({fix})" if fix else ""))

    def __reduce__(self) -> tuple[type, tuple[str, str, str]]:
        """Pickle by the three parts, so that a worker process can hand it on."""
        return type(self), (self.subject, self.what, self.fix)


class CaptureError(InputRejected):
    """The model ran, but heedful captured none of its attention calls or could not interpret them."""


class ResourceLimit(HeedfulError):
    """The work needs more memory or time than is available; it was not started."""

    exit_code = 4


class OutputError(HeedfulError):
    """A result could not be written; an existing file is unchanged."""

    exit_code = 5


class RankLost(HeedfulError):
    """One of several processes ended, hung, or returned different measurements; no report was written."""


class CallError(HeedfulError, ValueError):
    """The tensors of one attention call do not fit together."""


class UnsupportedByEngine(CallError):
    """The requested engine cannot compute this call."""
