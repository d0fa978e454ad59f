"""Document labels of packed sequences: renumber and combine them, count queries by document, and find each document's
first visible key.
"""

from __future__ import annotations

import torch
from torch import Tensor

from heedful.errors import CallError

NO_DOCUMENT = torch.iinfo(torch.int64).min
"""Label of a query that stands at no key's position: it sees nothing."""


def numbered(keys: Tensor, queries: Tensor) -> tuple[Tensor, Tensor, int]:
    """Renumber document labels to 0, 1, 2, ... and return the key labels ``(batch, key)``, the query labels ``(batch,
    query)`` and the number of labels.
    """
    labels, found = torch.unique(torch.cat([keys, queries], dim=1), return_inverse=True)
    return found[:, : keys.shape[1]], found[:, keys.shape[1] :], labels.numel()


def counted(queries: Tensor, real: Tensor, keys: Tensor, begin: Tensor, end: Tensor) -> Tensor:
    """Count, for each key, the queries that are not padding, belong to the key's document and lie in positions
    ``[begin, end)``, ``(batch, key)``.

    Args:
        queries: ``(batch, query)`` document numbers.
        real: ``(batch, query)`` bool, False at queries that do not count.
        keys: ``(batch, key)`` document numbers.
        begin: ``(key,)`` first query position, 0 to the number of queries.
        end: ``(key,)`` end of them.

    Returns:
        ``(batch, key)`` int64.
    """
    stride = queries.shape[1] + 1
    places = queries * stride + torch.arange(queries.shape[1], device=queries.device)
    beyond = torch.iinfo(places.dtype).max
    places = places.masked_fill(~real, beyond).sort(dim=1).values
    low, high = (torch.searchsorted(places, (keys * stride + edge).contiguous()) for edge in (begin, end))
    return (high - low).clamp_min(0)


def first_of_own(keys: Tensor, queries: Tensor, shown: Tensor) -> Tensor:
    """Return the position of the first visible key of each query's document, ``(batch, query)``.

    Args:
        keys: ``(batch, key)`` labels of documents.
        queries: ``(batch, query)`` labels of documents.
        shown: ``(batch, key)`` bool.

    Returns:
        ``(batch, query)`` int64; 0 where the document shows no key.
    """
    key_number, query_number, count = numbered(keys, queries)
    unseen = keys.shape[1]
    position = torch.arange(unseen, device=keys.device).expand_as(keys)
    first = torch.full((keys.shape[0], count), unseen, dtype=torch.int64, device=keys.device)
    first = first.scatter_reduce(1, key_number, position.masked_fill(~shown, unseen), "amin")
    return torch.gather(first, 1, query_number).remainder(unseen)


def both_packings(
    mine: tuple[Tensor | None, Tensor | None], theirs: tuple[Tensor | None, Tensor | None]
) -> tuple[Tensor | None, Tensor | None]:
    """Combine two packings: keys share a label only if they share a document in both.

    Args:
        mine: Labels of keys and of queries, each or None.
        theirs: The same of the other rule.

    Returns:
        Labels of keys and of queries.

    Raises:
        CallError: Both are given and their shapes differ, or one names its queries and the other does not.
    """
    if mine[0] is None or theirs[0] is None:
        return theirs if mine[0] is None else mine
    shapes = [[None if labels is None else tuple(labels.shape) for labels in pair] for pair in (mine, theirs)]
    if shapes[0] != shapes[1]:
        raise CallError(f"visibility: two rules of documents whose shapes differ: {shapes[0]} and {shapes[1]}")
    if mine[1] is None or theirs[1] is None:
        return torch.unique(torch.stack([mine[0], theirs[0]]).flatten(1), dim=1, return_inverse=True)[1].view_as(
            mine[0]
        ), None
    joined = torch.stack([torch.cat([mine[0], mine[1]], 1), torch.cat([theirs[0], theirs[1]], 1)])
    number = torch.unique(joined.flatten(1), dim=1, return_inverse=True)[1].view(joined.shape[1:])
    n_keys = mine[0].shape[1]
    return number[:, :n_keys], number[:, n_keys:]
