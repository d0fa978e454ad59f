"""Build a model with the user's own function; checkpoint weights are read as data."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import os
import random
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from heedful.errors import HeedfulError, InputRejected, UsageError
from heedful.loading.assembly import fill
from heedful.loading.device import AUTO, main_device, resolve_device, resolve_dtype
from heedful.loading.loaded_model import LoadedModel, agreement, placed, tokenizer_place
from heedful.loading.regular_file import kind_of
from heedful.loading.tokenizer_files import load_tokenizer
from heedful.loading.torch_archive import check_globals
from heedful.loading.weights import read_folder_weights, read_weights
from heedful.loading.wording import escaped, listed, reason

_NAME = re.compile(r"(?P<module>[^\W\d]\w*(?:\.[^\W\d]\w*)*):(?P<function>[^\W\d]\w*)")
_TRACE = "mend it; --debug shows where"


def load_factory(
    factory: str,
    *,
    checkpoint: Path | None = None,
    tokenizer: str | Path | None = None,
    device: str = "cpu",
    dtype: str = "auto",
    allow_globals: Sequence[str] = (),
    seed: int = 0,
) -> LoadedModel:
    """Build a model with a user's function and load a checkpoint; only that function is executed.

    Args:
        factory: ``package.module:function``, importable from the current folder or the environment.
        checkpoint: A file or folder of weights; None keeps those that the function gave.
        tokenizer: A folder or ``tokenizer.json``, or a name on the hub; None looks beside the checkpoint.
        device: ``cpu``, ``cuda``, ``cuda:N``, ``mps``, ``xpu``, or ``auto``: a GPU if torch sees one.
        dtype: ``auto`` (as the function built it), or a name of ``DTYPES``.
        allow_globals: Harmless record types that a torch archive may hold.
        seed: Seed of the random numbers of torch, numpy and Python while the function runs.

    Returns:
        The model with its tokenizer.

    Raises:
        UsageError: There is no such function, it needs arguments, or there is no tokenizer.
        InputRejected: The user's code raised or built no model, or the weights are not the model's.
    """
    place = main_device() if device == AUTO else resolve_device(device)
    number_format = None if dtype == "auto" else resolve_dtype(dtype, place)
    check_globals(allow_globals)
    words, remarks = _tokenizer(factory, checkpoint, tokenizer)
    model = _built(factory, seed)
    notes = [f"built by {factory}"]
    if checkpoint is not None:
        read = read_folder_weights if kind_of(checkpoint) == "a directory" else read_weights
        tensors, found = read(checkpoint, allow_globals)
        notes += [*found, *fill(model, tensors, escaped(checkpoint))]
    else:
        notes.append("no checkpoint: weights as the factory gave them")

    def build(another: int) -> nn.Module:
        with contextlib.redirect_stderr(io.StringIO()):  # what it says of itself was said once
            made = _built(factory, another)
        return made if number_format is None else made.to(number_format)

    loaded = LoadedModel(
        model=model.eval() if number_format is None else model.to(number_format).eval(),
        tokenizer=words,
        name=factory,
        source="factory",
        notes=(*notes, *remarks, *agreement(words, model, factory)),
        build=build,
    )
    return placed(loaded, place)


def named_function(name: str, option: str) -> Callable[..., Any]:
    """Import and return the user's function named ``package.module:function``, from the current folder or the
    environment.

    Args:
        name: Its name.
        option: The option that named it, for messages.

    Raises:
        UsageError: There is no such function.
        InputRejected: Its module raised.
    """
    named, shown = _NAME.fullmatch(name), escaped(name)
    if named is None:
        raise UsageError(f"{option} {shown}: expected package.module:function")
    with _current_folder_first(), contextlib.redirect_stdout(sys.stderr):
        function = getattr(_imported(named["module"], shown, option), named["function"], None)
    if not callable(function):
        raise UsageError(f"{option} {shown}: {named['module']} has no function {named['function']!r} (check the name)")
    return function  # type: ignore[no-any-return]


def _tokenizer(factory: str, checkpoint: Path | None, tokenizer: str | Path | None) -> tuple[Any, tuple[str, ...]]:
    """The tokenizer, before any code of the user's is run."""
    if tokenizer is not None:
        where: Path | None = tokenizer_place(tokenizer)
    elif checkpoint is not None:
        where = checkpoint if kind_of(checkpoint) == "a directory" else checkpoint.parent
    else:
        where = None
    found, remarks = (None, ()) if where is None else load_tokenizer(where)
    if found is None:
        raise UsageError(f"--factory {escaped(factory)}: a model of your own needs a tokenizer (give --tokenizer PATH)")
    return found, remarks


def _built(factory: str, seed: int) -> nn.Module:
    shown = escaped(factory)
    with _current_folder_first(), contextlib.redirect_stdout(sys.stderr):
        function = _function(factory)
        with _seeded(seed), _rejecting(shown, "raised"):
            model = function()
    if not isinstance(model, nn.Module):
        message = (
            f"expected the function to return a torch.nn.Module, it returned a {escaped(type(model).__name__, 40)}"
        )
        raise InputRejected(shown, message, "return the model itself")
    tensors = (*model.named_parameters(), *model.named_buffers())
    empty = [name for name, tensor in tensors if tensor.is_meta]
    if empty:
        raise InputRejected(shown, f"parameters without data: {listed(empty, 3)}", "build it outside the meta device")
    return model


def _function(factory: str) -> Callable[[], Any]:
    named, shown = _NAME.fullmatch(factory), escaped(factory)
    if named is None:
        raise UsageError(f"--factory {shown}: expected package.module:function")
    module = _imported(named["module"], shown)
    function = getattr(module, named["function"], None)
    if function is None:
        place = escaped(getattr(module, "__file__", None) or named["module"])
        raise UsageError(f"--factory {shown}: {place} has no {named['function']!r} (check the name)")
    if not callable(function):
        raise UsageError(f"--factory {shown}: expected a function, found a {type(function).__name__}")
    try:
        inspect.signature(function).bind()
    except TypeError as error:
        message = f"it is called without arguments: {reason(error)}"
        raise UsageError(f"--factory {shown}: {message} (name a function that needs none)") from error
    except ValueError:  # a builtin may not tell its signature
        return function
    return function


def _imported(module: str, shown: str, option: str = "--factory") -> Any:
    try:
        with _rejecting(shown, "raised, when imported,"):
            return importlib.import_module(module)
    except InputRejected as error:
        missing = getattr(error.__cause__, "name", None)
        is_absent = isinstance(error.__cause__, ModuleNotFoundError)
        if not is_absent or missing is None or not f"{module}.".startswith(f"{missing}."):
            raise
        message = f"no module {missing!r} in the current folder or the environment (check the name and the folder)"
        raise UsageError(f"{option} {shown}: {message}") from error.__cause__


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Random numbers of torch, numpy and Python from a seed inside; as before afterwards."""
    of_numpy, of_python = np.random.get_state(), random.getstate()
    with torch.random.fork_rng(devices=[]):
        try:
            torch.manual_seed(seed)
            np.random.seed(seed % 2**32)
            random.seed(seed)
            yield
        finally:
            np.random.set_state(of_numpy)
            random.setstate(of_python)


@contextlib.contextmanager
def _rejecting(shown: str, what: str) -> Iterator[None]:
    """Whatever code of the user's raises, ``sys.exit`` too, made into one line."""
    try:
        yield
    except (HeedfulError, KeyboardInterrupt):
        raise
    except BaseException as error:  # GeneratorExit and asyncio's CancelledError are no Exception
        if not isinstance(error, Exception) and type(error).__module__.startswith("heedful."):
            raise  # a signal that has arrived meanwhile
        message = f"{what} {type(error).__name__}: {reason(error)}" if str(error) else f"{what} {type(error).__name__}"
        raise InputRejected(shown, message, _TRACE) from error


@contextlib.contextmanager
def _current_folder_first() -> Iterator[None]:
    """The current folder importable, as under ``python -m``, while the user's code is imported and called."""
    folder, before = os.getcwd(), list(sys.path)
    if "" not in before and folder not in before:
        sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = before
