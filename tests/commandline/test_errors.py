"""A signal ends the work even where its exception was swallowed, and cleaning up is left alone."""

import contextlib
import errno
import signal
import sys
import time
from collections.abc import Iterator
from typing import NoReturn

import pytest
import typer

from heedful.commandline import errors as stopping
from heedful.commandline.errors import Terminated, exit_code, guarded, message, outcome, stops_raise
from heedful.errors import (
    CallError,
    CaptureError,
    HeedfulError,
    InputRejected,
    OutputError,
    ResourceLimit,
    UnsupportedByEngine,
    UsageError,
)

FULL = OSError(errno.ENOSPC, "No space left on device")


def raising(error: BaseException) -> NoReturn:
    raise error


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (UsageError("--text: none"), 2, "error: --text: none"),
        (InputRejected("a.pt", "is a pickle", "convert it"), 3, "error: a.pt: is a pickle (convert it)"),
        (CaptureError("model", "shows no attention"), 3, "error: model: shows no attention"),
        (ResourceLimit("too large"), 4, "error: too large"),
        (OutputError("a.json: is a folder"), 5, "error: a.json: is a folder"),
        (CallError("query: 3 axes"), 6, "error: query: 3 axes"),
        (UnsupportedByEngine("no"), 6, "error: no"),
        (HeedfulError("no"), 6, "error: no"),
        (
            MemoryError(),
            4,
            "error: memory: exhausted (ask for less at once: --sequences, --seq-len, --batch, a --set width)",
        ),
        (
            type("OutOfMemoryError", (RuntimeError,), {})("CUDA\nfull"),
            4,
            "error: memory: CUDA full (ask for less at once",
        ),
        (FULL, 5, "error: standard output: No space left on device (free some space)"),
        (OSError(errno.ENOSPC, "No space left", "a.json"), 5, "error: a.json: No space left"),
        (KeyError("x"), 6, "error: heedful: internal: KeyError: 'x' (run again with --debug"),
        (OSError(errno.ENOENT, "gone"), 6, "error: heedful: internal: FileNotFoundError:"),
        (RecursionError("deep\n\ndeep"), 6, "error: heedful: internal: RecursionError: deep deep"),
        (KeyboardInterrupt(), 130, "error: heedful: interrupted (nothing was left half-written)"),
        (Terminated(), 143, "error: heedful: terminated (nothing was left half-written)"),
        (typer.BadParameter("no"), 2, "error: heedful: Invalid value: no (see heedful --help)"),
    ],
)
def test_an_error_is_a_code_and_one_line(
    error: BaseException, code: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert outcome(lambda: raising(error)) == code == exit_code(error)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(told)
    assert err.count("\n") == 1
    assert "Traceback" not in err


def test_a_broken_pipe_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    assert outcome(lambda: raising(BrokenPipeError())) == 141
    assert capsys.readouterr().err == ""


def test_hostile_names_are_shown_not_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    outcome(lambda: raising(InputRejected("a\x1b[2J\nb\u202e.pt", "no")))
    assert capsys.readouterr().err == "error: a\\x1b[2J\\nb\\u202e.pt: no\n"
    assert message(OutputError("x")) == "x"


def test_debug_shows_the_traceback_above_the_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert outcome(lambda: raising(ValueError("a\x1b[2J")), debug=True) == 6
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1].startswith("error: heedful: internal: ValueError")
    assert "\x1b" not in "".join(lines)


def test_success_and_a_code_of_its_own() -> None:
    assert outcome(lambda: None) == 0
    assert outcome(lambda: 1) == 1


def test_leaving_passes_through() -> None:
    with pytest.raises(SystemExit):
        outcome(lambda: sys.exit(3))
    with pytest.raises(typer.Exit):
        outcome(lambda: raising(typer.Exit(7)))


def test_sigterm_raises_while_working_and_is_as_before_afterwards(capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    assert outcome(lambda: signal.raise_signal(signal.SIGTERM)) == 143
    assert signal.getsignal(signal.SIGTERM) is before
    assert "terminated" in capsys.readouterr().err


def test_no_standard_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert outcome(lambda: raising(ValueError("x"))) == 6
    assert outcome(lambda: None) == 0


def test_a_guarded_command_leaves_with_its_code() -> None:
    guarded(lambda: 0)()
    with pytest.raises(typer.Exit) as left:
        guarded(lambda: 1)()
    assert left.value.exit_code == 1


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    ignored = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)]
    monkeypatch.setattr(stopping, "PATIENCE", 0.02)
    yield
    assert handlers == [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)]
    signal.signal(signal.SIGINT, ignored)
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def swallowed(number: signal.Signals) -> None:
    with contextlib.suppress(BaseException):  # as a package does around an optional import
        signal.raise_signal(number)


def work() -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        pass


@pytest.mark.parametrize(("number", "raised"), [(signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)])
def test_a_swallowed_signal_is_raised_again(number: signal.Signals, raised: type[BaseException]) -> None:
    @stops_raise()
    def run() -> None:
        swallowed(number)
        work()

    with pytest.raises(raised):
        run()


def test_a_signal_that_became_another_error() -> None:
    @stops_raise()
    def run() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except BaseException as error:  # as a compiled module does while it is imported
            raise ImportError("initialization failed") from error

    with pytest.raises(Terminated):
        run()


def test_swallowed_twice() -> None:
    @stops_raise()
    def run() -> None:
        swallowed(signal.SIGTERM)
        with contextlib.suppress(BaseException):
            work()
        work()

    with pytest.raises(Terminated):
        run()


@contextlib.contextmanager
def slow_cleaning(done: list[str]) -> Iterator[None]:
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            time.sleep(0.1)
            raise ValueError("an error of its own on the way out")
        time.sleep(0.1)
        done.append("generator")


def test_cleaning_up_is_not_interrupted() -> None:
    done: list[str] = []

    @stops_raise()
    def run() -> None:
        try:
            with slow_cleaning(done):
                signal.raise_signal(signal.SIGTERM)
        finally:
            time.sleep(0.1)
            done.append("finally")

    with pytest.raises(Terminated):
        run()
    assert done == ["generator", "finally"]


def test_a_handler_of_the_users_own_is_left() -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _frame: seen.append(number))
    try:
        with stops_raise():
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == [signal.SIGINT]
