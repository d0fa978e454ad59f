"""Labels of every sort for any call, and the same in plain arrays for the oracles."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import torch
from torch import Tensor

from heedful.attention.call import AttentionCall
from heedful.attention.engines.groups import Groups


def key_groups(call: AttentionCall) -> Groups:
    """Labels of every sort, some of them none: groups that overlap and one empty, segments, tokens of few types.

    Queries that share no positions with the keys have labels of their own, some of a segment that no key has.
    """
    generator = torch.Generator().manual_seed(11)

    def labels(length: int, types: int) -> Tensor:
        return torch.randint(-1, types, (call.batch, length), generator=generator)

    member = torch.rand(call.batch, call.n_keys, 3, generator=generator) < 0.4
    member[..., -1] = False
    groups = Groups(keys=member, segments=labels(call.n_keys, 4), tokens=labels(call.n_keys, 6))
    if call.offset is not None:
        return groups
    return replace(groups, query_segments=labels(call.n_queries, 5), query_tokens=labels(call.n_queries, 6))


def plain_groups(groups: Groups) -> dict[str, np.ndarray | None]:
    """Labels in numpy arrays by name, as the oracles take them."""
    return {f.name: None if (t := getattr(groups, f.name)) is None else t.numpy() for f in fields(groups)}
