"""A signal ends the work even where its exception was swallowed, and cleaning up is left alone."""

import contextlib
import signal
import time
from collections.abc import Iterator

import pytest

from heedful.commandline import signals as stopping
from heedful.commandline.signals import Terminated, stops_raise


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
