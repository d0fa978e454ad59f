"""Run one study on several processes: batches are split, and results are merged by all-reduce sums.

Every rank holds the same model and the same text and walks through the same stages. A stage's arrays have full size on
every rank, 0 in the rows that others fill, so that one packed sum gives each rank exactly what one process would have:
no value is rounded, and NaN stays NaN in its own row. Where the ranks divide the model itself (tensor parallelism), all
of them run every batch together, and what has no heads is the first rank's.
"""

from __future__ import annotations

import os
import re
import socket
import threading
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from heedful.errors import InputRejected, RankLost

if TYPE_CHECKING:
    from heedful.loading.batch import Batch

Array = NDArray[np.float64]
Item = TypeVar("Item")

TIMEOUT = 60.0
"""Seconds without a sign of life after which a rank is lost; torch's own default is half an hour."""

DIVISIONS = ("documents", "tensor")
"""What ranks divide: whole batches of documents, or the tensors of the model."""

BEAT = 2.0
"""Seconds between two signs of life. They come from a thread: a rank at work on one long batch still gives them."""

PATIENCE = 600.0
"""Seconds that an exchange inside a divided model's forward waits for a slower rank; an ended one is known at once."""

NOTHING = "no report was written"

_POLL = 0.01

_ENDED = re.compile(r"gloo|NCCL|Connection (?:closed|reset)|Broken pipe|timed out", re.IGNORECASE)
"""What the exchange of tensors says where the other side has gone."""


@dataclass(eq=False)
class Ranks:
    """The processes of a run, as seen from one of them; by default a single process.

    Attributes:
        rank: This process, from 0.
        count: Number of processes.
        store: Where ranks tell one another that they live and have arrived.
        divide: A word of ``DIVISIONS``.
    """

    rank: int = 0
    count: int = 1
    store: Any = None
    divide: str = "documents"
    stage: int = field(default=0, init=False)

    def own(self, items: Sequence[Item]) -> list[Item]:
        """Return every ``count``-th item, starting at this rank; shares may differ by one or be empty."""
        return list(items[self.rank :: self.count])

    def run(self, batches: Sequence[Batch]) -> list[Batch]:
        """Return the batches that this rank runs: its own share, or all if the model is sharded over ranks."""
        return list(batches) if self.divide == "tensor" else self.own(batches)

    def run_rows(self, batches: Sequence[Batch]) -> NDArray[np.bool_]:
        """Return a bool mask of the sequences that this rank runs, ``(sequence,)``."""
        whole = self.divide == "tensor"
        mine = [np.full(len(one.index), whole or at % self.count == self.rank) for at, one in enumerate(batches)]
        return np.concatenate(mine) if mine else np.zeros(0, dtype=bool)

    def own_rows(self, batches: Sequence[Batch]) -> NDArray[np.bool_]:
        """Return a bool mask of the sequences that this rank reports; each sequence belongs to one rank."""
        rows = self.run_rows(batches)
        return np.zeros_like(rows) if self.divide == "tensor" and self.rank else rows

    def merged(self, arrays: Sequence[Array], rows: NDArray[np.bool_]) -> list[Array]:
        """Gather arrays in which each rank filled its own rows, by one all-reduce sum.

        Args:
            arrays: ``(row, ...)`` each, of the same shapes on every rank; what stands in others' rows does not matter.
            rows: ``(row,)``, those that this rank filled.

        Returns:
            The same arrays, with everybody's rows.

        Raises:
            RankLost: A rank ended, hung, or holds arrays of other shapes.
        """
        if self.count == 1:
            return list(arrays)
        zeroed = [np.where(rows.reshape(-1, *[1] * (array.ndim - 1)), array, 0.0) for array in arrays]
        if len(set(self._arrived(repr([array.shape for array in arrays])))) > 1:
            raise RankLost("ranks: the processes measured arrays of different shapes (is the model the same on all?)")
        flat = self._summed(np.concatenate([array.ravel() for array in zeroed]))
        parts = np.split(flat, np.cumsum([array.size for array in zeroed])[:-1])
        return [part.reshape(array.shape) for part, array in zip(parts, zeroed, strict=True)]

    def ensure_same(self, what: str, number: int) -> None:
        """Raise an error if ranks pass different numbers.

        Args:
            what: What is compared, in words.
            number: A checksum of it.

        Raises:
            InputRejected: Ranks differ.
            RankLost: A rank ended or hung.
        """
        if len(set(self._arrived(str(number)))) > 1:
            raise InputRejected("ranks", f"the processes hold different {what}", "give all of them the same")

    def agree(self, answer: bool) -> bool:
        """Return whether every rank passes True.

        Raises:
            RankLost: A rank ended or hung.
        """
        return set(self._arrived(str(answer))) == {str(True)}

    def first(self, what: str) -> bool:
        """Return whether this rank is the first to claim the task ``what``; True if no other rank responds."""
        if self.count == 1:
            return True
        try:
            return int(self.store.add(f"heedful/first/{what}", 1)) == 1
        except RuntimeError:
            return True

    def _summed(self, flat: Array) -> Array:
        packed = torch.from_numpy(flat)
        try:
            dist.all_reduce(packed)
        except RuntimeError as error:
            raise RankLost(f"ranks: {self._others()} ended while results were added up ({NOTHING})") from error
        return np.asarray(packed.numpy())

    def _arrived(self, word: str) -> list[str]:
        """Come to the next stage and wait for the others: what each of them says there, in order of rank."""
        if self.count == 1:
            return [word]
        self.stage += 1
        try:
            self.store.set(f"heedful/{self.stage}/{self.rank}", word)
            for other in range(self.count):
                self._await(other)
            return [self.store.get(f"heedful/{self.stage}/{other}").decode() for other in range(self.count)]
        except RuntimeError as error:
            raise RankLost(f"ranks: {self._others()} cannot be reached any more ({NOTHING})") from error

    def _await(self, other: int) -> None:
        beat, since = b"", time.monotonic()
        while not self.store.check([f"heedful/{self.stage}/{other}"]):
            known = self.store.check([f"heedful/beat/{other}"])
            latest = self.store.get(f"heedful/beat/{other}") if known else b""
            if latest != beat:
                beat, since = latest, time.monotonic()
            elif time.monotonic() - since > TIMEOUT:
                message = f"no sign of life for {TIMEOUT:.0f} s"
                raise RankLost(f"ranks: rank {other} of {self.count} is lost: {message} ({NOTHING})")
            time.sleep(_POLL)

    def lost(self, error: BaseException) -> RankLost | None:
        """Return a ``RankLost`` error if a forward failed because another rank ended; None for other errors."""
        message = str(error)
        if self.divide != "tensor" or not isinstance(error, RuntimeError) or not _ENDED.search(message):
            return None
        return RankLost(f"ranks: {self._others()} ended while the model ran ({NOTHING})")

    def _others(self) -> str:
        return f"another rank of {self.count}" if self.count > 2 else f"rank {1 - self.rank} of 2"


ALONE = Ranks()
"""One process, which has every row."""


def checksum(tensors: Iterable[torch.Tensor]) -> int:
    """Return a number that is the same for two sets of tensors if their sums are bitwise equal."""
    sums = [float(tensor.detach().double().sum()) for tensor in tensors]
    return zlib.crc32(np.asarray(sums).tobytes())


@contextmanager
def joined(rank: int, count: int, address: str, port: int, divide: str = "documents") -> Iterator[Ranks]:
    """Return a context that joins the other ``torchrun`` processes over gloo.

    Parts of a model on GPUs meet over NCCL.

    Args:
        rank: This process.
        count: Number of processes.
        address: Where the launcher's store listens.
        port: Its port.
        divide: A word of ``DIVISIONS``.

    Yields:
        The ranks; the group is left afterwards.

    Raises:
        RankLost: The others do not come.
    """
    wait = timedelta(seconds=TIMEOUT)
    try:
        hosted = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
        first = rank == 0 and not hosted
        store = dist.TCPStore(address, port, is_master=first, timeout=wait, wait_for_workers=False)
        pulse = dist.TCPStore(address, port, is_master=False, timeout=wait, wait_for_workers=False)
        backend = "cpu:gloo,cuda:nccl" if divide == "tensor" and torch.cuda.is_available() else "gloo"
        patience = timedelta(seconds=PATIENCE) if divide == "tensor" else wait
        dist.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=patience)
    except RuntimeError as error:
        raise RankLost(f"ranks: rank {rank} of {count} found no others within {TIMEOUT:.0f} s ({NOTHING})") from error
    over = threading.Event()
    thread = threading.Thread(target=_beat, args=(pulse, rank, over), daemon=True)
    thread.start()
    try:
        yield Ranks(rank, count, store, divide)
    finally:
        over.set()
        thread.join(BEAT)
        dist.destroy_process_group()


def _beat(pulse: Any, rank: int, over: threading.Event) -> None:
    number = 0
    while not over.wait(BEAT if number else 0):
        number += 1
        try:
            pulse.set(f"heedful/beat/{rank}", str(number))
        except RuntimeError:  # the launcher is gone, and this process will be told so at its next stage
            return


def loopback() -> str | None:
    """Return the name of the loopback network interface, or None."""
    names = [name for _, name in socket.if_nameindex()]
    return next((name for name in ("lo", "lo0") if name in names), None)
