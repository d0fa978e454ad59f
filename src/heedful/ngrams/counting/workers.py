"""Count shards in several processes of this machine, or on a Ray cluster.

A worker gets the corpus and the tokenizer once, then one shard number after another; it writes the shard itself and
answers with its record. Shards are whole or absent however a worker ends, and their bytes do not depend on who made
them.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from heedful.errors import HeedfulError
from heedful.loading.corpus import Corpus, Encoder
from heedful.ngrams.counting.shard import ONE_THREAD, ShardRecord, Spec, count_shard, started_ray

AHEAD = 2
"""Shards of each Ray processor that are asked for before the first of them is needed."""


@dataclass(frozen=True)
class ShardJob:
    """All that counting a shard takes, but its number.

    Attributes:
        corpus: The text.
        encoder: The tokenizer.
        out: The folder of counts.
        wanted: The tables.
        past: Tokens of the same document that are needed before a piece's own.
    """

    corpus: Corpus
    encoder: Encoder
    out: Path
    wanted: tuple[Spec, ...]
    past: int

    def count(self, number: int) -> ShardRecord:
        """Count one shard, write it to its folder and return its record.

        Raises:
            InputRejected: A text has changed, or a token id is beyond the vocabulary.
            OutputError: It could not be written.
        """
        tokens = self.encoder.encode(self.corpus.pieces(number), self.past)
        return count_shard(self.out, number, tokens, self.wanted, self.encoder.size, self.encoder.unknown)


def usable_processors() -> int:
    """Return the number of processors that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # a system without processor masks
        return os.cpu_count() or 1


@contextlib.contextmanager
def counted_records(job: ShardJob, numbers: Sequence[int], workers: int) -> Iterator[Iterator[ShardRecord]]:
    """Return a context with an iterator over the records of shards, in their order.

    Workers are stopped when the context ends; shards that they had not finished are absent then.

    Args:
        job: What to count.
        numbers: The shards.
        workers: Processes; 1 counts in this one.

    Raises:
        HeedfulError: What counting a shard raised, or a worker ended.
    """
    if min(workers, len(numbers)) < 2:
        yield map(job.count, numbers)
        return
    pool = _Pool(job, numbers, min(workers, len(numbers)) - 1)
    try:
        yield pool.records()
    finally:
        pool.close()


class _Pool:
    """Worker processes, each served by a thread of its own; this process counts too, so that it is one of them."""

    def __init__(self, job: ShardJob, numbers: Sequence[int], children: int) -> None:
        self.job, self.content, self.order = job, pickle.dumps(job), list(numbers)
        self.left = deque(self.order)
        self.made: dict[int, ShardRecord] = {}
        self.error: BaseException | None = None
        self.news = threading.Condition()
        self.children = [_started() for _ in range(children)]
        self.threads = [threading.Thread(target=self._ask, args=(child,), daemon=True) for child in self.children]
        for thread in self.threads:
            thread.start()

    def records(self) -> Iterator[ShardRecord]:
        """Yield records in order."""
        for number in self.order:
            while (mine := self._next(number)) is not None:
                record = self.job.count(mine)
                with self.news:
                    self.made[mine] = record
            yield self.made.pop(number)

    def _next(self, needed: int) -> int | None:
        """A shard for this process, or None where the needed record is there; waits where all others are taken."""
        with self.news:
            while True:
                if self.error is not None:
                    raise self.error
                if needed in self.made:
                    return None
                if self.left:
                    return self.left.popleft()
                self.news.wait()

    def close(self) -> None:
        """End the processes; none is left when this returns."""
        with self.news:
            self.left.clear()
        for child in self.children:
            child.kill()
        for child in self.children:
            child.wait()
        for thread in self.threads:
            thread.join()
        for child in self.children:
            for stream in (child.stdin, child.stdout):
                with contextlib.suppress(OSError):
                    given_pipe(stream).close()

    def _ask(self, child: subprocess.Popen[bytes]) -> None:
        asked, answers = given_pipe(child.stdin), given_pipe(child.stdout)
        number, sent = -1, False
        try:
            asked.write(self.content)
            while True:
                with self.news:
                    if not self.left or self.error is not None:
                        return
                    number, sent = self.left.popleft(), True
                pickle.dump(number, asked)
                asked.flush()
                answer = pickle.load(answers)
                with self.news:
                    if isinstance(answer, ShardRecord):
                        self.made[number] = answer
                    else:
                        self.error = answer
                    self.news.notify_all()
        except (OSError, EOFError, pickle.UnpicklingError):
            fix = "go on with --resume, and fewer --workers if memory ran out"
            shard = f"shard {number}" if sent else "shards"
            with self.news:
                self.error = self.error or HeedfulError(f"a process that counts {shard} has ended ({fix})")
                self.news.notify_all()


def _started() -> subprocess.Popen[bytes]:
    # -P keeps the current folder off the path: a random.py that lies there is not ours to run. A session of its
    # own, so that Ctrl-C reaches this process alone, which then ends the workers.
    words = [sys.executable, "-P", "-m", "heedful.ngrams.counting.workers"]
    return subprocess.Popen(
        words,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **ONE_THREAD},
        start_new_session=True,
    )


def given_pipe(stream: Any) -> BinaryIO:
    """Return a stream that was asked for.

    Raises:
        HeedfulError: The system gave none.
    """
    if stream is None:
        raise HeedfulError("a process could not be given a pipe")
    return stream  # type: ignore[no-any-return]


def serve(asked: BinaryIO, answers: BinaryIO) -> None:
    """Count the shards whose numbers come in, until there are no more.

    Args:
        asked: A pickled job, then pickled numbers, from the process that started this one.
        answers: One pickled record or error a number.
    """
    job = pickle.load(asked)
    while True:
        try:
            number = pickle.load(asked)
        except EOFError:
            return
        try:
            answer: object = job.count(number)
        except HeedfulError as error:
            answer = error
        except Exception as error:  # whatever it is, the process that asked shall say it in one line
            answer = HeedfulError(f"shard {number}: {type(error).__name__}: {' '.join(str(error).split())[:300]}")
        pickle.dump(answer, answers)
        answers.flush()


def _main() -> None:
    """What stands on standard output is the answers alone; anything that prints writes to standard error."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        serve(sys.stdin.buffer, answers)


def ray_records(job: ShardJob, numbers: Sequence[int]) -> Iterator[ShardRecord]:
    """Yield the records of shards that a Ray cluster counts, in their order.

    Args:
        job: What to count; text and folder stand where all machines of the cluster see them.
        numbers: The shards.

    Raises:
        HeedfulError: What counting a shard raised.
    """
    ray = started_ray()
    held = ray.put(pickle.dumps(job))
    ask = ray.remote(_counted_remotely)
    ahead = AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1)))
    rest = iter(numbers)
    waiting = deque(ask.remote(held, number) for number in islice(rest, ahead))
    while waiting:
        answer = ray.get(waiting.popleft())
        waiting.extend(ask.remote(held, number) for number in islice(rest, 1))
        if isinstance(answer, HeedfulError):
            raise answer
        yield answer


def _counted_remotely(job: bytes, number: int) -> ShardRecord | HeedfulError:
    try:
        record: ShardRecord = pickle.loads(job).count(number)
    except HeedfulError as error:
        return error
    return record


if __name__ == "__main__":
    _main()
