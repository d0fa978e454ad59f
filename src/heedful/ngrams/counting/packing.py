r"""Pack contexts into integers and count equal ones by sorting.

The token at position ``i`` of a document is :math:`t_i`, counted from 0. For ``n`` and skip ``s``

.. math:: C^{n,s}[(a_1 \dots a_n), b] = \#\{ i \ge n - 1 : t_{i-n+1} \dots t_i = a_1 \dots a_n,\ t_{i+1+s} = b \}

with :math:`t_{i+1+s}` in the same document. So ``s = 0`` is the next token. ``n = 0`` has one context, the empty one
that ends before position 0: :math:`C^{0,0}` counts every token.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heedful.errors import UsageError
from heedful.loading.corpus import TokenPiece

CONTEXT_BITS = 63
"""Bits of a packed context: one that every dataframe engine has as a signed integer."""

_WORD_BITS = 64


@dataclass(frozen=True)
class Tokens:
    """Tokens of many pieces, concatenated.

    Attributes:
        ids: ``(token,)``, uint32.
        past: ``(token,)``, int32; how many tokens of the same document stand before it here, -1 where the token is
            only the past of others.
    """

    ids: NDArray[np.uint32]
    past: NDArray[np.int32]

    @classmethod
    def of(cls, pieces: Iterable[TokenPiece]) -> Tokens:
        """Concatenate pieces; no n-gram crosses a piece boundary."""
        known = [piece for piece in pieces if len(piece.ids)]
        past = []
        for piece in known:
            place = np.arange(len(piece.ids), dtype=np.int32)
            place[: piece.own] = -1
            past.append(place)
        ids = [np.asarray(piece.ids, dtype=np.uint32) for piece in known]
        if not known:
            return cls(np.empty(0, np.uint32), np.empty(0, np.int32))
        return cls(np.concatenate(ids), np.concatenate(past))


@dataclass(frozen=True)
class Pairs:
    """Distinct (context, next token) pairs in ascending order, with counts.

    Attributes:
        context: ``(pair,)``, int64; packed by `pack`.
        next: ``(pair,)``, uint32.
        count: ``(pair,)``, int64; at least 1.
    """

    context: NDArray[np.int64]
    next: NDArray[np.uint32]
    count: NDArray[np.int64]


def bits_of(vocabulary: int) -> int:
    """Return the number of bits for one token id, at least 1."""
    return max(1, (vocabulary - 1).bit_length())


def check_fits(n: int, vocabulary: int) -> None:
    """Raise an error if contexts do not fit into ``CONTEXT_BITS``.

    Raises:
        UsageError: They do not; with 50,257 tokens three fit, with 2 million three as well.
    """
    most = CONTEXT_BITS // bits_of(vocabulary)
    if n > most:
        message = f"contexts of {n} tokens do not fit into {CONTEXT_BITS} bits with {vocabulary:,} token ids"
        raise UsageError(f"--n {n}: {message} (at most {most})")


def pack(ids: NDArray[np.uint32], n: int, bits: int) -> NDArray[np.uint64]:
    """Return the last ``n`` tokens at each position as one integer, the earliest token in the highest bits.

    Args:
        ids: ``(token,)``.
        n: Tokens in a context.
        bits: Bits of one token.

    Returns:
        ``(token,)``, uint64; the first ``n - 1`` hold fewer tokens and mean nothing.
    """
    packed = np.zeros(len(ids), dtype=np.uint64)
    for back in range(min(n, len(ids))):
        packed[back:] |= ids[: len(ids) - back].astype(np.uint64) << np.uint64(bits * back)
    return packed


def unpack(context: NDArray[np.int64], n: int, bits: int) -> NDArray[np.uint32]:
    """Return the tokens of packed contexts, ``(context, n)`` in text order."""
    shifts = np.arange(n - 1, -1, -1, dtype=np.uint64) * np.uint64(bits)
    mask = np.uint64((1 << bits) - 1)
    return ((context.astype(np.uint64)[:, None] >> shifts) & mask).astype(np.uint32)


def count_pairs(tokens: Tokens, n: int, skip: int, vocabulary: int) -> Pairs:
    """Count all (context, next token) pairs for one ``n`` and ``skip``, by one sort.

    Args:
        tokens: The tokens.
        n: Tokens in a context; 0 for the empty one.
        skip: Tokens between the context and the token that is counted after it.
        vocabulary: Number of token ids.

    Returns:
        The distinct pairs; none where no document is long enough.

    Raises:
        UsageError: Contexts do not fit into an integer.
    """
    check_fits(n, vocabulary)
    bits = bits_of(vocabulary)
    targets = np.flatnonzero(tokens.past >= n + skip)
    contexts = pack(tokens.ids, n, bits)[targets - 1 - skip] if n else np.zeros(len(targets), np.uint64)
    following = tokens.ids[targets]
    if (n + 1) * bits <= _WORD_BITS:
        return _counted_words(contexts, following, bits)
    order = np.lexsort((following, contexts))
    return _counted([contexts[order], following[order]])


def _counted_words(contexts: NDArray[np.uint64], following: NDArray[np.uint32], bits: int) -> Pairs:
    words = (contexts << np.uint64(bits)) | following
    words.sort()
    starts, count = _runs([words])
    found = words[starts]
    context = (found >> np.uint64(bits)).astype(np.int64)
    return Pairs(context, (found & np.uint64((1 << bits) - 1)).astype(np.uint32), count)


def _counted(columns: Sequence[NDArray]) -> Pairs:
    starts, count = _runs(columns)
    context, following = (column[starts] for column in columns)
    return Pairs(context.astype(np.int64), following.astype(np.uint32), count)


def _runs(columns: Sequence[NDArray]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where each run of equal rows begins, and how long it is."""
    rows = len(columns[0])
    if not rows:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    fresh = np.zeros(rows, dtype=bool)
    fresh[0] = True
    for column in columns:
        fresh[1:] |= column[1:] != column[:-1]
    starts = np.flatnonzero(fresh)
    return starts, np.diff(starts, append=rows)
