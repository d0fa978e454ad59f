"""Support runs on several ``torchrun`` processes: find this process's rank, and let one process print."""

import functools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from heedful.commandline.errors import Silent, Terminated, exit_code

if TYPE_CHECKING:
    from heedful.distributed.ranks import Ranks

_TOGETHER = "with all its ranks: one of them ended early, or the run was stopped"


@contextmanager
def ranks_of_this_run(divide: str = "documents") -> "Iterator[Ranks | None]":
    """Return a context that joins the other processes if ``torchrun``'s environment variables are set.

    Args:
        divide: What they divide, a word of ``heedful.distributed.ranks.DIVISIONS``.

    Yields:
        The ranks; None where this process is alone.

    Raises:
        Silent: Another rank has told of an error, or has delivered the report, already.
        UsageError: The environment contradicts itself.
        RankLost: The others do not come.
    """
    count = _number("WORLD_SIZE", 1)
    if count == 1:
        yield None
        return
    from heedful.distributed.ranks import joined, loopback

    if _number("LOCAL_WORLD_SIZE", count) == count and (interface := loopback()) is not None:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)  # ranks of one machine listen on nothing else
    address, port = os.environ.get("MASTER_ADDR", "127.0.0.1"), _number("MASTER_PORT", 29500)
    with joined(_number("RANK", 0), count, address, port, divide) as ranks:
        try:
            yield ranks
        except BaseException as error:
            if not ranks.first("word"):
                raise Silent(exit_code(error)) from error
            if isinstance(error, Terminated):
                error.args = (_TOGETHER,)
            if (lost := ranks.lost(error)) is not None:
                raise lost from error
            raise


def processes_of(divide: str) -> int:
    """Return the number of processes that shard the model: those that ``torchrun`` started, or 1.

    Args:
        divide: What the processes divide.

    Raises:
        UsageError: The tensors are to be divided and there is but one process.
    """
    if divide == "documents":
        return 1
    count = _number("WORLD_SIZE", 1)
    if count == 1:
        from heedful.errors import UsageError

        message = "divides the model over several processes, and this is the only process"
        raise UsageError(f"--parallel {divide}: {message} (torchrun --no-python --nproc-per-node N heedful ...)")
    return count


def speaks(ranks: "Ranks | None") -> bool:
    """Return whether this process prints and writes files."""
    return ranks is None or ranks.rank == 0


def printed_once(command: Callable[..., int]) -> Callable[..., int]:
    """Wrap a command so that rank 0 alone prints an error that all processes raise.

    Args:
        command: What is run; its processes have not joined, so that they cannot ask who has told already.
    """

    @functools.wraps(command)
    def run(*arguments: Any, **options: Any) -> int:
        from heedful.errors import HeedfulError

        try:
            return command(*arguments, **options)
        except HeedfulError as refused:
            if os.environ.get("RANK", "0") != "0":
                raise Silent(refused.exit_code) from refused
            raise

    return run


def own_device(device: str) -> str:
    """Return this process's device: ``cuda`` and ``auto`` become one GPU for each process of a machine.

    Where there are fewer GPUs than processes, ``auto`` is the CPU for all of them.
    """
    if device == "auto" and _number("WORLD_SIZE", 1) > 1:
        import torch

        here = _number("LOCAL_WORLD_SIZE", 1)
        device = "cuda" if torch.cuda.device_count() >= here else "cpu"
    return f"cuda:{_number('LOCAL_RANK', 0)}" if device == "cuda" and _number("LOCAL_WORLD_SIZE", 1) > 1 else device


def _number(name: str, otherwise: int) -> int:
    from heedful.errors import UsageError

    given = os.environ.get(name, "")
    if given and not given.isdecimal():
        raise UsageError(f"{name}={given}: expected a number (let torchrun set it)")
    return int(given) if given else otherwise
